"""Finite groups that permute the entries of images and matrices: exact, without interpolation."""

import itertools
import math
from abc import abstractmethod
from typing import Literal

import torch
from torch import Generator, Tensor

from learnsym.groups.base import Group
from learnsym.groups.reynolds import Orbits
from learnsym.schema import Size

MOST_ELEMENTS = 10_000
"""Larger groups are not enumerated: the permutations of all elements would fill the memory."""


class PermutationGroup(Group[Tensor]):
    """A finite group that permutes the entries of x [..., points]: (g x)[p] = x[g[p]].

    Its elements are permutations g [..., points] int64; images and matrices are side x side, with
    entries p = row * side + column.
    """

    order: int

    def __init__(self, side: Size, order: int) -> None:
        self.side, self.points, self.order = side, side * side, order
        self._orbits_on: dict[tuple[int, torch.device], Orbits] = {}

    def identity(self) -> Tensor:
        """Return the identity [points]."""
        return torch.arange(self.points)

    def product(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the products, of which `second` acts first: p -> second[first[p]]."""
        return self.act(first, second)

    def inverse(self, elements: Tensor) -> Tensor:
        """Return the inverse permutations."""
        return elements.argsort(-1)

    def elements(self) -> Tensor:
        """Return all elements, [order, points], the identity first."""
        if self.order > MOST_ELEMENTS:
            raise ValueError(
                f"{self} has {self.order} elements, too many to enumerate; sample instead"
            )
        return self._all()

    @abstractmethod
    def _all(self) -> Tensor:
        """Return all elements [order, points], the identity first, however many they are."""

    def _at(self, index: Tensor) -> Tensor:
        """Return the elements [m, points] of these indices [m]."""
        return self._all()[index]

    def sample(self, count: int, generator: Generator | None = None) -> Tensor:
        """Draw independent, uniformly distributed elements, [count, points], on the CPU."""
        return self._at(self.sample_indices(count, generator))

    def sample_indices(self, count: int, generator: Generator | None = None) -> Tensor:
        """Draw indices [count] into `elements`, independent and uniformly distributed."""
        return torch.randint(self.order, (count,), generator=generator)

    def act(self, permutation: Tensor, x: Tensor) -> Tensor:
        """Return g x for permutations and tensors [..., points], broadcast."""
        if permutation.shape[-1:] != (self.points,) or x.shape[-1:] != (self.points,):
            raise ValueError(
                f"{self} acts by permutations [..., {self.points}] on tensors "
                f"[..., {self.points}]; got {list(permutation.shape)} and {list(x.shape)}"
            )
        shape = torch.broadcast_shapes(permutation.shape, x.shape)
        return x.expand(shape).gather(-1, permutation.to(x.device).expand(shape))

    def orbits(self) -> Tensor:
        """Return the label of each point's orbit, [points], in the order of first points."""
        return self._orbits(1, torch.device("cpu")).labels[0]

    def pair_orbits(self) -> Tensor:
        """Return the orbit label of each pair under (p, q) -> (g p, g q), [points, points]."""
        return self._orbits(2, torch.device("cpu")).labels

    def project_invariant(self, weight: Tensor) -> Tensor:
        """Project weights [..., points, c] orthogonally onto invariant maps."""
        if weight.ndim < 2 or weight.shape[-2] != self.points:
            raise ValueError(
                f"invariant maps of {self} have weights [..., {self.points}, c]; "
                f"got {list(weight.shape)}"
            )
        rows = weight[..., None, None, :, :]  # pairs with one other point
        return self._orbits(1, weight.device).mean(rows).squeeze((-4, -3))

    def project_equivariant(self, weight: Tensor) -> Tensor:
        """Project weights [..., points, c_out, points, c_in] onto equivariant maps; contiguous."""
        if weight.ndim < 4 or (weight.shape[-4], weight.shape[-2]) != (self.points, self.points):
            raise ValueError(
                f"equivariant maps of {self} have weights "
                f"[..., {self.points}, c_out, {self.points}, c_in]; got {list(weight.shape)}"
            )
        return self._orbits(2, weight.device).mean(weight)

    def equivariant_coordinates(self, weight: Tensor) -> Tensor:
        """Return the coordinates [..., k, c_out, c_in] of the projected equivariant weight.

        They belong to an orthonormal basis, with one vector for each of the k orbits of pairs.
        """
        return self._orbits(2, weight.device).coordinates(weight)

    def equivariant_weight(self, coordinates: Tensor) -> Tensor:
        """Return the equivariant weight with these coordinates."""
        return self._orbits(2, coordinates.device).from_coordinates(coordinates)

    def invariant_coordinates(self, weight: Tensor) -> Tensor:
        """Return the coordinates [..., k, c] of the projected invariant weight [..., points, c]."""
        rows = weight[..., None, None, :, :]
        return self._orbits(1, weight.device).coordinates(rows).squeeze(-2)

    def invariant_weight(self, coordinates: Tensor) -> Tensor:
        """Return the invariant weight [..., points, c] with these coordinates [..., k, c]."""
        orbits = self._orbits(1, coordinates.device)
        return orbits.from_coordinates(coordinates.unsqueeze(-2)).squeeze((-4, -3))

    @torch.inference_mode(False)  # what is kept from test time must serve in training too
    def _orbits(self, arity: int, device: torch.device) -> Orbits:
        """Return the orbits of points (1) or of pairs (2), computed and copied once."""
        if (arity, device) not in self._orbits_on:
            codes = self._codes(arity).view(-1, self.points)
            self._orbits_on[arity, device] = Orbits.of(codes).to(device)
        return self._orbits_on[arity, device]

    def _codes(self, arity: int) -> Tensor:
        """Return a number for the orbit of each point [points], or pair [points, points]."""
        codes = torch.full((self.points,) * arity, self.points**arity)
        for g in self.elements():
            moved = g if arity == 1 else g.unsqueeze(-1) * self.points + g
            codes = torch.minimum(codes, moved)
        return codes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.side})"


class _CodedGroup(PermutationGroup):
    """A group of which single elements and orbits are known without the others."""

    @abstractmethod
    def _at(self, index: Tensor) -> Tensor:
        """Return the elements [m, points] of these indices [m]."""

    def _all(self) -> Tensor:
        return self._at(torch.arange(self.order))

    def _codes(self, arity: int) -> Tensor:
        p = q = torch.cartesian_prod(*[torch.arange(self.side)] * 2)
        if arity == 2:
            p, q = p.repeat_interleave(self.points, 0), q.repeat(self.points, 1)
        return self.pair_codes(p, q, self.side, self.side)[0]

    @classmethod
    @abstractmethod
    def pair_codes(cls, p: Tensor, q: Tensor, side_out: int, side: int) -> tuple[Tensor, Tensor]:
        """Return a number for each pair's orbit [n] and how many pairs this orbit has [n].

        Points are rows and columns [n, 2], p of maps with `side_out`, q of maps with `side`. The
        group is not enumerated: it may have side! elements.
        """


class SymmetricGroup(_CodedGroup):
    """S_n, which relabels the n nodes of a graph: (g A)[i, j] = A[g(i), g(j)].

    There are n! elements, 2 orbits of points (the diagonal and the rest) and 15 of pairs for n >= 4
    (Maron et al. 2019).
    """

    def __init__(self, n: Size) -> None:
        super().__init__(n, math.factorial(n))

    def _at(self, index: Tensor) -> Tensor:
        nodes = torch.tensor(list(itertools.permutations(range(self.side))))
        return self._from_nodes(nodes[index])

    def sample(self, count: int, generator: Generator | None = None) -> Tensor:
        """Draw uniform elements [count, n^2], as the ranks of random numbers."""
        # The ranks are uniform provided that no two numbers are equal: hence float64.
        numbers = torch.rand(count, self.side, dtype=torch.float64, generator=generator)
        return self._from_nodes(numbers.argsort(-1))

    def _from_nodes(self, nodes: Tensor) -> Tensor:
        """Return the permutations [m, n^2] of entries for those [m, n] of rows."""
        return (nodes.unsqueeze(-1) * self.side + nodes.unsqueeze(-2)).flatten(1)

    @classmethod
    def pair_codes(cls, p: Tensor, q: Tensor, side_out: int, side: int) -> tuple[Tensor, Tensor]:
        """Code pairs by which of their four nodes are the same."""
        nodes = torch.cat([p, q], -1)
        # For each node the first that equals it, as digits.
        first = (nodes.unsqueeze(-1) == nodes.unsqueeze(-2)).to(torch.uint8).argmax(-1)
        different = (first == torch.arange(4)).sum(-1)
        sizes = torch.tensor([math.perm(side, k) for k in range(5)])
        return (first * 4 ** torch.arange(3, -1, -1)).sum(-1), sizes[different]


class _ShiftsAndTurns(_CodedGroup):
    """Quarter turns of a square image, followed by cyclic shifts along y and x.

    Element (turn * shifts_y + dy) * shifts_x + dx rotates the image by `torch.rot90(x, turn,
    (-2, -1))`, counter-clockwise on the screen, and then applies `torch.roll(x, (dy, dx),
    (-2, -1))`.
    """

    _turns = 1
    _along_y = False
    _along_x = False

    def __init__(self, side: Size) -> None:
        self._shifts = (side if self._along_y else 1), (side if self._along_x else 1)
        super().__init__(side, self._turns * math.prod(self._shifts))
        image = torch.arange(self.points).view(side, side)
        self._rotated = torch.stack([image.rot90(k).flatten() for k in range(self._turns)])

    def _at(self, index: Tensor) -> Tensor:
        shifts_y, shifts_x = self._shifts
        dy, dx = index // shifts_x % shifts_y, index % shifts_x
        turn = index // (shifts_x * shifts_y)
        pixels = torch.arange(self.side)
        row = (pixels - dy.unsqueeze(-1)) % self.side
        column = (pixels - dx.unsqueeze(-1)) % self.side
        shifted = (row.unsqueeze(-1) * self.side + column.unsqueeze(-2)).flatten(1)
        return self._rotated.take(turn.unsqueeze(-1) * self.points + shifted)

    @classmethod
    def pair_codes(cls, p: Tensor, q: Tensor, side_out: int, side: int) -> tuple[Tensor, Tensor]:
        """Code pairs by the least code of their four turns, each up to shifts."""
        codes = []
        for _ in range(cls._turns):
            dy, dx = ((q - p) % side).unbind(-1)
            rows, columns = (p * side + q).unbind(-1)
            y, x = dy if cls._along_y else rows, dx if cls._along_x else columns
            codes.append(y * (side if cls._along_x else side_out * side) + x)
            p = torch.stack([p[:, 1], side_out - 1 - p[:, 0]], -1)
            q = torch.stack([q[:, 1], side - 1 - q[:, 0]], -1)
        code = torch.stack(codes)
        shifts = (side if cls._along_y else 1) * (side if cls._along_x else 1)
        return code.amin(0), shifts * cls._turns // (code == code[0]).sum(0)


class CyclicShifts1d(_ShiftsAndTurns):
    """Cyclic shifts of the columns; element k is `torch.roll(x, k, -1)`."""

    _along_x = True


class CyclicShifts2d(_ShiftsAndTurns):
    """Cyclic shifts; element dy * side + dx is `torch.roll(x, (dy, dx), (-2, -1))`."""

    _along_y = _along_x = True


class QuarterTurns(_ShiftsAndTurns):
    """C_4; element k is `torch.rot90(x, k, (-2, -1))`."""

    _turns = 4


class ShiftsAndQuarterTurns(_ShiftsAndTurns):
    """All cyclic shifts and quarter turns, the semidirect product of Z_side^2 and C_4.

    On sides of 1 or 2 pixels some of the 4 side^2 elements act alike (there a half turn is a
    shift): each permutation then occurs equally often, which no mean notices.
    """

    _turns = 4
    _along_y = _along_x = True


GroupName = Literal["permutation", "shift_x", "shift_xy", "quarter_turns", "shift_turns"]
"""As in `base_group=`."""
GROUPS: dict[str, type[SymmetricGroup] | type[_ShiftsAndTurns]] = {
    "permutation": SymmetricGroup,
    "shift_x": CyclicShifts1d,
    "shift_xy": CyclicShifts2d,
    "quarter_turns": QuarterTurns,
    "shift_turns": ShiftsAndQuarterTurns,
}


def named_group(name: GroupName, side: Size) -> PermutationGroup:
    """Return the group of this name on images side x side."""
    return GROUPS[name](side)


def group_name(group: PermutationGroup) -> str:
    """Return the name in `base_group=`, or that of the class."""
    names = (name for name, kind in GROUPS.items() if kind is type(group))
    return next(names, type(group).__name__)
