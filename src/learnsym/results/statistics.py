"""TODO."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from learnsym.results.collect import Run


def is_number(value: Any) -> bool:
    """A number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and standard deviation with n - 1 in the denominator; what is not finite makes both not a number.

    >>> mean_and_sd([1.0, 3.0])
    (2.0, 1.4142135623730951)
    >>> mean_and_sd([3.0])
    (3.0, None)
    """
    if not all(map(math.isfinite, values)):
        return math.nan, math.nan if len(values) > 1 else None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def name_of(run: Run) -> str:
    """What a run is called that is not in the table: its directory, or the overrides of a job that never had one."""
    return " ".join(run.overrides) or str(run.path) if run.path.suffix == ".json" else run.path.name
