"""Write EXPERIMENTS.md: the commands of every table of the papers, the paper's values and ours.

`results/book.yaml` is the outline of the page, `results/<paper>/<table>.yaml` has the text, the
presets and the quantities of a table, `results/measured.csv` a line for every metric of every
command on every machine. Numbers are text throughout: 1.000 stays 1.000.
"""

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from learnsym.config.validate import CONFIG_DIR
from learnsym.errors import ConfigError
from learnsym.report.tables import to_markdown

Words = tuple[str, ...]
"""Overrides of a command, canonical."""
Section = Mapping[str, Any]
"""A table's file: title, about, presets, aliases, columns, remarks."""
_SECTION_KEYS = {"title", "about", "presets", "aliases", "columns", "remarks"}
_HEAD = ["run", "command", "quantity", "paper", "ours"]
_HEAD += ["n", "scale", "hardware", "time", "date, commit"]
MEASURED = ["command", "metric", "mean", "sd", "n", "note", "seeds", "seconds"]
MEASURED += ["hardware", "torch", "date", "commit"]
"""Columns of measured.csv. `n` counts the runs that have the metric, `seconds` are those of one
run, `date` (UTC) is that of the last one."""
_NOT_COMPARED = re.compile(
    r"[+~]*(seed|table|fresh|runs|debug|launcher|logger|paths|hydra|trainer\.progress)([./][\w./]+)?="
)
_SCALES = ("full", "cpu", "smoke")
_ORDER = {"experiment": -1, "scale": 1, "paths.data": 2}


class Key(NamedTuple):
    """What tells commands apart; the preset is none without one."""

    preset: str
    changes: frozenset[str]
    scale: str


def canonical(words: Sequence[str]) -> Words:
    """Return overrides in one order, less the seed; files and folders of data lie in DIR.

    >>> canonical(["scale=cpu", "seed=1", "net=conv5", "paths.data=/x", "experiment=a/b"])
    ('experiment=a/b', 'net=conv5', 'scale=cpu', 'paths.data=DIR')
    """
    kept = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and not word.startswith("~"):
            raise ValueError(f"{word!r} is not of the form key=value")
        is_file = key.rpartition(".")[2] in ("file", "path") and "/" in value
        if key == "paths.data":
            kept[key] = "paths.data=DIR"
        elif not _NOT_COMPARED.match(word) and word != "scale=full":
            kept[key] = f"{key}=DIR/{Path(value).name}" if is_file else word
    return tuple(sorted(kept.values(), key=lambda word: _ORDER.get(word.partition("=")[0], 0)))


def read_command(text: str) -> Words:
    """Return the canonical overrides of `python main.py key=value ...`."""
    return canonical(shlex.split(text)[2:])


def command_line(words: Words) -> str:
    """Return a command as it is typed."""
    return shlex.join(["python", "main.py", *words])


def key_of(words: Words) -> Key:
    """Return preset, changes and scale of canonical overrides."""
    chosen = dict(word.partition("=")[::2] for word in words)
    changes = frozenset(word for word in words if word.partition("=")[0] not in _ORDER)
    return Key(chosen.get("experiment", "none"), changes, chosen.get("scale", "full"))


# --- the files


def load_yaml(path: Path) -> Any:
    """Read a YAML file in which every scalar is text and tags mean nothing."""
    try:
        return yaml.load(path.read_text(), yaml.BaseLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {one_line(error)}.") from error


def read_sections(results: Path) -> dict[str, Section]:
    """Read all tables by name, in the order of the page."""
    sections = {}
    for name in itertools.chain(
        *(p["sections"] for p in load_yaml(results / "book.yaml")["parts"])
    ):
        section = load_yaml(results / f"{name}.yaml")
        if wrong := set(section) - _SECTION_KEYS or {"title", "presets", "columns"} - set(section):
            raise ConfigError(f"{results / name}.yaml: unknown or missing: {', '.join(wrong)}.")
        sections[name] = section
    return sections


def read_measured(results: Path) -> pd.DataFrame:
    """Read measured.csv, every cell as text, with the key of each command."""
    path = results / "measured.csv"
    try:
        measured = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=MEASURED)
        pd.to_numeric(measured["mean"])
        return measured.assign(key=measured["command"].map(lambda c: key_of(read_command(c))))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {one_line(error)}.") from error


def one_line(error: Exception) -> str:
    """Return the message of an error in one line, without its full stop."""
    return " ".join(str(error).split()).rstrip(".")


def listed_name(section: Section, preset: str) -> str | None:
    """Return the name under which a table lists a preset, or None."""
    name = section.get("aliases", {}).get(preset, preset)
    return name if name in section["presets"] else None


@cache
def paper_values(preset: str) -> Sequence[Mapping[str, str]] | None:
    """Return the `paper` node of a preset: its own, or that of its last ingredient with one."""
    content = load_yaml(CONFIG_DIR / "experiment" / f"{preset}.yaml")
    if "paper" in content:
        return content["paper"]
    names = [re.fullmatch("/experiment/([^@]+)", str(d)) for d in content.get("defaults", [])]
    nodes = [paper_values(name[1]) for name in reversed(names) if name]
    return next((node for node in nodes if node is not None), None)


def _applies(value: Mapping[str, str], changes: frozenset[str]) -> bool:
    """Tell if a paper's value is of the data set and the target that a command chooses."""
    chosen = dict(change.partition("=")[::2] for change in changes)
    if "dataset" in chosen and "dataset" in value:
        path = CONFIG_DIR / "dataset" / f"{chosen['dataset']}.yaml"
        if load_yaml(path)["_target_"].rpartition(".")[2] != value["dataset"]:
            return False
    target = value.get("target")
    return target is None or chosen.get("dataset.target", target) == target


def sweep_of(table: str) -> tuple[list[str], list[Key]]:
    """Return the commands in the header of a sweep, and what its runs are."""
    path = CONFIG_DIR / "table" / f"{table}.yaml"
    if not path.exists():
        return [], []
    params = load_yaml(path)["hydra"]["sweeper"]["params"].items()
    swept = [[f"{k}={v}" for v in values.split(",")] for k, values in params if k != "seed"]
    commands = re.findall(r"(?m)^#\s+(python main\.py -m .*)$", path.read_text())
    return commands, [key_of(canonical(words)) for words in itertools.product(*swept)]


# --- the page


def experiments_page(results: Path) -> str:
    """Return the whole page, Markdown."""
    outline, sections = load_yaml(results / "book.yaml"), read_sections(results)
    measured = read_measured(results)
    torch = ", ".join(sorted(set(measured["torch"]) - {""}))
    blocks = [
        "Generated by `python main.py mode=book` from the presets in `cfg/` and the measured values"
        " in `results/`: change those, not this page.",
        "# Experiments",
        outline["about"],
        f"Made with torch {torch}." if torch else "",
    ]
    for part in outline["parts"]:
        blocks += [f"## {part['title']}", part.get("about", "")]
        for name in part["sections"]:
            section = sections[name]
            blocks += [f"### {section['title']}"] if len(part["sections"]) > 1 else []
            blocks += _section_blocks(name, section, measured)
        blocks.append(part.get("remarks", ""))
    return "\n\n".join(block.strip() for block in blocks if block.strip()) + "\n"


def _section_blocks(name: str, section: Section, measured: pd.DataFrame) -> Iterator[str]:
    sweeps, runs = sweep_of(name)
    yield section.get("about", "")
    if sweeps:
        yield "All of it: " + ", or ".join(f"`{command}`" for command in sweeps) + "."
    rows = [r for p in section["presets"] for r in _rows(section, p, runs, measured)]
    yield to_markdown(pd.DataFrame(rows, columns=_HEAD, dtype=object).fillna(""))
    aliases = section.get("aliases", {}).items()
    yield "\n".join(f"`python main.py experiment={a}` is `{preset}`." for a, preset in aliases)
    yield section.get("remarks", "")


def _rows(
    section: Section, preset: str, sweep: Sequence[Key], measured: pd.DataFrame
) -> Iterator[dict[str, str]]:
    """Yield a row for each quantity of each command: those of the sweep first, run or not."""
    own = measured[[key.preset == preset for key in measured["key"]]]
    entries = [
        lines.to_dict("records") for _, lines in own.groupby(["key", "hardware"], sort=False)
    ]
    entries.sort(key=lambda e: (_SCALES.index(e[0]["key"].scale), e[0]["hardware"], e[0]["date"]))
    expected = [key.changes for key in sweep if key.preset == preset] or [frozenset()]
    done = [entry[0]["key"].changes for entry in entries]
    entries += [[_stated(preset, changes)] for changes in expected if changes not in done]
    rank = {changes: index for index, changes in enumerate(expected)}
    entries.sort(key=lambda e: rank.get(e[0]["key"].changes, len(rank)))
    for entry in entries:
        command, changes = entry[0]["command"], entry[0]["key"].changes
        short = "the default" if preset == "none" else preset.rpartition("/")[2]
        words = [word for word in read_command(command) if word in changes]
        changed = [re.sub(r"^.*?(\w+=)(.*/)?", r"\1", word) for word in words]
        title = ", ".join(filter(None, [short, section["presets"][preset], *changed]))
        yield from _quantities(section, {"run": title, "command": f"`{command}`"}, entry)


def _stated(preset: str, changes: frozenset[str]) -> dict[str, Any]:
    """Return the command in a preset's header, with changes, as an entry without a metric."""
    words: Words = ()
    if preset != "none":
        text = (CONFIG_DIR / "experiment" / f"{preset}.yaml").read_text()
        header = re.findall(r"(?m)^#\s+(python main\.py experiment=.*)$", text)[0]
        words = canonical([*read_command(header), *sorted(changes)])
    return {"key": key_of(words)._replace(changes=changes), "command": command_line(words)}


def _quantities(
    section: Section, row: dict[str, str], entry: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, str]]:
    """Yield the quantities of one command; name and circumstances stand in the first row alone."""
    first, lines = entry[0], {line["metric"]: line for line in entry if "metric" in line}
    key: Key = first["key"]
    reported = [] if key.preset == "none" else paper_values(key.preset) or []
    paper = [value for value in reported if _applies(value, key.changes)]
    if lines:
        row |= {"scale": key.scale, "n": max((line["n"] for line in entry), key=int)}
        row |= {"hardware": first["hardware"], "time": _duration(first["seconds"])}
        row |= {"date, commit": f"{first['date'][:10]}, {first['commit']}"}
    known = {value["metric"] for value in paper} | set(lines)
    shown = [c for c in section["columns"] if c["metric"] in known] or section["columns"][:1]
    for column in shown:
        values = [value for value in paper if value["metric"] == column["metric"]]
        row |= {"quantity": column["name"], "paper": _paper_cell(values, column)}
        row |= {"ours": _our_cell(lines, column) if lines else "not run"}
        yield row
        row = {}


def _paper_cell(values: Sequence[Mapping[str, str]], column: Mapping[str, str]) -> str:
    cells = []
    for value in values:
        where = value.get("where") if len(values) > 1 or value["status"] == "S" else None
        number = _scaled(value["value"], column)
        cells.append(f"{number} [{value['status']}]" + (f" ({where})" if where else ""))
    return "; ".join(cells)


def _our_cell(lines: Mapping[str, Mapping[str, str]], column: Mapping[str, str]) -> str:
    """Return mean ± deviation over seeds, or the standard error (s.e.) within a run."""
    if column["metric"] not in lines:
        return ""
    line, error = lines[column["metric"]], lines.get(column.get("error", ""))
    text = _scaled(line["mean"], column)
    if line["sd"]:
        text = f"{text.removesuffix(' %')} ± {_scaled(line['sd'], column)}"
    elif error:
        text = f"{text.removesuffix(' %')} ± {_scaled(error['mean'], column)} (s.e.)"
    return text + (f" ({line['note']})" if line["note"] else "")


def _scaled(number: str, column: Mapping[str, str]) -> str:
    """Return a number in per cent if the column is, with the digits that it has."""
    if column.get("percent") != "true" or not re.fullmatch(r"[\d.]+", number):
        return number
    return f"{Decimal(number).scaleb(2):f} %"


def _duration(seconds: str) -> str:
    """Return seconds, minutes or hours: 57 s, 8.4 min, 2.1 h."""
    if not seconds or " to " in seconds or float(seconds) < 120:
        return f"{seconds} s" if seconds else ""
    minutes = float(seconds) / 60
    return f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
