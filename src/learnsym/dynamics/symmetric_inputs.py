"""Halve the cost of linear maps of symmetric matrices."""

import torch
from torch import Tensor, nn


class SymmetricInputs(nn.Module):
    """Keep the entries on and above the diagonal of symmetric n x n inputs.

    A linear map of all n^2 entries is one of these K = n (n + 1) / 2, whose weights are sums over
    equal entries.

    Args:
        side: n.
    """

    kept: Tensor
    """[K], the entries that are kept."""
    index: Tensor
    """[n^2], where each entry stands among those that are kept."""

    def __init__(self, side: int) -> None:
        super().__init__()
        row, column = torch.triu_indices(side, side)
        index = torch.empty(side, side, dtype=torch.long)
        index[row, column] = torch.arange(len(row))
        index[column, row] = torch.arange(len(row))
        self.register_buffer("kept", row * side + column, persistent=False)
        self.register_buffer("index", index.flatten(), persistent=False)

    def fold(self, weight: Tensor) -> Tensor:
        """Add up the weights of equal entries, [M, n^2, c', n^2, c] to [M, n^2, c', K, c].

        The result is a view of a tensor whose inputs come first: its gradient is added up faster,
        for there are few inputs.
        """
        inputs_first = weight.permute(0, 3, 4, 1, 2)  # [M, n^2, c, n^2, c']
        shape = (len(weight), len(self.kept), *inputs_first.shape[2:])
        return weight.new_zeros(shape).index_add(1, self.index, inputs_first).permute(0, 3, 4, 1, 2)
