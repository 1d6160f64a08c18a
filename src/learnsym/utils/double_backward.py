"""Choose formulas that can be differentiated twice, as products with a Hessian need.

Layers whose backward passes are written by hand, and `F.grid_sample`, can be differentiated once.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.autograd.graph import Node

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


def graph_nodes(tensors: Iterable[Tensor]) -> Iterator[Node]:
    """Yield the nodes of the graph that tensors were computed by."""
    nodes = [t.grad_fn for t in tensors if t.grad_fn is not None]
    visited = set(nodes)
    while nodes:
        node = nodes.pop()
        yield node
        new = {after for after, _ in node.next_functions if after is not None} - visited
        visited |= new
        nodes += new
