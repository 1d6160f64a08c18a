"""Points of space lifted to a group, and what a layer sees of two of them (LieConv: Finzi et al.
2020, sections 4.2 to 4.4).

A point x becomes elements u of the group that take an origin to x: the one there is, or samples
where there are many. A layer sees the logarithm of v^-1 u, which no transformation of both from the
left changes, and the orbits, where points lie on several.

    trivial3   every x is an orbit of its own         pair (x_v, x_u)                          6
    numbers, angstrom t3         u = translation by x                   pair x_u - x_v
    3, angstrom so3        u = rotations that take e_z to x/|x|   pair (log R_v^T R_u, |x_v|, |x_u|)
    5, rad and angstrom se3        u = translation by x times a rotation  pair log(v^-1 u)
    6, rad and angstrom

Distances of two of them are norms: of the logarithm, and of the difference between the orbits (x,
or |x|), which count together.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from learnsym.groups.rotations import motion_log, rotation_log

PointGroup = Literal["trivial3", "t3", "so3", "se3"]
"""The groups that a LieConv network of points in space may be built on."""
Lifted = tuple[Tensor, ...]
"""Elements [B, n, ...], and orbits where there are several, as the lift that made them understands
them."""


def even_numbers(count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The first `count` members [count, 3] of a sequence that fills the cube [0, 1)^3 evenly:
    Sobol's, always the same.

    Scrambled, since among the plain numbers are many that give relative rotations by pi, where the
    logarithm jumps.
    """
    return (
        torch.quasirandom.SobolEngine(3, scramble=True, seed=0)
        .draw(count, dtype=torch.float64)
        .to(device, dtype)
    )


class Lift(ABC):
    """How points are lifted and compared; without state."""

    pair_size: int
    """Numbers that a layer sees of a pair."""
    sampled: bool
    """Whether many elements lie over a point, so that samples of rotations decide which are
    taken."""

    @abstractmethod
    def elements(self, points: Tensor, rotations: Tensor | None) -> Lifted:
        """Points [B, n, 3], already repeated once per sample, and for a sampled lift rotations [B,
        n, 3, 3], to elements.

        A sampled lift maps (g x, g h) to g u where it maps (x, h) to u: equivariant, exactly.
        """

    @abstractmethod
    def pairs(self, lifted: Lifted) -> Tensor:
        """What a layer sees, [B, n (of v), n (of u), pair_size]."""

    def distances(self, pairs: Tensor) -> Tensor:
        """Distance of two elements [...], of pairs [..., pair_size]."""
        return torch.linalg.vector_norm(pairs, dim=-1)


class _AbsolutePositions(Lift):
    pair_size, sampled = 6, False

    def elements(self, points: Tensor, rotations: Tensor | None) -> Lifted:
        return (points,)

    def pairs(self, lifted: Lifted) -> Tensor:
        return both(lifted[0])

    def distances(self, pairs: Tensor) -> Tensor:
        return super().distances(pairs[..., 3:] - pairs[..., :3])


class _Translations(Lift):
    pair_size, sampled = 3, False

    def elements(self, points: Tensor, rotations: Tensor | None) -> Lifted:
        return (points,)

    def pairs(self, lifted: Lifted) -> Tensor:
        return lifted[0].unsqueeze(1) - lifted[0].unsqueeze(2)


class _Rotations(Lift):
    """The columns of u are two unit vectors across x/|x|, the first the nearest to h e_x, and x/|x|
    itself; at x = 0, u = h.
    """

    pair_size, sampled = 5, True

    def elements(self, points: Tensor, rotations: Tensor) -> Lifted:
        radius = torch.linalg.vector_norm(points, dim=-1, keepdim=True)
        origin = radius == 0
        z = torch.where(origin, rotations[..., 2], points / torch.where(origin, 1.0, radius))
        nearest = rotations[..., 0]
        x = torch.nn.functional.normalize(nearest - (nearest * z).sum(-1, keepdim=True) * z, dim=-1)
        return torch.stack([x, torch.linalg.cross(z, x), z], -1), radius

    def pairs(self, lifted: Lifted) -> Tensor:
        rotations, radius = lifted
        return torch.cat([rotation_log(relative_rotations(rotations)), both(radius)], -1)

    def distances(self, pairs: Tensor) -> Tensor:
        return super().distances(torch.cat([pairs[..., :3], pairs[..., 4:] - pairs[..., 3:4]], -1))


class _Motions(Lift):
    pair_size, sampled = 6, True

    def elements(self, points: Tensor, rotations: Tensor) -> Lifted:
        return points, rotations

    def pairs(self, lifted: Lifted) -> Tensor:
        points, rotations = lifted
        shift = (
            points.unsqueeze(1) - points.unsqueeze(2)
        ) @ rotations  # of row vectors: R_v^T (x_u - x_v)
        turn, shift = motion_log(relative_rotations(rotations), shift)
        return torch.cat([turn, shift], -1)


def both(values: Tensor) -> Tensor:
    """Values [B, n, d] of v and u, [B, n, n, 2 d]."""
    n = values.shape[1]
    return torch.cat(
        [values.unsqueeze(2).expand(-1, -1, n, -1), values.unsqueeze(1).expand(-1, n, -1, -1)], -1
    )


def relative_rotations(rotations: Tensor) -> Tensor:
    """R_v^T R_u, [B, n, n, 3, 3], of rotations [B, n, 3, 3]."""
    return torch.einsum("bvki,bukj->bvuij", rotations, rotations)


LIFTS: dict[str, Lift] = {
    "trivial3": _AbsolutePositions(),
    "t3": _Translations(),
    "so3": _Rotations(),
    "se3": _Motions(),
}
