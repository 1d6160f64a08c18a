"""Whether second derivatives will be asked for: then what has a fast backward pass of its own takes
plain formulas instead.

Several layers whose backward passes are written by hand, and in older versions of torch
`F.grid_sample`, can be differentiated once. Training needs no more; products with a Hessian do.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_asked = False


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Within this context everything can be differentiated twice, the same values (up to rounding)
    in more time.

    >>> with twice_differentiable():
    ...     double_backward_enabled()
    True
    >>> double_backward_enabled()
    False
    """
    global _asked
    before, _asked = _asked, True
    try:
        yield
    finally:
        _asked = before


def double_backward_enabled() -> bool:
    """Whether this is within `twice_differentiable`."""
    return _asked
