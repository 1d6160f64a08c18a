"""Groups of the plane: translations, rotations, rigid motions and the general affine group.

Generators as in Augerino (Benton et al. 2020), homogeneous 3x3 on the sampling grid [-1, 1]^2:

    translation_x, translation_y    unit entry in the last column times `translation_scale`
    rotation                        [[0, -1], [1, 0]], in radians
    scale, stretch, shear           diag(1, 1), diag(1, -1), [[0, 1], [1, 0]]
"""

import math

import torch
from torch import Generator, Tensor

from learnsym.groups.base import LieGroup, TranslationGroup, homogeneous, translation_generators
from learnsym.groups.point_groups import O2, SO2, SemidirectProduct, Stabiliser, Trivial
from learnsym.groups.rotations import matvec, planar_left_jacobian, planar_rotation
from learnsym.schema import Positive


def _linear(*matrix: list[float]) -> Tensor:
    """Return a 2x2 matrix as a generator of homogeneous coordinates [3, 3]."""
    return torch.nn.functional.pad(torch.tensor(matrix, dtype=torch.float64), (0, 1, 0, 1))


_ROTATION = {"rotation": _linear([0, -1], [1, 0])}
_DEFORMATIONS = {
    "scale": _linear([1, 0], [0, 1]),
    "stretch": _linear([1, 0], [0, -1]),
    "shear": _linear([0, 1], [1, 0]),
}


def _angle(elements: Tensor) -> Tensor:
    """Return the angles [...] in (-pi, pi] of proper motions [..., 3, 3]."""
    return torch.atan2(elements[..., 1, 0], elements[..., 0, 0])


class Translation2(TranslationGroup, SemidirectProduct):
    """T(2), the translations of the plane by `translation_scale` per unit of a coefficient."""

    stabiliser: Stabiliser = Trivial()

    def __init__(self, translation_scale: Positive = 0.1) -> None:
        super().__init__(2, translation_scale)


class Rotation2(LieGroup):
    """SO(2), the rotations about the centre."""

    def __init__(self) -> None:
        super().__init__(_ROTATION)

    def exp(self, u: Tensor) -> Tensor:
        """Map angles [..., 1] to rotations [..., 3, 3]."""
        return homogeneous(planar_rotation(self.checked(u).squeeze(-1)))

    def log(self, elements: Tensor) -> Tensor:
        """Map rotations [..., 3, 3] to angles [..., 1] in (-pi, pi]; inverse of `exp` there."""
        return _angle(elements).unsqueeze(-1)

    def sample(self, count: int, generator: Generator | None = None) -> Tensor:
        """Draw rotations [count, 3, 3] by uniform angles, float64."""
        turns = torch.rand(count, 1, generator=generator, dtype=torch.float64)
        return self.exp(2 * math.pi * turns)


class SE2(LieGroup, SemidirectProduct):
    """SE(2), the proper motions: rotations and translations."""

    stabiliser: Stabiliser = SO2()
    mirrors: tuple[Tensor, ...] = ()

    def __init__(self, translation_scale: Positive = 0.1) -> None:
        generators = translation_generators(2, translation_scale) | _ROTATION
        super().__init__(generators, components=self.mirrors)
        self.translation_scale = translation_scale

    def exp(self, u: Tensor) -> Tensor:
        """Map coefficients (t, a) [..., 3] to motions R(a) x + V(a) t [..., 3, 3]."""
        shift, angle = self.checked(u).split([2, 1], -1)
        shift = matvec(planar_left_jacobian(angle.squeeze(-1)), self.translation_scale * shift)
        return homogeneous(planar_rotation(angle.squeeze(-1)), shift)

    def log(self, elements: Tensor) -> Tensor:
        """Map motions [..., 3, 3] to coefficients [..., 3]; inverse of `exp` for |a| < pi."""
        angle = _angle(elements)
        # V is a multiple of a rotation, so its inverse is its transpose over its determinant.
        jacobian = planar_left_jacobian(angle)
        shift = matvec(jacobian.mT, elements[..., :2, 2])
        shift = shift / torch.linalg.det(jacobian).unsqueeze(-1)
        return torch.cat([shift / self.translation_scale, angle.unsqueeze(-1)], -1)


class E2(SE2):
    """E(2), all rigid motions: SE(2) and its products with a mirror; `log` is that of SE(2)."""

    stabiliser = O2()
    mirrors = (torch.diag(torch.tensor([-1.0, 1.0, 1.0])),)


class Affine2(LieGroup):
    """Aff(2), the six-dimensional group of Augerino."""

    def __init__(self, translation_scale: Positive = 0.1) -> None:
        super().__init__(translation_generators(2, translation_scale) | _ROTATION | _DEFORMATIONS)
