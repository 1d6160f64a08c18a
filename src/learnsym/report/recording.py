"""Finished runs into entries of results/: grouped by what was run, on what, with mean and standard
deviation over the seeds.
"""

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from learnsym.report.commands import Command, take_apart
from learnsym.report.measured import Entry, Value, complaint
from learnsym.results.collect import Run

IDLE_SECTIONS = ("seed", "paths", "logger", "fresh", "runs", "paper", "debug")
"""Of config.yaml: what runs of one experiment may differ in."""
IDLE_KEYS = {"dataset": ("data_dir", "file", "path"), "trainer": ("progress",)}
"""The same, of parts that decide the result otherwise."""


class _Versions(BaseModel):
    torch: str | None = None
    code: str | None = None
    commit: str | None = None


class _Result(BaseModel):
    """What the book needs of result.json; it may hold more."""

    metrics: dict[str, Any]
    seconds: float = Field(gt=0, allow_inf_nan=False)
    seconds_of_training: float = 0.0
    device: str = Field(min_length=1)
    seed: int
    scale: str
    finished: datetime | None = None
    versions: _Versions = _Versions()
    true_widths: dict[str, float] = {}


@dataclass(frozen=True)
class Finished:
    """One run that can be recorded."""

    name: str
    command: Command
    recipe: str
    """Hash of the configuration less the seed: a preset may have been changed between two runs."""
    result: _Result
    moment: datetime

    @property
    def group(self) -> tuple[str | None, frozenset[str], str, str]:
        return (
            self.command.preset,
            frozenset(self.command.overrides),
            self.command.scale,
            self.result.device,
        )

    @property
    def commit(self) -> str:
        versions = self.result.versions
        return versions.commit or (f"code {versions.code}" if versions.code else "unknown")


def read_finished(run: Run) -> Finished:
    """A run as the book needs it.

    Raises:
        ValueError: it has not finished, or cannot be recorded; one sentence.
    """
    if run.status != "finished":
        raise ValueError(f"it is {run.status}: {(run.error or '').rstrip('.')}")
    try:
        result = _Result.model_validate(run.result)
    except ValidationError as error:
        raise ValueError(f"result.json: {complaint(error)}") from error
    if run.config.get("checkpoint"):
        raise ValueError("it started from a checkpoint, which its command does not make")
    if result.scale == "smoke":
        raise ValueError("scale=smoke shows that everything runs, and measures nothing")
    command = take_apart(run.overrides)
    if command.preset is None and command.overrides:
        raise ValueError(
            f"it is of no preset, and {command.overrides[0]} makes it another run than the default"
        )
    if command.scale != result.scale:
        raise ValueError(f"its command says scale={command.scale}, its result scale={result.scale}")
    rest = {k: v for k, v in run.config.items() if k not in IDLE_SECTIONS}
    for section, idle in IDLE_KEYS.items():
        if isinstance(rest.get(section), dict):
            rest[section] = {k: v for k, v in rest[section].items() if k not in idle}
    recipe = hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()
    written = datetime.fromtimestamp((run.path / "result.json").stat().st_mtime, UTC)
    moment = result.finished or written
    return Finished(
        run.path.name,
        command,
        recipe,
        result,
        moment if moment.tzinfo else moment.replace(tzinfo=UTC),
    )


def grouped(
    runs: Iterable[Finished],
) -> Iterator[tuple[list[Finished], list[tuple[Finished, str]]]]:
    """Runs that differ in the seed alone, in the order of seeds; and those of the same command that
    are left out, and why.

    Of two runs with one seed, and of two versions of a preset, the newer counts.
    """
    groups: dict[tuple[Any, ...], list[Finished]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    for members in groups.values():
        newest_first = sorted(members, key=lambda r: r.moment, reverse=True)
        chosen: dict[int, Finished] = {}
        left_out = []
        for run in newest_first:
            if run.recipe != newest_first[0].recipe:
                left_out.append(
                    (
                        run,
                        f"its preset or defaults have changed since; {newest_first[0].name} is newer",
                    )
                )
            elif run.result.seed in chosen:
                left_out.append(
                    (run, f"{chosen[run.result.seed].name} is newer and of the same seed")
                )
            else:
                chosen[run.result.seed] = run
        yield [chosen[seed] for seed in sorted(chosen)], left_out


def entry_of(runs: Sequence[Finished], metrics: Sequence[str]) -> Entry:
    """Runs that differ in the seed alone, as an entry.

    Args:
        runs: at least one.
        metrics: what is wanted of them; what none of them has is left out.

    Raises:
        ValueError: they have none of the metrics, or one that is not a finite number.
    """
    newest = max(runs, key=lambda r: r.moment)
    values = {}
    for name in metrics:
        found = [number_of(run, name) for run in runs if name in run.result.metrics]
        if found:
            mean, sd = digits(found)
            values[name] = Value(mean=mean, sd=sd, n=len(found) if len(found) < len(runs) else None)
    if not values:
        raise ValueError(
            f"it has none of the quantities that its table shows: {', '.join(metrics)}"
        )
    seconds = [
        max(run.result.seconds, run.result.seconds_of_training) for run in runs
    ]  # a continued run counts its last part
    return Entry(
        command=str(newest.command),
        n=len(runs),
        seeds=[run.result.seed for run in runs],
        metrics=values,
        seconds=rounded(statistics.fmean(seconds), 3),
        hardware=newest.result.device,
        torch=newest.result.versions.torch,
        date=f"{newest.moment.astimezone(UTC):%Y-%m-%d %H:%M}",
        commit=", ".join(dict.fromkeys(run.commit for run in runs)),
    )


def number_of(run: Finished, metric: str) -> float:
    """A metric of a run.

    Raises:
        ValueError: it is not a finite number.
    """
    value = run.result.metrics[metric]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{metric} is {str(value)[:60]} in {run.name}, not a finite number")
    return float(value)


def digits(values: Sequence[float]) -> tuple[str, str | None]:
    """Mean and standard deviation (n - 1) as they are written: two digits of the deviation and the
    mean to the same place; of one value, or of equal ones, four digits.
    """
    mean = statistics.fmean(values)
    if len(values) == 1:
        return rounded(mean, 4), None
    sd = statistics.stdev(values)
    if sd <= 1e-12 * abs(mean) or sd == 0:
        return rounded(mean, 4), "0"
    place = Decimal(f"{sd:.1e}")
    return _plain(Decimal(mean).quantize(place) + 0), _plain(place)


def rounded(value: float, significant: int) -> str:
    """A number to so many digits."""
    if value == 0:
        return "0"
    return _plain(Decimal(f"{value:.{significant - 1}e}"))


def _plain(number: Decimal) -> str:
    """1234, 0.0012, 1.2e-7: digits are kept, and only very small numbers have an exponent."""
    if number and number.adjusted() < -4:
        mantissa, _, exponent = f"{number:e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{number:f}"
