"""Groups of space: translations, rotations, proper motions, affine maps and the trivial group.

Generators as in Augerino (Benton et al. 2020) for point clouds, in homogeneous 4x4 form; names and
order as in the plane (`learnsym.groups.planar`):

    translation_x, _y, _z           unit entry in the last column times `translation_scale`
    rotation_x, _y, _z              cross product with a unit vector, in radians
    scale                           diag(1, 1, 1)
    stretch_xy, stretch_yz          diag(1, -1, 0), diag(0, 1, -1)
    shear_xy, shear_yz, shear_zx    symmetric: ones at (x, y) and (y, x), ...

The nine linear ones are a basis of all 3x3 matrices: three antisymmetric, and six symmetric of
which one has a trace.
"""

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from learnsym.groups import rotations
from learnsym.groups.base import LieGroup, TranslationGroup, homogeneous, translation_generators
from learnsym.schema import Positive

_X, _Y, _Z, _ = torch.eye(4, dtype=torch.float64)
_ROTATIONS = {
    f"rotation_{axis}": pad(rotations.hat(vector[:3]), (0, 1, 0, 1))
    for axis, vector in {"x": _X, "y": _Y, "z": _Z}.items()
}
_DEFORMATIONS = {
    "scale": torch.diag(_X + _Y + _Z),
    "stretch_xy": torch.diag(_X - _Y),
    "stretch_yz": torch.diag(_Y - _Z),
    "shear_xy": torch.outer(_X, _Y) + torch.outer(_Y, _X),
    "shear_yz": torch.outer(_Y, _Z) + torch.outer(_Z, _Y),
    "shear_zx": torch.outer(_Z, _X) + torch.outer(_X, _Z),
}


class Trivial3(LieGroup):
    """The group of space with the identity alone; it has no generators."""

    def __init__(self) -> None:
        super().__init__(translation_generators(3, 1.0))
        self.names, self.units, self.generators = (), (), self.generators[:0]

    def log(self, elements: Tensor) -> Tensor:
        """Map identities [..., 4, 4] to no coefficients [..., 0]."""
        return elements[..., 0, :0]


class T3(TranslationGroup):
    """T(3), the translations of space by `translation_scale` per unit of a coefficient."""

    def __init__(self, translation_scale: Positive = 0.5) -> None:
        super().__init__(3, translation_scale)


class SO3(LieGroup):
    """SO(3), the rotations about the origin."""

    def __init__(self) -> None:
        super().__init__(_ROTATIONS)

    def exp(self, u: Tensor) -> Tensor:
        """Map coefficients [..., 3] to rotations [..., 4, 4], see `rotation_exp`."""
        return homogeneous(rotations.rotation_exp(self.checked(u)))

    def log(self, elements: Tensor) -> Tensor:
        """Map rotations [..., 4, 4] to coefficients [..., 3], see `rotation_log`."""
        return rotations.rotation_log(elements[..., :3, :3])

    def sample(self, count: int, generator: Generator | None = None) -> Tensor:
        """Draw rotations [count, 4, 4], uniform by Haar's measure, float64."""
        draws = torch.rand(count, 3, generator=generator, dtype=torch.float64)
        return homogeneous(rotations.uniform_rotations(draws))


class SE3(LieGroup):
    """SE(3), the proper motions: translations and rotations."""

    def __init__(self, translation_scale: Positive = 0.5) -> None:
        super().__init__(translation_generators(3, translation_scale) | _ROTATIONS)
        self.translation_scale = translation_scale

    def exp(self, u: Tensor) -> Tensor:
        """Map coefficients [..., 6] to motions [..., 4, 4], see `motion_exp`."""
        shift, turn = self.checked(u).split(3, -1)
        return homogeneous(*rotations.motion_exp(turn, self.translation_scale * shift))

    def log(self, elements: Tensor) -> Tensor:
        """Map motions [..., 4, 4] to coefficients [..., 6], see `motion_log`."""
        turn, shift = rotations.motion_log(elements[..., :3, :3], elements[..., :3, 3])
        return torch.cat([shift / self.translation_scale, turn], -1)


class Affine3(LieGroup):
    """Aff(3), the twelve-dimensional group of Augerino; without `log`, as not all maps have one."""

    def __init__(self, translation_scale: Positive = 0.5) -> None:
        super().__init__(translation_generators(3, translation_scale) | _ROTATIONS | _DEFORMATIONS)
