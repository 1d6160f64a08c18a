"""LieConv: the convolution over points of a group (Finzi et al. 2020), with the PointConv trick (Wu
et al. 2019).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from learnsym.layers.batch_norm_swish import SwishNorm, product_dtype
from learnsym.layers.fast.swish_linear import column_sums
from learnsym.layers.neighbourhoods import Block, Neighbourhoods
from learnsym.schema import Size

PART_ROWS = 256
"""How many points are mixed at a time: enough for a product at full speed, few enough to stay in
the cache."""


class WeightNetwork(nn.Module):
    """linear, batch norm, swish, as often as there are widths and once more: pairs [M, d] to [M,
    mixing].
    """

    def __init__(
        self, pair_size: Size, mixing: Size = 16, widths: tuple[Size, ...] = (32, 32)
    ) -> None:
        super().__init__()
        sizes = (pair_size, *widths, mixing)
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(SwishNorm(b) for b in sizes[1:])

    def forward(self, pairs: Tensor) -> Tensor:
        """[M, d] to [M, mixing]."""
        hidden = self.linears[0](pairs)
        for norm, linear in zip(self.norms, self.linears[1:], strict=False):
            hidden = norm(hidden, linear)
        return self.norms[-1](hidden)


class LieConv(nn.Module):
    """A convolution of point features.

        y_v = (W vec(sum_u m(v, u) f_u^T) + b) / |N(v)|,    u in the neighbourhood N(v)

    with m the weight network of what is seen of the pair, `mixing` numbers: a kernel k(v, u) [C',
    C] = sum_j m_j(v, u) W_j of which only m is computed for each pair, and the W_j are multiplied
    after the sum over neighbours.

    Args:
        in_channels, out_channels: C and C'.
        pair_size: what is seen of a pair: numbers.
        mixing: numbers m_j.
        weight_widths: hidden widths of the weight network.

    Shape: rows [P, C] of points and their neighbourhoods to [P, C'].
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
        """[P, C] to [P, C']; the product with W in the precision of autocast, where that is on."""
        mixing = self.weights(hoods.pairs)
        precision = product_dtype(mixing)
        features, mixing = features.to(precision), mixing.to(precision)
        weight, bias = self.linear.weight.to(precision), self.linear.bias.to(precision)
        product = _MixedLinear.apply if self.training else mixed_linear
        return product(features, mixing, weight, bias, hoods.blocks) / hoods.counts()


def mixed_linear(
    features: Tensor, mixing: Tensor, weight: Tensor, bias: Tensor, blocks: tuple[Block, ...]
) -> Tensor:
    """W vec(sum_u m(v, u) f_u^T) + b, [P, C'], of features [P, C], m [M, mixing], W [C', mixing *
    C] and b [C'].
    """
    return torch.cat(
        [F.linear(mix(f, m, part), weight, bias) for part, f, m in parts(features, mixing, blocks)]
    )


def parts(features: Tensor, mixing: Tensor, blocks: tuple[Block, ...]) -> zip:
    """Consecutive blocks with their rows of points and of pairs, at least PART_ROWS of points where
    there are so many.
    """
    found: list[tuple[Block, ...]] = [()]
    for block in blocks:
        if sum(b.rows for b in found[-1]) >= PART_ROWS:
            found.append(())
        found[-1] += (block,)
    rows = features.split([sum(b.rows for b in part) for part in found])
    return zip(
        found, rows, mixing.split([sum(b.pairs for b in part) for part in found]), strict=True
    )


def mix(features: Tensor, mixing: Tensor, blocks: tuple[Block, ...]) -> Tensor:
    """sum_u m(v, u) f_u^T, [P, mixing * C], of features [P, C] and m [M, mixing]."""
    products = [
        by_point(m, block) @ f.reshape(block.clouds, block.points, -1)
        for block, f, m in each_block(features, mixing, blocks)
    ]
    return torch.cat([y.view(-1, mixing.shape[1] * features.shape[1]) for y in products])


def each_block(features: Tensor, mixing: Tensor, blocks: tuple[Block, ...]) -> zip:
    """Blocks with their rows of points and of pairs."""
    rows, pairs = features.split([b.rows for b in blocks]), mixing.split([b.pairs for b in blocks])
    return zip(blocks, rows, pairs, strict=True)


def by_point(mixing: Tensor, block: Block) -> Tensor:
    """M of a block [b n q, mixing] as matrices [b, n mixing, n] of (v, j) and u; zero where u is no
    neighbour of v.
    """
    m = mixing.reshape(block.clouds, block.points, block.neighbours, -1)
    if block.chosen is not None:
        everywhere = m.new_zeros(block.clouds, block.points, block.points, m.shape[-1])
        m = everywhere.scatter(2, block.chosen.unsqueeze(-1).expand_as(m), m)
    return m.transpose(2, 3).flatten(1, 2)


def by_pair(matrices: Tensor, block: Block) -> Tensor:
    """Matrices [b, n mixing, n] as m [b n q, mixing]: of neighbours only, what `by_point` put
    there.
    """
    m = matrices.reshape(block.clouds, block.points, -1, block.points).transpose(2, 3)
    if block.chosen is not None:
        m = m.gather(2, block.chosen.unsqueeze(-1).expand(-1, -1, -1, m.shape[-1]))
    return m.flatten(0, 2)


class _MixedLinear(torch.autograd.Function):
    """`mixed_linear`; what is mixed, `mixing` times as much as the features, is computed again in
    the backward pass, not kept.
    """

    @staticmethod
    def forward(
        features: Tensor, mixing: Tensor, weight: Tensor, bias: Tensor, blocks: tuple[Block, ...]
    ) -> Tensor:
        return mixed_linear(features, mixing, weight, bias, blocks)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensor) -> None:
        *tensors, _, ctx.blocks = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, mixing, weight = ctx.saved_tensors
        found, row, grad_weight = [], 0, torch.zeros_like(weight)
        for part, part_features, part_mixing in parts(features, mixing, ctx.blocks):
            part_grad = grad[row : row + len(part_features)]
            row += len(part_features)
            grad_weight = grad_weight.addmm(part_grad.T, mix(part_features, part_mixing, part))
            slopes = (part_grad @ weight).split([block.rows for block in part])
            for (block, f, m), slope in zip(
                each_block(part_features, part_mixing, part), slopes, strict=True
            ):
                slope = slope.reshape(block.clouds, -1, features.shape[1])  # [b, n mixing, C]
                by_feature = by_point(m, block).mT @ slope
                found.append(
                    (
                        by_feature.flatten(0, 1),
                        by_pair(slope @ f.reshape(block.clouds, block.points, -1).mT, block),
                    )
                )
        grad_features, grad_mixing = (torch.cat(pieces) for pieces in zip(*found, strict=True))
        return grad_features, grad_mixing, grad_weight, column_sums(grad), None
