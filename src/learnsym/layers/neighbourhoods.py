"""Find the neighbours of points in clouds of different sizes, without padding.

The points of a batch lie end to end as rows [P, ...], clouds sorted by their number of points: the
clouds of one size are a block [b, n, ...] of these rows, and their pairs a block [b, n, q, ...] of
the rows of pairs, as each point of a cloud has the same number q of neighbours. A sum over
neighbours is one batched product for each size that occurs.
"""

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from learnsym.layers.lifting import Lift, Lifted


@dataclass(frozen=True)
class Block:
    """Clouds of one size.

    There are b clouds of n points, and of each point q neighbours, itself among them: the `chosen`
    [b, n, q] of its cloud, or all of them in order.
    """

    clouds: int
    points: int
    neighbours: int
    chosen: Tensor | None = None

    @property
    def rows(self) -> int:
        """Number of rows of points."""
        return self.clouds * self.points

    @property
    def pairs(self) -> int:
        """Number of rows of pairs."""
        return self.rows * self.neighbours


@dataclass(frozen=True)
class Neighbourhoods:
    """Neighbours of every point of a batch, in blocks by size, small ones first.

    `pairs` [sum of b n q, d] are descriptions of a point v and a neighbour u, in the order of
    (block, cloud, v, u).
    """

    blocks: tuple[Block, ...]
    pairs: Tensor

    def counts(self) -> Tensor:
        """Return the number of neighbours of every point, [P, 1]."""
        rows = [self.pairs.new_full((block.rows, 1), block.neighbours) for block in self.blocks]
        return torch.cat(rows)


def sorted_points(mask: Tensor, sizes: list[int]) -> Tensor:
    """Return indices [P] into B N points of those in a mask [B, N], clouds by size, stably."""
    n = mask.shape[1]
    by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
    order = torch.tensor(by_size, device=mask.device)
    return (order.unsqueeze(1) * n + torch.arange(n, device=mask.device))[mask[order]]


def clouds_by_size(sizes: list[int]) -> list[tuple[int, int]]:
    """Return pairs (number of clouds, points of each), by size."""
    return [(count, n) for n, count in sorted(Counter(sizes).items())]


def neighbourhoods(lift: Lift, lifted: list[Lifted], fill: float, most: int) -> Neighbourhoods:
    """Find neighbourhoods in lifted clouds, an entry [b, n, ...] for each size: the nearest points.

    They are the part `fill` of the cloud, rounded up, but at most so many; among points at the same
    distance those that come first.
    """
    blocks, rows = [], []
    for elements in lifted:
        pairs, chosen = lift.pairs(elements), None
        clouds, n = pairs.shape[:2]
        q = min(most, max(1, math.ceil(round(fill * n, 9))))  # 0.28 * 25 is 7.000000000000001
        if q < n:
            chosen = lift.distances(pairs.detach()).sort(dim=-1, stable=True).indices[..., :q]
            pairs = pairs.gather(2, chosen.unsqueeze(-1).expand(-1, -1, -1, pairs.shape[-1]))
        blocks.append(Block(clouds, n, q, chosen))
        rows.append(pairs.flatten(0, 2))
    return Neighbourhoods(tuple(blocks), torch.cat(rows))
