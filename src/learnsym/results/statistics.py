"""Mean and standard deviation over seeds."""

import math
import statistics
from collections.abc import Sequence
from typing import TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell if a value is a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Return mean and standard deviation (n - 1); both are nan if a value is not finite.

    >>> mean_and_sd([1.0, 3.0])
    (2.0, 1.4142135623730951)
    >>> mean_and_sd([3.0])
    (3.0, None)
    """
    if not all(map(math.isfinite, values)):
        return math.nan, math.nan if len(values) > 1 else None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
