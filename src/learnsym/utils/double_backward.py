"""Choose formulas that can be differentiated twice, as products with a Hessian need.

Layers whose backward passes are written by hand, and `F.grid_sample`, can be differentiated once.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_enabled = False


@contextmanager
def enable_double_backward() -> Iterator[None]:
    """Make everything differentiable twice, at some cost in time; values are alike to rounding."""
    global _enabled
    before, _enabled = _enabled, True
    try:
        yield
    finally:
        _enabled = before


def double_backward_enabled() -> bool:
    """Return whether `enable_double_backward` is in force."""
    return _enabled
