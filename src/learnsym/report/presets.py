"""What presets and tables say of themselves: the commands in their headers, the paper's values, the
runs of a table.

Read as text, without composing them: the paper's digits stay (0.8900 is no 0.89), and a page of 140
presets takes a second.
"""

import itertools
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from learnsym.config.search_path import CONFIG_DIR
from learnsym.errors import ConfigError
from learnsym.report.commands import Command, read_command
from learnsym.report.measured import load_yaml


@dataclass(frozen=True)
class Published:
    """A value that the paper of a preset reports."""

    metric: str
    value: str
    """As written in the preset."""
    status: str
    """One of V, S, F, C, R."""
    where: str = ""
    target: str | None = None
    """The regression target that it is for; None: any."""
    dataset: str | None = None
    """The class of the data set that it is for; None: any."""

    def is_for(self, overrides: tuple[str, ...]) -> bool:
        """Whether it is the value of a run with these overrides, as far as they say."""
        chosen = dict(o.split("=", 1) for o in overrides if "=" in o)
        data = chosen.get("dataset")
        if data and self.dataset not in (
            None,
            str(load_yaml(CONFIG_DIR / "dataset" / f"{data}.yaml")["_target_"]).split(".")[-1],
        ):
            return False
        return self.target is None or chosen.get("dataset.target") in (None, self.target)


def preset_path(name: str) -> Path:
    """The file of a preset, or of an ingredient of presets."""
    return CONFIG_DIR / "experiment" / f"{name}.yaml"


def all_presets() -> list[str]:
    """Every preset, as it is typed after `experiment=`."""
    folder = CONFIG_DIR / "experiment"
    files = [
        p.relative_to(folder).with_suffix("")
        for p in folder.rglob("*.yaml")
        if not p.name.startswith("_")
    ]
    return sorted(p.as_posix() for p in files)


@cache
def header_command(preset: str) -> Command:
    """The first command in a preset's header that does not sweep."""
    for line in re.findall(
        r"(?m)^#\s+(python main\.py experiment=.*)$", preset_path(preset).read_text()
    ):
        return read_command(line)
    raise ConfigError(f"{preset_path(preset)}: its header states no command.")


@cache
def published(preset: str) -> tuple[Published, ...]:
    """The `paper` node of a preset, its own or that of the last of its ingredients that has one, as
    Hydra composes it.
    """
    return paper_node(preset) or ()


def paper_node(name: str) -> tuple[Published, ...] | None:
    """The `paper` node of a preset or ingredient; None if there is none, which leaves that of an
    earlier ingredient.
    """
    content = load_yaml(preset_path(name))
    if "paper" in content:
        return tuple(Published(**entry) for entry in content["paper"])
    found = None
    for default in content.get("defaults", []):
        if isinstance(default, str) and default.startswith("/experiment/") and "@" not in default:
            inner = paper_node(default.removeprefix("/experiment/"))
            found = found if inner is None else inner
    return found


@dataclass(frozen=True)
class Table:
    """A ready sweep."""

    commands: tuple[str, ...]
    """As in its header."""
    presets: tuple[str, ...]
    combinations: tuple[tuple[str, ...], ...]
    """Overrides of each of its runs besides the preset and the seed."""


def table(name: str) -> Table | None:
    """cfg/table/<name>.yaml; None if there is none."""
    path = CONFIG_DIR / "table" / f"{name}.yaml"
    if not path.exists():
        return None
    params = load_yaml(path)["hydra"]["sweeper"]["params"]
    others = {key: values for key, values in params.items() if key not in ("experiment", "seed")}
    swept = [[f"{key}={value}" for value in values.split(",")] for key, values in others.items()]
    commands = re.findall(r"(?m)^#\s+(python main\.py -m .*)$", path.read_text())
    return Table(
        tuple(commands), tuple(params["experiment"].split(",")), tuple(itertools.product(*swept))
    )
