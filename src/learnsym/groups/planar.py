"""Groups of the plane: translations, rotations, motions with and without mirror, and the general
affine group.

Generators as in Augerino (Benton et al. 2020), in homogeneous 3x3 form on the sampling grid [-1,
1]^2:

    translation_x, translation_y    unit entry in the last column times `translation_scale`
    rotation                        [[0, -1], [1, 0]], in radians
    scale, stretch, shear           diag(1, 1), diag(1, -1), [[0, 1], [1, 0]]
"""

import torch
from torch import Tensor

from learnsym.groups.affine_exp import affine_exp, rotation_exp, turning_mean, with_last_row
from learnsym.groups.base import LieGroup
from learnsym.groups.point_groups import O2, SO2, SemidirectProduct, Stabiliser, Trivial
from learnsym.schema import Positive


def _linear(matrix: list[list[float]]) -> Tensor:
    """A 2x2 matrix as a generator of homogeneous coordinates [3, 3]."""
    return torch.nn.functional.pad(torch.tensor(matrix, dtype=torch.float64), (0, 1, 0, 1))


def _translations(scale: float) -> dict[str, Tensor]:
    """The two translations, `scale` units of the grid per unit of the coefficient."""
    if not scale > 0:
        raise ValueError(f"translation_scale must be above 0, got {scale}")
    found = torch.zeros(2, 3, 3, dtype=torch.float64)
    found[0, 0, 2] = found[1, 1, 2] = scale
    return {"translation_x": found[0], "translation_y": found[1]}


_ROTATION = {"rotation": _linear([[0, -1], [1, 0]])}
_DEFORMATIONS = {
    "scale": _linear([[1, 0], [0, 1]]),
    "stretch": _linear([[1, 0], [0, -1]]),
    "shear": _linear([[0, 1], [1, 0]]),
}


def _angle(elements: Tensor) -> Tensor:
    """The angle in (-pi, pi] of proper motions [..., 3, 3]: [...]."""
    return torch.atan2(elements[..., 1, 0], elements[..., 0, 0])


class Translation2(LieGroup, SemidirectProduct):
    """T(2), the translations of the plane.

    >>> Translation2(translation_scale=0.5).exp(torch.tensor([2.0, 0.0]))[:2, 2].tolist()
    [1.0, 0.0]
    """

    stabiliser: Stabiliser = Trivial()

    def __init__(self, translation_scale: Positive = 0.1) -> None:
        super().__init__(_translations(translation_scale), units=("", ""))
        self.translation_scale = translation_scale

    def exp(self, u: Tensor) -> Tensor:
        """[..., 2] -> [..., 3, 3]: 1 + A, as A^2 = 0."""
        rows = self.algebra(u)[..., :2, :]
        return with_last_row(rows + torch.eye(2, 3, device=u.device, dtype=u.dtype))

    def log(self, elements: Tensor) -> Tensor:
        """The coefficients [..., 2] of translations [..., 3, 3]; inverse of `exp`."""
        return elements[..., :2, 2] / self.translation_scale


class Rotation2(LieGroup):
    """SO(2), the rotations about the centre.

    >>> Rotation2().exp(torch.tensor([torch.pi / 2])).round().tolist()
    [[-0.0, -1.0, 0.0], [1.0, -0.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def __init__(self) -> None:
        super().__init__(_ROTATION, units=("rad",))

    def exp(self, u: Tensor) -> Tensor:
        """Angles [..., 1] -> [..., 3, 3]."""
        return with_last_row(
            torch.nn.functional.pad(rotation_exp(self.checked(u).squeeze(-1)), (0, 1))
        )

    def log(self, elements: Tensor) -> Tensor:
        """The angle [..., 1] in (-pi, pi] of rotations [..., 3, 3]; inverse of `exp` there."""
        return _angle(elements).unsqueeze(-1)


class SE2(LieGroup, SemidirectProduct):
    """SE(2), the proper motions: rotations and translations."""

    stabiliser: Stabiliser = SO2()
    mirrors: tuple[Tensor, ...] = ()

    def __init__(self, translation_scale: Positive = 0.1) -> None:
        super().__init__(
            _translations(translation_scale) | _ROTATION,
            units=("", "", "rad"),
            components=self.mirrors,
        )
        self.translation_scale = translation_scale

    def exp(self, u: Tensor) -> Tensor:
        """[..., 3] -> [..., 3, 3], see `affine_exp`."""
        return affine_exp(self.algebra(u))

    def log(self, elements: Tensor) -> Tensor:
        """The coefficients [..., 3] of proper motions [..., 3, 3]; inverse of `exp` for angles in
        (-pi, pi].
        """
        angle = _angle(elements)
        mean = turning_mean(
            angle
        )  # a multiple of a rotation, so its inverse is its transpose over its determinant
        shift = (mean.transpose(-1, -2) @ elements[..., :2, 2:]).squeeze(-1) / torch.linalg.det(
            mean
        ).unsqueeze(-1)
        return torch.cat([shift / self.translation_scale, angle.unsqueeze(-1)], -1)


class E2(SE2):
    """E(2), all motions: SE(2) and its products with a mirror (left and right exchanged). `log` is
    that of proper motions.
    """

    stabiliser = O2()
    mirrors = (torch.diag(torch.tensor([-1.0, 1.0, 1.0])),)


class Affine2(LieGroup):
    """Aff(2), the six-dimensional group of Augerino: translations, rotation, scale, stretch and
    shear.

    >>> Affine2().exp(torch.zeros(6)).equal(torch.eye(3))
    True
    """

    def __init__(self, translation_scale: Positive = 0.1) -> None:
        super().__init__(
            _translations(translation_scale) | _ROTATION | _DEFORMATIONS,
            units=("", "", "rad", "", "", ""),
        )

    def exp(self, u: Tensor) -> Tensor:
        """[..., 6] -> [..., 3, 3], see `affine_exp`."""
        return affine_exp(self.algebra(u))
