"""Read runs from their directories: what tables, reports and comparisons start from.

A pattern stands for run directories (`runs/*`), for sweeps (`runs/sweeps/*`: their jobs), or for a
folder of runs (`runs`). What cannot be read is kept and named: a run that is missing in a table is
worse than one that is said to have failed.
"""

import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from learnsym.config.former_names import with_current_names
from learnsym.errors import ConfigError, RunError
from learnsym.run.directory import read_rows
from learnsym.schema import PlainDict
from learnsym.utils.files import with_nan

Status = Literal["finished", "failed", "unfinished", "unreadable", "missing"]
PLANNED = "planned.json"
"""The file in a sweep's directory that lists the overrides of all its jobs."""
_ADVICE = {
    "result.json": "delete it, and the run's command makes it again",
    "curves.json": "delete result.json beside it, and the run's command makes both again",
    "config.yaml": "the run's command writes it again",
}
_SECTIONS = {"paper": list, "metrics": dict, "learned_symmetry": dict, "versions": dict}
_SECTIONS |= {"data": dict, "true_widths": dict}


@dataclass(frozen=True)
class Run:
    """What the directory of a run holds; what is not there is empty.

    Attributes:
        path: the directory, or the record of a job that never had one.
        config, result, rows, curves: config.yaml, result.json, metrics.jsonl, curves.json.
        error: why it failed or cannot be read, in one sentence.
        overrides: as typed; of a job of a sweep, all of them.
    """

    path: Path
    status: Status
    config: PlainDict = field(default_factory=dict)
    result: PlainDict = field(default_factory=dict)
    rows: list[PlainDict] = field(default_factory=list)
    curves: PlainDict = field(default_factory=dict)
    error: str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its directory, or the overrides of a job that never had one."""
        if self.path.suffix != ".json":
            return self.path.name
        return " ".join(self.overrides) or str(self.path)

    @property
    def seed(self) -> int | str | None:
        """The seed of its configuration, or of its result."""
        return self.config.get("seed", self.result.get("seed"))

    def section(self, name: str) -> PlainDict:
        """Return a section of its result; empty where there is none."""
        return self.result.get(name, {})


def collect(patterns: str | Sequence[str]) -> list[Run]:
    """Read all runs that the patterns stand for, each once, in the order of patterns and names."""
    runs: dict[Path, Run] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        names = sorted(glob.glob(str(Path(pattern).expanduser())))
        matches = [run for name in names for run in _runs_at(Path(name).absolute())]
        if not matches:
            raise ConfigError(
                f"runs={pattern}: there is no run; directories of runs, a sweep's or a folder of "
                "runs are wanted."
            )
        for run in matches:
            runs.setdefault(run.path, run)
    return list(runs.values())


def _runs_at(path: Path) -> Iterator[Run]:
    if _is_run(path):
        yield read_run(path)
    elif (path / "jobs").is_dir():
        yield from jobs_of(path)
    elif path.is_dir():
        yield from (read_run(p) for p in sorted(path.iterdir()) if _is_run(p))


def _is_run(path: Path) -> bool:
    return any((path / mark).exists() for mark in ("result.json", "config.yaml", "error.txt"))


def jobs_of(sweep: Path, kept_nothing: bool = False) -> Iterator[Run]:
    """Read the runs of the jobs in a sweep's directory, in the order of the sweep.

    A job that never had a directory counts as failed, one that left no record is missing.
    `kept_nothing`: its jobs (debug=true) have no directory any more; their records are all.
    """
    records = sorted((sweep / "jobs").glob("*.json"), key=lambda p: (len(p.stem), p.stem))
    yield from (_job(record, kept_nothing) for record in records)
    try:
        planned = [tuple(map(str, job)) for job in json.loads((sweep / PLANNED).read_text())]
    except (OSError, ValueError, TypeError, RecursionError):
        return  # a sweep that did not write its jobs down
    for number, overrides in enumerate(planned):
        record = sweep / "jobs" / f"{number}.json"
        if record not in records:
            error = "it never ran or was killed; the sweep's command does it."
            yield Run(record, "missing", error=error, overrides=overrides)


def _job(record: Path, kept_nothing: bool) -> Run:
    try:
        job = json.loads(record.read_text())
        overrides, error = tuple(job["overrides"]), job["error"]
        finished, directory = job["status"] == "finished", job["directory"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        error = f"{record} cannot be read; the sweep's command writes it again."
        return Run(record, "unreadable", error=error)
    if kept_nothing:
        return Run(record, "finished" if finished else "failed", error=error, overrides=overrides)
    if directory is not None and Path(directory).is_dir():
        return read_run(Path(directory), overrides)
    error = error or f"{directory} is no longer there."
    return Run(record, "failed", error=error, overrides=overrides)


def read_run(path: Path, overrides: tuple[str, ...] = ()) -> Run:
    """Read one run's directory; what cannot be read makes the run unreadable, not an error."""
    parts: dict[str, PlainDict] = {"config": {}, "result": {}, "curves": {}}
    for file, advice in _ADVICE.items():
        try:
            parts[Path(file).stem] = _read_mapping(path / file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            text = f"{path / file} cannot be read ({str(error).splitlines()[0]}); {advice}."
            return Run(path, "unreadable", error=text, overrides=overrides)
    result, failure = parts["result"], path / "error.txt"
    try:  # a run that goes on may be writing a line
        rows = read_rows(path / "metrics.jsonl", whole=bool(result))
    except RunError as error:
        return Run(path, "unreadable", error=str(error), overrides=overrides)
    status: Status = "finished"
    reason = None
    if not result and failure.exists():
        lines = failure.read_text(errors="replace").strip().splitlines() or ["error.txt is empty."]
        status, reason = "failed", lines[-1]
    elif not result:
        status, reason = "unfinished", "it has not finished; its command goes on with it."
    typed = overrides or tuple(str(result.get("command", "")).split()[1:])
    return Run(path, status, **parts, rows=rows, error=reason, overrides=typed)


def _read_mapping(path: Path) -> PlainDict:
    """Read a file that holds a mapping, with the sections of result.json; else a ValueError."""
    text = path.read_text()
    is_yaml = path.suffix == ".yaml"
    content = with_current_names(yaml.safe_load(text)) if is_yaml else json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}")
    for name, kind in _SECTIONS.items() if path.name == "result.json" else ():
        if not isinstance(content.get(name, kind()), kind):
            raise ValueError(f"its {name} is a {type(content[name]).__name__}")
        if name == "metrics":
            content[name] = with_nan(content.get(name, {}))
    return content
