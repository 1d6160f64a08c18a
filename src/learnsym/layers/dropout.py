"""Dropout whose masks belong to examples, whichever process computes them."""

from torch import Tensor, nn

from learnsym.schema import Fraction
from learnsym.utils import rng as randomness


class Dropout(nn.Module):
    """Sets each number to zero with probability p and divides the others by 1 - p (Srivastava et
    al., 2014), in training only.

    The same distribution as nn.Dropout. The masks are drawn for the whole global batch through
    `learnsym.utils.rng`, so that a run on several processes drops what a run on one process drops.

    Args:
        probability: p in [0, 1]. With p = 0, and in evaluation, the module is the identity and
            draws nothing.

    Shape: any [B, ...] to the same.

    >>> import torch
    >>> Dropout(0.5).eval()(torch.ones(1, 3))
    tensor([[1., 1., 1.]])
    """

    def __init__(self, probability: Fraction = 0.5) -> None:
        super().__init__()
        if not 0 <= probability <= 1:
            raise ValueError(f"the probability of dropout lies in [0, 1], not at {probability}")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] to [B, ...]."""
        if not self.training or self.probability == 0:
            return x
        if self.probability == 1:
            return x * 0
        # float32 draws at any precision of x: the mask does not depend on the precision of the run.
        drawn = randomness.batch_uniform(*x.shape, device=x.device)
        keep = drawn >= self.probability
        return x * keep.to(x.dtype).div_(1 - self.probability)

    def extra_repr(self) -> str:
        """The probability, for print(network)."""
        return f"probability={self.probability}"
