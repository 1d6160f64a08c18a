"""Lift points of space to a group and describe pairs (Finzi et al. 2020, sections 4.2 to 4.4).

A point x becomes elements u of the group that take an origin to x: the one there is, or samples
where there are many. A layer sees the logarithm of v^-1 u, which no transformation of both from the
left changes, and the orbits, where points lie on several.

    group     elements over x                        pair                           numbers
    trivial3  every x is an orbit of its own         (x_v, x_u)                     6, angstrom
    t3        u = translation by x                   x_u - x_v                      3, angstrom
    so3       u = rotations that take e_z to x/|x|   (log R_v^T R_u, |x_v|, |x_u|)  5, rad, angstrom
    se3       u = translation by x times a rotation  log(v^-1 u)                    6, rad, angstrom

Distances of two of them are norms: of the logarithm, and of the difference between the orbits (x,
or |x|), which count together.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.groups.rotations import motion_log, rotation_log

PointGroup = Literal["trivial3", "t3", "so3", "se3"]
"""The groups that a LieConv network of points in space may be built on."""
Lifted = tuple[Tensor, ...]
"""Elements [B, n, ...], and orbits where there are several; each lift has its own form."""


def even_numbers(count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the start [count, 3] of a sequence that fills the cube [0, 1)^3 evenly: Sobol's.

    It is always the same; scrambled, since among the plain numbers are many that give relative
    rotations by pi, where the logarithm jumps.
    """
    sequence = torch.quasirandom.SobolEngine(3, scramble=True, seed=0)
    return sequence.draw(count, dtype=torch.float64).to(device, dtype)


class Lift(ABC):
    """Lift points and compare them; without state."""

    pair_size: int  # numbers that describe a pair
    sampled: bool  # many elements lie over a point: samples of rotations decide which are taken

    def elements(self, points: Tensor, rotations: Tensor | None) -> Lifted:
        """Lift points [B, n, 3], repeated once per sample.

        A sampled lift takes rotations [B, n, 3, 3] too, and maps (g x, g h) to g u where it maps
        (x, h) to u: equivariant, exactly.
        """
        return (points,)

    @abstractmethod
    def pairs(self, lifted: Lifted) -> Tensor:
        """Describe all pairs, [B, n (of v), n (of u), pair_size]."""

    def distances(self, pairs: Tensor) -> Tensor:
        """Compute distances [...] of pairs [..., pair_size]."""
        return torch.linalg.vector_norm(pairs, dim=-1)


class _AbsolutePositions(Lift):
    pair_size, sampled = 6, False

    def pairs(self, lifted: Lifted) -> Tensor:
        return _all_pairs(lifted[0])

    def distances(self, pairs: Tensor) -> Tensor:
        return super().distances(pairs[..., 3:] - pairs[..., :3])


class _Translations(Lift):
    pair_size, sampled = 3, False

    def pairs(self, lifted: Lifted) -> Tensor:
        return lifted[0].unsqueeze(1) - lifted[0].unsqueeze(2)


class _Rotations(Lift):
    # The columns of u are two unit vectors across x/|x|, the first the nearest to h e_x, and x/|x|
    # itself; at x = 0, u = h.

    pair_size, sampled = 5, True

    def elements(self, points: Tensor, rotations: Tensor | None) -> Lifted:
        assert rotations is not None
        radius = torch.linalg.vector_norm(points, dim=-1, keepdim=True)
        origin = radius == 0
        z = torch.where(origin, rotations[..., 2], points / torch.where(origin, 1.0, radius))
        nearest = rotations[..., 0]
        x = F.normalize(nearest - (nearest * z).sum(-1, keepdim=True) * z, dim=-1)
        return torch.stack([x, torch.linalg.cross(z, x), z], -1), radius

    def pairs(self, lifted: Lifted) -> Tensor:
        rotations, radius = lifted
        return torch.cat([rotation_log(_relative_rotations(rotations)), _all_pairs(radius)], -1)

    def distances(self, pairs: Tensor) -> Tensor:
        return super().distances(torch.cat([pairs[..., :3], pairs[..., 4:] - pairs[..., 3:4]], -1))


class _Motions(Lift):
    pair_size, sampled = 6, True

    def elements(self, points: Tensor, rotations: Tensor | None) -> Lifted:
        assert rotations is not None
        return points, rotations

    def pairs(self, lifted: Lifted) -> Tensor:
        points, rotations = lifted
        shift = points.unsqueeze(1) - points.unsqueeze(2)
        # R_v^T (x_u - x_v), of row vectors.
        return torch.cat(motion_log(_relative_rotations(rotations), shift @ rotations), -1)


def _all_pairs(values: Tensor) -> Tensor:
    """Pair values [B, n, d] of v and u to [B, n, n, 2 d]."""
    return torch.cat(torch.broadcast_tensors(values.unsqueeze(2), values.unsqueeze(1)), -1)


def _relative_rotations(rotations: Tensor) -> Tensor:
    """Compute R_v^T R_u, [B, n, n, 3, 3], of rotations [B, n, 3, 3]."""
    return torch.einsum("bvki,bukj->bvuij", rotations, rotations)


LIFTS: dict[str, Lift] = {
    "trivial3": _AbsolutePositions(),
    "t3": _Translations(),
    "so3": _Rotations(),
    "se3": _Motions(),
}
