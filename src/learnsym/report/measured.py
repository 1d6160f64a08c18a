"""The files under results/: what was measured, per paper and table, in YAML that people read and
write as `mode=book` does.

`results/book.yaml` is the outline of EXPERIMENTS.md; `results/<paper>/<table>.yaml` has a table's
prose, its presets, the quantities that it shows and, last, the runs. Numbers are kept as they are
written: 1.000 stays 1.000.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from learnsym.errors import ConfigError
from learnsym.report.commands import Command, read_command
from learnsym.utils.files import write_atomically

NUMBER = r"-?\d+(\.\d+)?(e-?\d+)?"
Number = Annotated[str, StringConstraints(pattern=rf"^{NUMBER}$")]
Text = Annotated[str, StringConstraints(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Value(_Strict):
    """A metric over the seeds of an entry, in the metric's own unit (accuracies in [0, 1])."""

    mean: Number
    sd: Number | None = None
    """Standard deviation over the seeds (n - 1)."""
    n: int | None = Field(None, ge=1)
    """Runs that have this metric, where those are not all of the entry's."""
    note: Text | None = None


class Entry(_Strict):
    """Runs of one command at one scale on one machine, that differ in the seed alone."""

    command: Text
    """As typed, without the seed, and with DIR for the folder of data."""
    n: int = Field(ge=1)
    seeds: list[int] = []
    metrics: dict[str, Value] = Field(min_length=1)
    seconds: Annotated[str, StringConstraints(pattern=rf"^{NUMBER}( to {NUMBER})?$")] | None = None
    """Of one run, the mean; or from the shortest to the longest."""
    hardware: Text
    torch: Text | None = None
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d( \d\d:\d\d)?$")]
    """When the last of the runs ended, UTC."""
    commit: Text
    remark: Text | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Entry":
        if self.seeds and len(set(self.seeds)) != self.n:
            raise ValueError(
                f"n is {self.n}, but {len(set(self.seeds))} different seeds are listed"
            )
        if self.n == 1 and any(v.sd is not None for v in self.metrics.values()):
            raise ValueError("one run has no standard deviation (sd)")
        read_command(self.command)
        return self

    @property
    def typed(self) -> Command:
        """The command, taken apart."""
        return read_command(self.command)

    @property
    def key(self) -> tuple[str | None, frozenset[str], str, str]:
        """What a newer entry must agree in to take this one's place."""
        return self.typed.preset, frozenset(self.typed.overrides), self.typed.scale, self.hardware


class Column(_Strict):
    """A quantity that the page shows."""

    metric: Text
    name: Text
    percent: bool = False
    """Shown in per cent; the metric is in [0, 1]."""
    error: Text | None = None
    """The metric that is this one's standard error within a run."""


class Section(_Strict):
    """One table of the page."""

    title: Text
    about: str = ""
    presets: dict[str, str] = Field(min_length=1)
    """Presets in the order of the page, each with a few words, or none; `none` stands for a command
    without a preset."""
    aliases: dict[str, str] = {}
    """Presets that are one of the above under another name."""
    columns: list[Column] = Field(min_length=1)
    remarks: str = ""
    runs: list[Entry] = []

    @model_validator(mode="after")
    def _consistent(self) -> "Section":
        for entry in self.runs:
            if self.home(entry.typed.preset) is None:
                raise ValueError(
                    f"runs: {entry.command!r} is of no preset that is listed under presets"
                )
        keys = [entry.key for entry in self.runs]
        if twice := next(
            (entry for entry, key in zip(self.runs, keys, strict=True) if keys.count(key) > 1), None
        ):
            raise ValueError(f"runs: {twice.command!r} on {twice.hardware!r} is there twice")
        return self

    def home(self, preset: str | None) -> str | None:
        """The listed preset that `preset` is, under this or another name; None if it is of another
        table.
        """
        name = self.aliases.get(preset or "none", preset or "none")
        return name if name in self.presets else None

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics that the page shows."""
        return [name for c in self.columns for name in (c.metric, c.error) if name]


class Part(_Strict):
    """A chapter of the page: a paper."""

    title: Text
    about: str = ""
    sections: list[str] = Field(min_length=1)
    """Names of files beside book.yaml, without the suffix."""
    remarks: str = ""


class Outline(_Strict):
    """results/book.yaml."""

    about: Text
    parts: list[Part] = Field(min_length=1)


# --- reading


class _Loader(yaml.SafeLoader):
    """YAML in which every scalar is the text that it is written as, no tag makes an object and no
    key is there twice.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML has it

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if twice := next((n for n in names if names.count(n) > 1), None):
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice!r} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> Any:
    """A YAML file's content, all numbers as text.

    Raises:
        ConfigError: it cannot be read, or holds a tag.
    """
    try:
        return yaml.load(path.read_text(), _Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{path}{where}: it cannot be read as YAML ({reason.splitlines()[0].rstrip('.')})."
        ) from error


Model = TypeVar("Model", bound=BaseModel)


def load(path: Path, kind: type[Model]) -> Model:
    """A file of results/ as what it should be.

    Raises:
        ConfigError: it is not; one sentence with the file, the key and what was found.
    """
    try:
        return kind.model_validate(load_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {complaint(error)}.") from error


def complaint(error: ValidationError) -> str:
    """What is wrong: the key, what is wanted, what was found; of several things a misspelt key, or
    else the first.
    """
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    key = re.sub(r"\.(\d+)", r"[\1]", ".".join(str(p) for p in first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{key} is no key here"
    if first["type"] == "missing":
        return f"{key} is missing"
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    found = "" if first["type"] == "value_error" else f", not {str(first['input'])[:60]!r}"
    return f"{key}: {message}{found}" if key else f"{message}{found}"


FACTS = "published_settings"
"""The file of results/ that is no table, but what the published commands say
(`learnsym.report.fidelity`)."""


def read_outline(folder: Path) -> Outline:
    """Read results/book.yaml; every table beside it is in it, and the other way round."""
    path = folder / "book.yaml"
    outline = load(path, Outline)
    listed = [name for part in outline.parts for name in part.sections]
    there = {p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")} - {
        "book",
        FACTS,
    }
    if missing := next((n for n in listed if n not in there), None):
        raise ConfigError(f"{path}: {missing} is listed, but {folder / missing}.yaml is not there.")
    if idle := next((n for n in sorted(there) if n not in listed), None):
        raise ConfigError(f"{folder / idle}.yaml is not listed in {path}.")
    return outline


def read_sections(folder: Path, outline: Outline) -> dict[str, Section]:
    """All tables by name, in the order of the page."""
    return {
        name: load(folder / f"{name}.yaml", Section)
        for part in outline.parts
        for name in part.sections
    }


# --- writing


class _Inline(dict):
    """A mapping that is written in one line."""


class _Row(list):
    """A list that is written in one line."""


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - a number is its digits, and needs no quotes

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_Dumper.add_representer(
    _Inline,
    lambda d, data: d.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=True),
)
_Dumper.add_representer(
    _Row, lambda d, data: d.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def write_runs(path: Path, section: Section) -> None:
    """Write `runs:`, the last key of a table's file, anew; all that stands before it stays as it
    is, comments too.

    Raises:
        ConfigError: `runs` is not the last key, so that something would be lost.
    """
    text = path.read_text()
    head = re.split(r"(?m)^runs:", text)[0]
    content = yaml.dump(
        {"runs": [*_plain(section.runs)]},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=10_000,
    )
    new = head.rstrip("\n") + "\n" + content
    before = load_yaml(path)
    if Section.model_validate(before | {"runs": []}) != Section.model_validate(
        yaml.load(head, _Loader)
    ):
        raise ConfigError(
            f"{path}: runs must be the last key, for what stands after it would be lost."
        )
    if Section.model_validate(yaml.load(new, _Loader)) != section:
        raise ConfigError(f"{path}: what was measured cannot be written as YAML.")
    write_atomically(path, new)


def _plain(runs: list[Entry]) -> Iterator[dict[str, Any]]:
    for entry in runs:
        found = {
            k: str(v) if isinstance(v, int) else v
            for k, v in entry.model_dump(exclude_defaults=True).items()
        }
        found["metrics"] = {
            name: _Inline({k: str(v) for k, v in value.items()})
            for name, value in found["metrics"].items()
        }
        if "seeds" in found:
            found["seeds"] = _Row(str(seed) for seed in found["seeds"])
        yield found


Outcome = Literal["new", "replaced", "unchanged", "kept"]


def put(section: Section, entry: Entry) -> tuple[Section, Outcome, Entry | None]:
    """The table with one more entry: in the place of that with the same key, unless that one is
    newer.

    Returns:
        The table, what became of the entry, and the entry that was there before.
    """
    place = next((i for i, old in enumerate(section.runs) if old.key == entry.key), None)
    runs = list(section.runs)
    before = None if place is None else runs[place]
    if place is None:
        order = list(section.presets)
        runs = sorted([*runs, entry], key=lambda e: order.index(section.home(e.typed.preset) or ""))
        return section.model_copy(update={"runs": runs}), "new", None
    assert before is not None
    if before == entry:
        return section, "unchanged", before
    if before.date > entry.date:
        return section, "kept", before
    runs[place] = entry
    return section.model_copy(update={"runs": runs}), "replaced", before
