"""Choose formulas that can be differentiated twice.

Several layers whose backward passes are written by hand, and `F.grid_sample`, can be differentiated
once. Training needs no more; products with a Hessian do.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_enabled = False


@contextmanager
def enable_double_backward() -> Iterator[None]:
    """Make everything differentiable twice within this context, at some cost in time.

    Values are the same up to rounding.

    >>> with enable_double_backward():
    ...     double_backward_enabled()
    True
    >>> double_backward_enabled()
    False
    """
    global _enabled
    before, _enabled = _enabled, True
    try:
        yield
    finally:
        _enabled = before


def double_backward_enabled() -> bool:
    """Return whether `enable_double_backward` is in force."""
    return _enabled
