"""Runs that are there already, read from their directories: what tables, reports and comparisons
start from.

A pattern stands for run directories (`runs/*`), for sweeps (`runs/sweeps/*`: their jobs), or for a
folder of runs (`runs`). What cannot be read is kept and named: a run that is missing in a table is
worse than one that is said to have failed.
"""

import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from learnsym.config.former_names import with_current_names
from learnsym.errors import ConfigError, RunError
from learnsym.results.planned_jobs import planned_jobs
from learnsym.run.directory import read_rows

Status = Literal["finished", "failed", "unfinished", "unreadable", "missing"]
MARKS = ("result.json", "config.yaml", "error.txt")
"""One of these is in the directory of every run."""
ADVICE = {
    "result": "delete it, and the run's command makes it again",
    "curves": "delete result.json beside it, and the run's command makes both again",
    "config": "the run's command writes it again",
}
"""What to do about a damaged file."""
FORM = {
    "metrics": dict,
    "learned_symmetry": dict,
    "versions": dict,
    "data": dict,
    "true_widths": dict,
    "paper": list,
}
"""Sections of result.json."""


@dataclass(frozen=True)
class Run:
    """What the directory of a run says of it."""

    path: Path
    status: Status
    config: dict[str, Any] = field(default_factory=dict)
    """Resolved, as in config.yaml; empty where there is none."""
    result: dict[str, Any] = field(default_factory=dict)
    """result.json; empty unless finished."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """metrics.jsonl: one for each epoch."""
    curves: dict[str, Any] = field(default_factory=dict)
    """curves.json; empty where there is none."""
    error: str | None = None
    """Why it failed or cannot be read, in one sentence."""
    overrides: tuple[str, ...] = ()
    """As typed; of a job of a sweep, all of them."""


def collect(patterns: str | Sequence[str]) -> list[Run]:
    """All runs that the patterns stand for, each once, in the order of the patterns and of their
    names.

    Raises:
        ConfigError: a pattern stands for no run.
    """
    found: dict[Path, Run] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        runs = [
            run
            for name in sorted(glob.glob(str(Path(pattern).expanduser())))
            for run in runs_at(Path(name).absolute())
        ]
        if not runs:
            raise ConfigError(
                f"runs={pattern}: there is no run; directories of runs, a sweep's or a folder of runs are wanted."
            )
        for run in runs:
            found.setdefault(run.path, run)
    return list(found.values())


def runs_at(path: Path) -> Iterator[Run]:
    """A run's directory gives the run, a sweep's its jobs, another folder the runs in it; a file
    gives nothing.
    """
    if not path.is_dir():
        return
    if any((path / mark).exists() for mark in MARKS):
        yield read_run(path)
    elif (path / "jobs").is_dir():
        yield from jobs_of(path)
    else:
        yield from (
            read_run(p)
            for p in sorted(path.iterdir())
            if any((p / mark).exists() for mark in MARKS)
        )


def jobs_of(sweep: Path, kept_nothing: bool = False) -> Iterator[Run]:
    """The runs of a sweep's jobs, in the order of the sweep; a job that never had a directory
    counts as failed, and one that left no record is missing.

    Args:
        sweep: its directory.
        kept_nothing: its jobs (debug=true) have no directory any more, and what their records say
            is all there is.
    """
    for record in sorted((sweep / "jobs").glob("*.json"), key=lambda p: (len(p.stem), p.stem)):
        try:
            job = json.loads(record.read_text())
            overrides, directory, status, error = (
                job[key] for key in ("overrides", "directory", "status", "error")
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            yield Run(
                record,
                "unreadable",
                error=f"{record} cannot be read; the sweep's command writes it again.",
            )
            continue
        if kept_nothing:
            yield Run(
                record,
                "finished" if status == "finished" else "failed",
                error=error,
                overrides=tuple(overrides),
            )
        elif directory is None or not Path(directory).is_dir():
            yield Run(
                record,
                "failed",
                error=error or f"{directory} is no longer there.",
                overrides=tuple(overrides),
            )
        else:
            yield read_run(Path(directory), tuple(overrides))
    for number, overrides in enumerate(planned_jobs(sweep)):
        if not (record := sweep / "jobs" / f"{number}.json").exists():
            yield Run(
                record,
                "missing",
                error="it never ran or was killed; the sweep's command does it.",
                overrides=overrides,
            )


def read_run(path: Path, overrides: tuple[str, ...] = ()) -> Run:
    """One run's directory; never fails: what cannot be read makes the run unreadable."""
    parts: dict[str, Any] = {"config": {}, "result": {}, "curves": {}}
    for name, file in (
        ("result", "result.json"),
        ("curves", "curves.json"),
        ("config", "config.yaml"),
    ):
        try:
            parts[name] = read_part(path / file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            why = f"{path / file} cannot be read ({str(error).splitlines()[0]}); {ADVICE[name]}."
            return Run(path, "unreadable", error=why, overrides=overrides)
    try:
        rows = read_rows(
            path / "metrics.jsonl", whole=bool(parts["result"])
        )  # a run that goes on may be writing a line
    except RunError as error:
        return Run(path, "unreadable", error=str(error), overrides=overrides)
    typed = overrides or tuple(str(parts["result"].get("command", "")).split()[1:])
    failed = path / "error.txt"
    if parts["result"]:
        return Run(path, "finished", **parts, rows=rows, overrides=typed)
    if failed.exists():
        lines = failed.read_text(errors="replace").strip().splitlines()
        return Run(
            path,
            "failed",
            **parts,
            rows=rows,
            error=lines[-1] if lines else "error.txt is empty.",
            overrides=typed,
        )
    return Run(
        path,
        "unfinished",
        **parts,
        rows=rows,
        error="it has not finished; its command goes on with it.",
        overrides=typed,
    )


def read_part(path: Path) -> dict[str, Any]:
    """What one of these files holds, a mapping; the parts of a result.json are of the kinds that
    everything here relies on.

    Raises:
        OSError, ValueError, RecursionError, yaml.YAMLError: it cannot be read, or holds something
            else.
    """
    text = path.read_text()
    found = with_current_names(yaml.safe_load(text)) if path.suffix == ".yaml" else json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}")
    form = FORM if path.name == "result.json" else {}
    wrong = next(
        (key for key, kind in form.items() if not isinstance(found.get(key, kind()), kind)), None
    )
    if wrong:
        raise ValueError(f"its {wrong} is a {type(found[wrong]).__name__}")
    return found
