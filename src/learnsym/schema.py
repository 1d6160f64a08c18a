"""Types that carry a range, so that a signature says what a valid argument is.

`learnsym.config.validate` checks every configured value against these annotations before anything
is built; a notebook may pass plain numbers.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

Size = Annotated[int, Gt(0)]
"""A whole number of at least one: widths, batch sizes, epochs, copies."""
Count = Annotated[int, Ge(0)]
"""A whole number of at least zero: seeds, numbers of held-out examples."""
Positive = Annotated[float, Gt(0)]
"""A real number above zero: learning rates, scales."""
NonNegative = Annotated[float, Ge(0)]
"""A real number of at least zero: weight decay, regularisation levels."""
Fraction = Annotated[float, Ge(0), Le(1)]
"""A real number in [0, 1]: probabilities, parts of a whole."""
Task = Literal["classification", "regression", "segmentation"]
"""What a data set asks of a network: a class, numbers, or masks (which pixel belongs to what). It
decides the shape of the outputs, the loss, the metrics and how test-time copies are averaged."""
AngleCut = Literal["half_turn", "identity"]
"""Where the circle is cut open, so that an angle is a number."""
PlainDict = dict[str, Any]
"""Plain containers and values, as in JSON: rows, results, configurations, checkpoints."""
PlainMapping = Mapping[str, Any]
"""Plain containers and values that are only read."""
