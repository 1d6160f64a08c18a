"""Types that carry a range, so that a signature says what a valid argument is.

`learnsym.config.validate` checks every configured value against these annotations before anything
is built; a notebook may pass plain numbers.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

Size = Annotated[int, Gt(0)]  # widths, batch sizes, epochs, copies
Count = Annotated[int, Ge(0)]  # seeds, numbers of held-out examples
Positive = Annotated[float, Gt(0)]  # learning rates, scales
NonNegative = Annotated[float, Ge(0)]  # weight decay, regularisation levels
Fraction = Annotated[float, Ge(0), Le(1)]  # probabilities, parts of a whole
Task = Literal["classification", "regression", "segmentation"]
"""What a data set asks of a network: a class, numbers, or masks (which pixel belongs to what). It
decides the shape of the outputs, the loss, the metrics and how test-time copies are averaged."""
AngleCut = Literal["half_turn", "identity"]  # where the circle is cut open: an angle is a number
PlainDict = dict[str, Any]  # as in JSON: rows, results, configurations, checkpoints
PlainMapping = Mapping[str, Any]  # the same, only read
SECTIONS = ("base_group", "conv", "kernel", "net", "dataset", "train")
"""What a checkpoint was trained with, and what a mode that reads one takes from it."""


def key_of(override: str) -> str:
    """Return the key of an override as typed.

    >>> key_of("++dataset.seed=1")
    'dataset.seed'
    """
    return override.lstrip("+~").partition("=")[0]
