"""How far a convolution is from the maps that commute with a finite group of motions of the pixels,
without a dense matrix.

A convolution is A = sum_t k_t (x) S_t: a tap k_t [C_out, C_in] wherever S_t has a one, at the pairs
(p, q) of an output point p and an input point q that tap t joins. Its projection onto equivariant
maps gives every pair the mean m_o over its orbit o (Reynolds), so with n_ot the number of pairs of
o that belong to tap t, and |o| that of all its pairs,

    |A - Pi A|^2 = sum_o ( sum_t n_ot |k_t - m_o|^2 + (|o| - sum_t n_ot) |m_o|^2 ),    m_o = sum_t
    n_ot k_t / |o|.

Every term is the square of a number that is linear in the taps. So there is one matrix D, of the
geometry alone, with
|A - Pi A| = |D k| for the taps k [T, C_out C_in] of every such convolution; squares are not
subtracted from each other.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Code = Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Stencil:
    """The geometry of a convolution between square maps.

    Attributes:
        side_in, side_out: of the maps.
        kernel: rows and columns of taps; tap number row * columns + column.
        stride, dilation: along y and x.
        padding: in front of the first row and of the first column.
        circular: points beyond the border are those of the other side; otherwise they are zero.
    """

    side_in: int
    side_out: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    circular: bool = False

    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """For every tap at every output point that it reaches an input from: the tap's number [n],
        the output point's row and column [n, 2], and the input point's [n, 2].
        """
        start = torch.arange(self.side_out)
        reach = [
            start.unsqueeze(1) * s - p + d * torch.arange(k)
            for k, s, p, d in zip(
                self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        ]  # [side_out, k]: where the taps lie, along y and along x
        y, x, a, b = torch.meshgrid(
            start, start, torch.arange(self.kernel[0]), torch.arange(self.kernel[1]), indexing="ij"
        )
        v, u = reach[0][y, a], reach[1][x, b]
        if self.circular:
            v, u = v % self.side_in, u % self.side_in
        inside = (v >= 0) & (v < self.side_in) & (u >= 0) & (u < self.side_in)
        tap = a * self.kernel[1] + b
        return (
            tap[inside],
            torch.stack([y[inside], x[inside]], -1),
            torch.stack([v[inside], u[inside]], -1),
        )


# --- orbits of pairs


def _shift_x(p: Tensor, q: Tensor, side_out: int, side: int) -> tuple[Tensor, Tensor]:
    """Both rows and the difference of columns."""
    code = (p[:, 0] * side + q[:, 0]) * side + (q[:, 1] - p[:, 1]) % side
    return code, torch.full_like(code, side)


def _shift_xy(p: Tensor, q: Tensor, side_out: int, side: int) -> tuple[Tensor, Tensor]:
    """The difference of points."""
    dy, dx = ((q - p) % side).unbind(-1)
    code = dy * side + dx
    return code, torch.full_like(code, side * side)


def _shift_turns(p: Tensor, q: Tensor, side_out: int, side: int) -> tuple[Tensor, Tensor]:
    """The difference of points, turned."""
    dy, dx = (q - p).unbind(-1)
    turned = [(dy, dx), (dx, -dy), (-dy, -dx), (-dx, dy)]
    codes = torch.stack([(y % side) * side + x % side for y, x in turned])
    return _least(codes, side * side)


def _quarter_turns(p: Tensor, q: Tensor, side_out: int, side_in: int) -> tuple[Tensor, Tensor]:
    """The pair in four positions."""
    codes = []
    for _ in range(4):
        codes.append((p[:, 0] * side_out + p[:, 1]) * side_in**2 + q[:, 0] * side_in + q[:, 1])
        p, q = (
            torch.stack([x[:, 1], side - 1 - x[:, 0]], -1)
            for x, side in ((p, side_out), (q, side_in))
        )
    return _least(torch.stack(codes), 1)


def _permutation(p: Tensor, q: Tensor, side_out: int, side: int) -> tuple[Tensor, Tensor]:
    """Which of the four nodes are the same."""
    nodes = torch.cat([p, q], -1)
    pattern = (
        (nodes.unsqueeze(-1) == nodes.unsqueeze(-2)).to(torch.uint8).argmax(-1)
    )  # the first place with the same node
    different = (pattern == torch.arange(4)).sum(-1)
    sizes = torch.tensor([math.perm(side, k) for k in range(5)])
    return (pattern * 4 ** torch.arange(3, -1, -1)).sum(-1), sizes[different]


def _least(codes: Tensor, copies: int) -> tuple[Tensor, Tensor]:
    """From the codes [4, n] of the turned pairs: the least, and `copies` times how many different
    ones there are.
    """
    return codes.amin(0), copies * 4 // (codes == codes[0]).sum(0)


PAIR_CODES: Mapping[str, Code] = {
    "permutation": _permutation,
    "shift_x": _shift_x,
    "shift_xy": _shift_xy,
    "quarter_turns": _quarter_turns,
    "shift_turns": _shift_turns,
}
"""For each group that permutes pixels (`learnsym.groups.permutation`), from the rows and columns of
points p, q [n, 2]: a number of the orbit of each pair (p, q), and how many pairs this orbit has.
The group need not be enumerated: it may have side! elements."""
ANY_SIDES = frozenset({"quarter_turns"})
"""The groups whose element number k means the same on maps of different sides."""


def point_codes(group: str, side: int) -> Tensor:
    """A number of the orbit of every point of a side x side map, [side^2]: that of the pair of the
    point and itself.
    """
    place = torch.arange(side * side)
    point = torch.stack([place // side, place % side], -1)
    return PAIR_CODES[group](point, point, side, side)[0]


# --- distance


def distance_matrices(group: str, stencil: Stencil) -> tuple[Tensor, Tensor]:
    """D and N [at most T, T], float64, with |A - Pi A| = |D k| and |A| = |N k|, both divided by the
    square root of the number of output points: far from borders they are distance and norm of the
    kernel itself.

    Raises:
        ValueError: the group does not act alike on maps of these two sides.
    """
    if stencil.side_in != stencil.side_out and group not in ANY_SIDES:
        raise ValueError(
            f"{group} does not act alike on maps of {stencil.side_in} x {stencil.side_in} and "
            f"{stencil.side_out} x {stencil.side_out} pixels"
        )
    tap, p, q = stencil.pairs()
    pair = (
        (p[:, 0] * stencil.side_out + p[:, 1]) * stencil.side_in**2
        + q[:, 0] * stencil.side_in
        + q[:, 1]
    )
    met, place = pair.unique(return_inverse=True)
    size = torch.empty_like(met)
    code = torch.empty_like(met)
    found, sizes = PAIR_CODES[group](p, q, stencil.side_out, stencil.side_in)
    code[place], size[place] = found, sizes
    members, kind = _entries(tap, place, len(met), math.prod(stencil.kernel))
    orbits, orbit = code.unique(return_inverse=True)
    shape = (len(orbits), len(members))
    counts = (orbit * len(members) + kind).bincount(minlength=math.prod(shape)).view(shape)
    whole = counts.new_zeros(len(orbits))
    whole[orbit] = size
    alike, times = torch.cat([counts, whole.unsqueeze(1)], 1).unique(dim=0, return_counts=True)
    points = stencil.side_out**2
    deviation = _deviations(alike[:, :-1].double(), alike[:, -1].double(), times.double()) @ members
    norm = (counts.sum(0).double() / points).sqrt().unsqueeze(1) * members
    return _triangle(deviation / math.sqrt(points)), _triangle(norm)


def _entries(tap: Tensor, place: Tensor, pairs: int, taps: int) -> tuple[Tensor, Tensor]:
    """What stands at a pair, as sums of taps: the different sums [m, T] as ones and zeros, and for
    every pair which of them.

    One tap each, unless a circular stencil meets itself on a map that is smaller than the kernel.
    """
    if len(place) == pairs:
        kind = torch.empty(pairs, dtype=torch.int64)
        kind[place] = tap
        return torch.eye(taps, dtype=torch.float64), kind
    sums = torch.zeros(pairs, taps, dtype=torch.float64).index_put_(
        (place, tap), torch.ones((), dtype=torch.float64), True
    )
    return sums.unique(dim=0, return_inverse=True)


def _deviations(counts: Tensor, size: Tensor, times: Tensor) -> Tensor:
    """The rows whose squares sum to the formula above, from n_ot [orbits, T], |o| [orbits] and how
    many such orbits there are.
    """
    mean = counts / size.unsqueeze(1)
    orbit, member = counts.nonzero(as_tuple=True)
    own = -mean[orbit]
    own[torch.arange(len(own)), member] += 1.0
    own *= (times[orbit] * counts[orbit, member]).sqrt().unsqueeze(1)
    empty = (times * (size - counts.sum(1))).sqrt().unsqueeze(1) * mean
    return torch.cat([own, empty])


def _triangle(matrix: Tensor) -> Tensor:
    """A matrix with no more rows than columns that gives every vector the same length."""
    return matrix if len(matrix) <= matrix.shape[1] else torch.linalg.qr(matrix, mode="r")[1]
