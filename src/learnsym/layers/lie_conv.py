"""LieConv, the convolution over points of a group (Finzi et al. 2020).

It is computed by the PointConv trick (Wu et al. 2019).
"""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from learnsym.layers.fast import product_dtype
from learnsym.layers.neighbourhoods import Block, Neighbourhoods
from learnsym.layers.norms import SwishNorm
from learnsym.schema import Size

_CHUNK_POINTS = 256  # mixed at a time: enough for a product at full speed, few enough for a cache
_Part = tuple[Block, Tensor, Tensor]  # a block with its features [b n, C] and m [b n q, mixing]


class WeightNetwork(nn.Module):
    """Map pairs to `mixing` numbers: linear, batch norm, swish, once more than there are widths."""

    def __init__(self, pair_size: int, mixing: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        sizes = (pair_size, *widths, mixing)
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(SwishNorm(b) for b in sizes[1:])

    def forward(self, pairs: Tensor) -> Tensor:
        """Map [M, pair_size] to [M, mixing]."""
        hidden = self.linears[0](pairs)
        for norm, linear in zip(self.norms, self.linears[1:], strict=False):
            hidden = norm(hidden, linear)
        return self.norms[-1](hidden)


class LieConv(nn.Module):
    """Convolve features of points over their neighbourhoods.

        y_v = (W vec(sum_u m(v, u) f_u^T) + b) / |N(v)|,    u in the neighbourhood N(v)

    with m the weight network of the pair (see `Lift.pairs`), `mixing` numbers: a kernel k(v, u)
    [C', C] = sum_j m_j(v, u) W_j of which only m is computed for each pair, and the W_j are
    multiplied after the sum over neighbours.
    """

    def __init__(
        self,
        in_channels: Size,
        out_channels: Size,
        pair_size: Size,
        mixing: Size = 16,
        weight_widths: tuple[Size, ...] = (32, 32),
    ) -> None:
        super().__init__()
        self.weights = WeightNetwork(pair_size, mixing, weight_widths)
        self.linear = nn.Linear(mixing * in_channels, out_channels)

    def forward(self, features: Tensor, hoods: Neighbourhoods) -> Tensor:
        """Map rows [P, C] of points to [P, C']; the product with W in autocast's precision."""
        mixing = self.weights(hoods.pairs)
        dtype = product_dtype(mixing)
        mix = _mixed_linear
        if self.training and torch.is_grad_enabled():
            # What is mixed, `mixing` times as much as the features, is computed again in the
            # backward pass, not kept.
            mix = partial(checkpoint, mix, use_reentrant=False, preserve_rng_state=False)
        weight, bias = self.linear.weight.to(dtype), self.linear.bias.to(dtype)
        rows = features.to(dtype).split([block.rows for block in hoods.blocks])
        pairs = mixing.to(dtype).split([block.pairs for block in hoods.blocks])
        chunks: list[list[_Part]] = [[]]
        for part in zip(hoods.blocks, rows, pairs, strict=True):
            if sum(block.rows for block, _, _ in chunks[-1]) >= _CHUNK_POINTS:
                chunks.append([])
            chunks[-1].append(part)
        return torch.cat([mix(chunk, weight, bias) for chunk in chunks]) / hoods.counts()


def _mixed_linear(parts: list[_Part], weight: Tensor, bias: Tensor) -> Tensor:
    """Compute W vec(sum_u m(v, u) f_u^T) + b, [P, C']."""
    sums = []
    for block, f, m in parts:
        products = _matrices(m, block) @ f.reshape(block.clouds, block.points, -1)
        sums.append(products.view(-1, weight.shape[1]))
    return F.linear(torch.cat(sums), weight, bias)


def _matrices(mixing: Tensor, block: Block) -> Tensor:
    """Lay out m of a block [b n q, mixing] as matrices [b, n mixing, n] of (v, j) and any u."""
    m = mixing.reshape(block.clouds, block.points, block.neighbours, -1)
    if block.chosen is not None:
        zeros = m.new_zeros(block.clouds, block.points, block.points, m.shape[-1])
        m = zeros.scatter(2, block.chosen.unsqueeze(-1).expand_as(m), m)
    return m.transpose(2, 3).flatten(1, 2)
