"""Finite groups that act on images and on matrices by permuting their entries: exactly, without
interpolation.
"""

import itertools
import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from learnsym.groups.reynolds import Orbits, orbit_values, spread
from learnsym.schema import Size

MOST_ELEMENTS = 10_000
"""Larger groups are not enumerated: their tables of all elements would fill the memory."""


class PermutationGroup(ABC):
    """A finite group that acts on tensors x [..., points] by permuting their entries: (g x)[p] =
    x[table_g[p]].

    To act with b and then with a is to act with the table table_b[table_a].

    Attributes:
        side: images and matrices are side x side.
        points: the number of entries, p = row * side + column.
        order: the number of elements.
    """

    def __init__(self, side: Size, order: int) -> None:
        self.side = side
        self.points = side * side
        self.order = order
        self._known: dict[tuple[int, torch.device], Orbits] = {}

    def elements(self) -> Tensor:
        """The tables of all elements, [order, points] int64, the identity first."""
        if self.order > MOST_ELEMENTS:
            raise ValueError(
                f"{self} has {self.order} elements, too many to enumerate; sample instead"
            )
        return self._all()

    @abstractmethod
    def _all(self) -> Tensor:
        """See `elements`."""

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """The tables of independent, uniformly distributed elements, [count, points] int64, from a
        generator on the CPU.
        """

    def sample_numbers(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """The numbers of independent, uniformly distributed elements, as `elements` orders them:
        [count] int64.
        """
        return torch.randint(self.order, (count,), generator=generator)

    def act(self, table: Tensor, x: Tensor) -> Tensor:
        """G x for tables [..., points] and tensors [..., points], whose leading axes are
        broadcast.
        """
        if table.shape[-1:] != (self.points,) or x.shape[-1:] != (self.points,):
            raise ValueError(
                f"{self} acts by tables [..., {self.points}] on tensors [..., {self.points}]; "
                f"got {list(table.shape)} and {list(x.shape)}"
            )
        shape = torch.broadcast_shapes(table.shape, x.shape)
        return x.expand(shape).gather(-1, table.to(x.device).expand(shape))

    def orbits(self) -> Tensor:
        """The number of each point's orbit, [points] int64, from 0 in the order of their first
        points.
        """
        return self._orbits(1, torch.device("cpu")).labels[0]

    def pair_orbits(self) -> Tensor:
        """The number of the orbit of each pair of points under (p, q) -> (g p, g q), [points,
        points] int64, from 0 as above.
        """
        return self._orbits(2, torch.device("cpu")).labels

    def project_invariant(self, weight: Tensor) -> Tensor:
        """The orthogonal projection of weights [..., points, c] onto maps that do not change under
        the group.
        """
        if weight.ndim < 2 or weight.shape[-2] != self.points:
            raise ValueError(
                f"invariant maps of {self} have weights [..., {self.points}, c]; got {list(weight.shape)}"
            )
        mean = self._orbits(1, weight.device).mean(
            weight.unsqueeze(-3).unsqueeze(-3)
        )  # [..., 1, 1, points, c]: one row of pairs
        return mean.squeeze(-3).squeeze(-3)

    def project_equivariant(self, weight: Tensor) -> Tensor:
        """The orthogonal projection of weights [..., points, c_out, points, c_in] onto equivariant
        maps; contiguous.
        """
        if weight.ndim < 4 or (weight.shape[-4], weight.shape[-2]) != (self.points, self.points):
            raise ValueError(
                f"equivariant maps of {self} have weights [..., {self.points}, c_out, {self.points}, c_in]; "
                f"got {list(weight.shape)}"
            )
        return self._orbits(2, weight.device).mean(weight)

    def equivariant_coordinates(self, weight: Tensor) -> Tensor:
        """The free numbers [..., k, c_out, c_in] of an equivariant weight [..., points, c_out,
        points, c_in] (of others: of their projection) in an orthonormal basis, one vector for each
        of the k orbits of pairs.
        """
        return _coordinates(weight, self._orbits(2, weight.device))

    def equivariant_weight(self, coordinates: Tensor) -> Tensor:
        """The equivariant weight [..., points, c_out, points, c_in] with these coordinates [..., k,
        c_out, c_in].
        """
        return _from_coordinates(coordinates, self._orbits(2, coordinates.device))

    def invariant_coordinates(self, weight: Tensor) -> Tensor:
        """The same of invariant weights [..., points, c]: [..., k, c]."""
        return _coordinates(
            weight.unsqueeze(-3).unsqueeze(-3), self._orbits(1, weight.device)
        ).squeeze(-2)

    def invariant_weight(self, coordinates: Tensor) -> Tensor:
        """The invariant weight [..., points, c] with these coordinates [..., k, c]."""
        weight = _from_coordinates(coordinates.unsqueeze(-2), self._orbits(1, coordinates.device))
        return weight.squeeze(-3).squeeze(-3)

    @torch.inference_mode(False)  # what is kept from test time must serve in training too
    def _orbits(self, places: int, device: torch.device) -> Orbits:
        """The orbits of points (1 place) or of pairs (2 places), found once and copied to each
        device once.
        """
        if (places, device) not in self._known:
            if device.type == "cpu":
                self._known[places, device] = Orbits.of(
                    self._first_of_orbits(places).view(-1, self.points)
                )
            else:
                self._known[places, device] = self._orbits(places, torch.device("cpu")).to(device)
        return self._known[places, device]

    def _first_of_orbits(self, places: int) -> Tensor:
        """For every point or pair of points, a number as `Orbits.of` takes it: here, the first
        point or pair of its orbit.
        """
        first = torch.arange(self.points**places)
        for table in self.elements():
            moved = table if places == 1 else (table.unsqueeze(-1) * self.points + table).flatten()
            first = torch.minimum(first, moved)
        return first

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.side})"


class SymmetricGroup(PermutationGroup):
    """S_n, which permutes the rows and the columns of an n x n matrix together: (g A)[i, j] =
    A[g(i), g(j)].

    So it relabels the nodes of a graph. There are n! elements, 2 orbits of points (the diagonal and
    the rest) and 15 of pairs for n >= 4 (Maron et al. 2019).
    """

    def __init__(self, n: Size) -> None:
        super().__init__(n, math.factorial(n))

    def _all(self) -> Tensor:
        return self._tables(torch.tensor(list(itertools.permutations(range(self.side)))))

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        # The ranks of random numbers are a uniform permutation, provided that no two are equal:
        # hence float64.
        return self._tables(
            torch.rand(count, self.side, dtype=torch.float64, generator=generator).argsort(-1)
        )

    def _tables(self, nodes: Tensor) -> Tensor:
        """From permutations [m, n] of the rows to [m, n * n] of the entries."""
        return (nodes.unsqueeze(-1) * self.side + nodes.unsqueeze(-2)).flatten(1)

    def _first_of_orbits(self, places: int) -> Tensor:
        """Two tuples of rows and columns are in one orbit exactly if the same members are equal
        within each, whatever n!.
        """
        count = 2 * places
        nodes = torch.cartesian_prod(*[torch.arange(self.side)] * count)  # [n^count, count]
        # At each place, the first place with the same node: as an ordered list of digits, it grows
        # with the first such tuple.
        pattern = (nodes.unsqueeze(-1) == nodes.unsqueeze(-2)).to(torch.uint8).argmax(-1)
        return (pattern * count ** torch.arange(count - 1, -1, -1)).sum(-1)


class Motions(PermutationGroup):
    """Quarter turns of a square image (`turns` of them, 1 or 4), followed by cyclic shifts along y
    and x (by as many pixels as there are `rows` and `columns`; 1: none).

    Element number (turn * rows + dy) * columns + dx turns the image by `torch.rot90(x, turn, (-2,
    -1))`, counter-clockwise on the screen, and then moves it by `torch.roll(x, (dy, dx), (-2,
    -1))`.
    """

    def __init__(self, side: Size, turns: int = 1, rows: int = 1, columns: int = 1) -> None:
        super().__init__(side, turns * rows * columns)
        self._rows, self._columns = rows, columns
        image = torch.arange(self.points).view(side, side)
        self._turned = torch.stack([image.rot90(k).flatten() for k in range(turns)])

    def _all(self) -> Tensor:
        return self._tables(torch.arange(self.order))

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return self._tables(self.sample_numbers(count, generator))

    def _tables(self, number: Tensor) -> Tensor:
        """The tables [m, points] of elements given by their numbers [m]."""
        dx = number % self._columns
        dy = number // self._columns % self._rows
        turn = number // (self._columns * self._rows)
        places = torch.arange(self.side)
        row, column = (
            (places - dy.unsqueeze(-1)) % self.side,
            (places - dx.unsqueeze(-1)) % self.side,
        )
        shifted = (row.unsqueeze(-1) * self.side + column.unsqueeze(-2)).flatten(1)
        return self._turned.take(turn.unsqueeze(-1) * self.points + shifted)


class CyclicShifts1d(Motions):
    """Cyclic shifts along x, that is, of the columns; element k is `torch.roll(x, k, -1)`."""

    def __init__(self, side: Size) -> None:
        super().__init__(side, columns=side)


class CyclicShifts2d(Motions):
    """Cyclic shifts along y and x; element dy * side + dx is `torch.roll(x, (dy, dx), (-2,
    -1))`.
    """

    def __init__(self, side: Size) -> None:
        super().__init__(side, rows=side, columns=side)


class QuarterTurns(Motions):
    """C_4; element k is `torch.rot90(x, k, (-2, -1))`."""

    def __init__(self, side: Size) -> None:
        super().__init__(side, turns=4)


class ShiftsAndQuarterTurns(Motions):
    """All cyclic shifts and quarter turns, the semidirect product of Z_side^2 and C_4.

    On sides of 1 or 2 pixels some of the 4 side^2 elements act alike (there a half turn is a
    shift): each table then occurs equally often, which no mean notices.
    """

    def __init__(self, side: Size) -> None:
        super().__init__(side, turns=4, rows=side, columns=side)


def _coordinates(weight: Tensor, orbits: Orbits) -> Tensor:
    return orbit_values(weight, orbits) * orbits.sizes.to(weight.dtype).sqrt()[:, None, None]


def _from_coordinates(coordinates: Tensor, orbits: Orbits) -> Tensor:
    return spread(coordinates / orbits.sizes.to(coordinates.dtype).sqrt()[:, None, None], orbits)


GroupName = Literal["permutation", "shift_x", "shift_xy", "quarter_turns", "shift_turns"]
"""As in `base_group=`."""
GROUPS: dict[str, type[PermutationGroup]] = {
    "permutation": SymmetricGroup,
    "shift_x": CyclicShifts1d,
    "shift_xy": CyclicShifts2d,
    "quarter_turns": QuarterTurns,
    "shift_turns": ShiftsAndQuarterTurns,
}


def named_group(name: GroupName, side: Size) -> PermutationGroup:
    """The group of this name on images side x side."""
    return GROUPS[name](side)


def name_of(group: PermutationGroup) -> str:
    """As in `base_group=`; the class of a group that has no such name."""
    return next(
        (name for name, known in GROUPS.items() if type(group) is known), type(group).__name__
    )
