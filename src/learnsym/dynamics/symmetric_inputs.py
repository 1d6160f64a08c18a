"""Linear maps of symmetric matrices, such as adjacency matrices, at almost half the cost (dynamics
paper, v1).
"""

import torch
from torch import Tensor, nn


class SymmetricInputs(nn.Module):
    """Keep the entries on and above the diagonal of symmetric n x n inputs.

    A linear map of all n^2 entries is one of these K = n (n + 1) / 2, whose weights are sums over
    equal entries.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        row, column = torch.triu_indices(side, side)
        place = torch.empty(side, side, dtype=torch.long)
        place[row, column] = torch.arange(len(row))
        place[column, row] = torch.arange(len(row))
        self.register_buffer("kept", row * side + column, persistent=False)  # [K]
        self.register_buffer(
            "place", place.flatten(), persistent=False
        )  # [n^2]: where each entry went

    def weight(self, weight: Tensor) -> Tensor:
        """Add up the weights of equal entries, [M, n^2, c', n^2, c] to [M, n^2, c', K, c].

        A view of a tensor whose inputs come first: the gradient is faster added up so, for there
        are few inputs.
        """
        inputs_first = weight.permute(0, 3, 4, 1, 2)  # [M, n^2, c, n^2, c']
        shape = (len(weight), len(self.kept), *inputs_first.shape[2:])
        return weight.new_zeros(shape).index_add(1, self.place, inputs_first).permute(0, 3, 4, 1, 2)

    def adjoint(self, gradient: Tensor) -> Tensor:
        """Give both of two equal entries the gradient of their sum, [M, n^2, c', K, c] to [M, n^2,
        c', n^2, c].
        """
        return gradient.index_select(3, self.place)
