"""Groups of space: translations, rotations, proper motions, the general affine group, and the
trivial one.

Generators as in Augerino (Benton et al. 2020) for point clouds, in homogeneous 4x4 form; names and
order as in the plane (`learnsym.groups.planar`):

    translation_x, _y, _z           unit entry in the last column times `translation_scale`
    rotation_x, _y, _z              about the axis of that name, in radians: the cross products with
    the unit vectors scale                           diag(1, 1, 1)
    stretch_xy, stretch_yz          diag(1, -1, 0), diag(0, 1, -1)
    shear_xy, shear_yz, shear_zx    symmetric: ones at (x, y) and (y, x), ...

The nine linear ones are a basis of all 3x3 matrices: three antisymmetric, and six symmetric of
which one has a trace.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from learnsym.groups.affine_exp import with_last_row
from learnsym.groups.base import LieGroup
from learnsym.groups.matrix_exp import squaring_exp
from learnsym.groups.rotations import hat, motion_exp, motion_log, rotation_exp, rotation_log
from learnsym.schema import Positive

_AXES = ("x", "y", "z")


def _translations(scale: float) -> dict[str, Tensor]:
    """The three translations, `scale` units of length per unit of the coefficient."""
    if not scale > 0:
        raise ValueError(f"translation_scale must be above 0, got {scale}")
    found = torch.zeros(3, 4, 4, dtype=torch.float64)
    found[:, :3, 3] = scale * torch.eye(3, dtype=torch.float64)
    return {f"translation_{axis}": generator for axis, generator in zip(_AXES, found, strict=True)}


def _rotations() -> dict[str, Tensor]:
    """The three rotations, about x, y and z."""
    found = pad(hat(torch.eye(3, dtype=torch.float64)), (0, 1, 0, 1))
    return {f"rotation_{axis}": generator for axis, generator in zip(_AXES, found, strict=True)}


def _deformations() -> dict[str, Tensor]:
    """The six symmetric generators: scale, two stretches, three shears."""
    diagonals = {"scale": (1, 1, 1), "stretch_xy": (1, -1, 0), "stretch_yz": (0, 1, -1)}
    found = {
        name: torch.diag(torch.tensor([*d, 0], dtype=torch.float64))
        for name, d in diagonals.items()
    }
    for i, j in ((0, 1), (1, 2), (2, 0)):
        shear = torch.zeros(4, 4, dtype=torch.float64)
        shear[i, j] = shear[j, i] = 1
        found[f"shear_{_AXES[i]}{_AXES[j]}"] = shear
    return found


class SpatialGroup(LieGroup):
    """A connected group of affine maps of space, elements [..., 4, 4]."""

    def adjoint(self, elements: Tensor) -> Tensor:
        """Ad_g [..., n, n] of elements g [..., 4, 4]: g (sum_i u_i G_i) g^-1 = sum_i (Ad_g u)_i
        G_i.

        Hence g exp(u) g^-1 = exp(Ad_g u). The elements must be the group's own.
        """
        generators = self.generators.to(elements)
        moved = elements.unsqueeze(-3) @ generators @ torch.linalg.inv(elements).unsqueeze(-3)
        dual = torch.linalg.pinv(self.generators.flatten(1)).to(elements)
        return (moved.flatten(-2) @ dual).transpose(-1, -2)


class Trivial3(SpatialGroup):
    """The group of space with the identity alone; it has no generators.

    >>> Trivial3().exp(torch.zeros(2, 0)).shape
    torch.Size([2, 4, 4])
    """

    def __init__(self) -> None:
        super().__init__(_translations(1.0), units=("", "", ""))
        self.names, self.units, self.generators = (), (), self.generators[:0]

    def exp(self, u: Tensor) -> Tensor:
        """[..., 0] -> [..., 4, 4], identities."""
        return torch.eye(4, device=u.device, dtype=u.dtype).repeat(
            *self.checked(u).shape[:-1], 1, 1
        )

    def log(self, elements: Tensor) -> Tensor:
        """[..., 4, 4] -> [..., 0]."""
        return elements[..., 0, :0]


class T3(SpatialGroup):
    """T(3), the translations of space.

    >>> T3(translation_scale=0.5).exp(torch.tensor([2.0, 0.0, 4.0]))[:3, 3].tolist()
    [1.0, 0.0, 2.0]
    """

    def __init__(self, translation_scale: Positive = 0.5) -> None:
        super().__init__(_translations(translation_scale), units=("", "", ""))
        self.translation_scale = translation_scale

    def exp(self, u: Tensor) -> Tensor:
        """[..., 3] -> [..., 4, 4]: 1 + A, as A^2 = 0."""
        rows = self.algebra(u)[..., :3, :]
        return with_last_row(rows + torch.eye(3, 4, device=u.device, dtype=u.dtype))

    def log(self, elements: Tensor) -> Tensor:
        """The coefficients [..., 3] of translations [..., 4, 4]; inverse of `exp`."""
        return elements[..., :3, 3] / self.translation_scale


class SO3(SpatialGroup):
    """SO(3), the rotations about the origin.

    >>> SO3().exp(torch.tensor([0.0, 0.0, torch.pi / 2]))[:2, :2].round().abs().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """

    def __init__(self) -> None:
        super().__init__(_rotations(), units=("rad", "rad", "rad"))

    def exp(self, u: Tensor) -> Tensor:
        """[..., 3] -> [..., 4, 4], see `rotation_exp`."""
        return with_last_row(pad(rotation_exp(self.checked(u)), (0, 1)))

    def log(self, elements: Tensor) -> Tensor:
        """The coefficients [..., 3] of rotations [..., 4, 4]; inverse of `exp` for angles below pi,
        see `rotation_log`.
        """
        return rotation_log(elements[..., :3, :3])


class SE3(SpatialGroup):
    """SE(3), the proper motions: translations and rotations."""

    def __init__(self, translation_scale: Positive = 0.5) -> None:
        super().__init__(
            _translations(translation_scale) | _rotations(), units=("", "", "", "rad", "rad", "rad")
        )
        self.translation_scale = translation_scale

    def exp(self, u: Tensor) -> Tensor:
        """[..., 6] -> [..., 4, 4], see `motion_exp`."""
        shift, turn = self.checked(u).split(3, -1)
        rotations, translations = motion_exp(turn, self.translation_scale * shift)
        return with_last_row(torch.cat([rotations, translations.unsqueeze(-1)], -1))

    def log(self, elements: Tensor) -> Tensor:
        """The coefficients [..., 6] of proper motions [..., 4, 4]; inverse of `exp` for angles
        below pi, see `motion_log`.
        """
        turn, shift = motion_log(elements[..., :3, :3], elements[..., :3, 3])
        return torch.cat([shift / self.translation_scale, turn], -1)


class Affine3(SpatialGroup):
    """Aff(3), the twelve-dimensional group of Augerino: translations, rotations, scale, stretches
    and shears.

    It has no `log`: not every affine map of positive determinant is an exponential.

    >>> Affine3().exp(torch.zeros(12)).equal(torch.eye(4))
    True
    """

    def __init__(self, translation_scale: Positive = 0.5) -> None:
        generators = _translations(translation_scale) | _rotations() | _deformations()
        super().__init__(
            generators, units=("", "", "", "rad", "rad", "rad", "", "", "", "", "", "")
        )
        self.translation_scale = translation_scale

    def exp(self, u: Tensor) -> Tensor:
        """[..., 12] -> [..., 4, 4], see `squaring_exp`."""
        return squaring_exp(self.algebra(u))
