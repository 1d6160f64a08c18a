"""Dropout whose masks belong to examples, whichever process computes them."""

from torch import Tensor, nn

from learnsym.schema import Fraction
from learnsym.utils.rng import BatchRows, batch_uniform


class Dropout(nn.Module):
    """Set each number to zero with a probability p and divide the others by 1 - p, in training.

    The same distribution as nn.Dropout (Srivastava et al., 2014). The masks are drawn for the whole
    global batch (`learnsym.utils.rng`), so that a run on several processes drops what a run on one
    process drops. With p = 0, and in evaluation, nothing is drawn.
    """

    def __init__(self, probability: Fraction = 0.5) -> None:
        super().__init__()
        if not 0 <= probability <= 1:
            raise ValueError(f"Expected a probability of dropout in [0, 1], got {probability}.")
        self.probability = probability

    def forward(self, x: Tensor, rows: BatchRows | None = None) -> Tensor:
        """Drop numbers of [B, ...]; `rows`: which examples of a global batch these are."""
        if not self.training or self.probability == 0:
            return x
        if self.probability == 1:
            return x * 0
        # float32 draws at any precision of x: the mask does not depend on the precision of the run.
        drawn = batch_uniform(*x.shape, rows=rows, device=x.device)
        keep = drawn >= self.probability
        return x * keep.to(x.dtype).div_(1 - self.probability)

    def extra_repr(self) -> str:
        """Return the probability, for print(network)."""
        return f"probability={self.probability}"
