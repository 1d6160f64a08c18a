"""Type of the context that torch hands to a hand-written forward and backward pass."""

from typing import Any, Protocol

from torch import Tensor


class Context(Protocol):
    """Hold what a forward pass keeps for its backward pass, under any further names."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors."""

    def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: object) -> None: ...
