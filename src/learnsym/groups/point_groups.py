"""Stabilisers H of the planar groups R^2 x| H: the subgroups of O(2) that group convolutions run
over (Romero and Lohit 2022).

An element of O(2) is a mirror image followed by a rotation, h = R(r) M(m) with M(-1) = diag(-1, 1)
(left and right exchanged) and m = +1 or -1, so that

    (r1, m1) (r2, m2) = (r1 + m1 r2, m1 m2),    (r, m)^-1 = (-m r, m).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from learnsym.schema import AngleCut, Size

CUT = 1e-5
"""Angles within this of the half turn count as -pi, so that rounding does not decide on which side
of the cut one falls."""


@dataclass(frozen=True)
class Elements:
    """A batch of elements of O(2).

    Attributes:
        angle: [*L, n], radians; gradients pass through it.
        sign: [*L, n], +1, or -1 for a mirror image.
        weight: [B, n] with values 0 or 1, where single elements may be absent from the set of an
            image; None: all are there.
    """

    angle: Tensor
    sign: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return self.angle.shape[-1]

    @property
    def per_image(self) -> bool:
        """Whether every image has a set of its own."""
        return self.angle.ndim > 1

    def product(self, other: "Elements") -> "Elements":
        """(r1, m1) (r2, m2), broadcast."""
        return Elements(self.angle + self.sign * other.angle, self.sign * other.sign)

    def inverse(self) -> "Elements":
        """(-m r, m)."""
        return Elements(-self.sign * self.angle, self.sign)

    def relative(self, other: "Elements") -> "Elements":
        """h_i^-1 h'_j of every pair: [*L, n] and [*L, n'] to [*L, n, n']."""
        own = Elements(self.angle.unsqueeze(-1), self.sign.unsqueeze(-1))
        return own.inverse().product(Elements(other.angle.unsqueeze(-2), other.sign.unsqueeze(-2)))

    def matrices(self) -> Tensor:
        """R(r) M(m) [*L, n, 2, 2], acting on (x, y)."""
        cos, sin = self.angle.cos(), self.angle.sin()
        return torch.stack([self.sign * cos, -sin, self.sign * sin, cos], -1).unflatten(-1, (2, 2))

    def pull_back(self, grid: Tensor) -> Tensor:
        """h^-1 x of points [..., P, 2]: [*L, n, P, 2]. An orthogonal matrix has its transpose for
        inverse: x^T h = (h^T x)^T.
        """
        return grid @ self.matrices()


def wrapped(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi), up to rounding: the half turn is -pi on either side (see
    `CUT`).
    """
    return angle - 2 * math.pi * torch.floor((angle.detach() + (math.pi + CUT)) / (2 * math.pi))


class Stabiliser:
    """A closed subgroup of O(2).

    Attributes:
        order: number of elements; None for a continuous group.
        rotations: number of rotations among them; None for a continuous group.
        has_mirror: whether mirror images belong to it.
        coordinates: how many numbers `normalised` gives to a kernel network.
    """

    order: int | None = None
    rotations: int | None = None
    has_mirror = False
    trivial = False

    def coordinates(self, periodic: bool = False) -> int:
        """How many numbers describe an element to a kernel network, see `normalised`."""
        return 1 + (periodic and not self.trivial) + self.has_mirror

    def normalised(
        self, elements: Elements, periodic: bool = False, cut: AngleCut = "half_turn"
    ) -> Tensor:
        """Give coordinates of elements for a kernel network, [*L, n, d].

        The angle over pi in [-1, 1), with the cut at the half turn and the identity at 0 or, as
        published, with the cut at the identity, which then lies at -1; or, if `periodic`, its (cos,
        sin), continuous on the circle; and the sign, where there are mirror images. The trivial
        group has one constant coordinate, 1 (at 0 a SIREN without biases would be zero).
        """
        if self.trivial:
            return torch.ones_like(elements.angle).unsqueeze(-1)
        angle = elements.angle
        turned = angle if cut == "half_turn" else angle - math.pi
        parts = [angle.cos(), angle.sin()] if periodic else [wrapped(turned) / math.pi]
        return torch.stack(
            [*parts, elements.sign.expand_as(angle)] if self.has_mirror else parts, -1
        )

    def arc(self, places: Tensor, fraction: Tensor | float = 1.0) -> Elements:
        """Rotations r by 2 pi * fraction * u for u = `places` [*L, k] in [-1/2, 1/2), [*L, k]
        elements; where there are mirror images M, then also M r = (-r, -1) of each, so that the set
        is closed under M: [*L, 2 k] elements.
        """
        angle = 2 * math.pi * fraction * places
        if not self.has_mirror:
            return Elements(angle, torch.ones_like(angle))
        one = torch.ones_like(angle)
        return Elements(torch.cat([angle, -angle], -1), torch.cat([one, -one], -1))

    def elements(
        self, dtype: torch.dtype = torch.float64, device: torch.device | None = None
    ) -> Elements:
        """All elements of a finite group, the identity first, rotations before mirror images."""
        if self.rotations is None:
            raise ValueError(f"{self} has infinitely many elements")
        turns = torch.arange(self.rotations, dtype=dtype, device=device) / self.rotations
        return self.arc(wrapped(2 * math.pi * turns) / (2 * math.pi))

    def sample(self, *shape: int, dtype: torch.dtype | None = None) -> Elements:
        """Independent uniform elements [*shape]."""
        drawn = torch.rand(*shape, 2, dtype=dtype)
        sign = (
            torch.where(drawn[..., 1] < 0.5, -1.0, 1.0).to(drawn)
            if self.has_mirror
            else torch.ones_like(drawn[..., 1])
        )
        if self.rotations is None:
            return Elements(2 * math.pi * (drawn[..., 0] - 0.5), sign)
        return Elements(
            wrapped(2 * math.pi / self.rotations * torch.floor(self.rotations * drawn[..., 0])),
            sign,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.rotations})"
            if self.rotations and not self.trivial
            else type(self).__name__
        )


class Trivial(Stabiliser):
    """The identity alone: the stabiliser of T(2), planar convolutions."""

    order = rotations = 1
    trivial = True


class SO2(Stabiliser):
    """All rotations: the stabiliser of SE(2)."""


class O2(Stabiliser):
    """All rotations and mirror images: the stabiliser of E(2)."""

    has_mirror = True


class Cyclic(Stabiliser):
    """C_N, the rotations by multiples of 2 pi / N."""

    def __init__(self, rotations: Size) -> None:
        self.order = self.rotations = _at_least_two(rotations, self)


class Dihedral(Stabiliser):
    """D_N, N rotations and as many mirror images."""

    has_mirror = True

    def __init__(self, rotations: Size) -> None:
        self.rotations = _at_least_two(rotations, self)
        self.order = 2 * rotations


def _at_least_two(rotations: int, of: Stabiliser) -> int:
    if rotations < 2:
        raise ValueError(
            f"{type(of).__name__} needs at least 2 rotations, got {rotations}; with one, take translation2"
        )
    return rotations


class SemidirectProduct:
    """A group of the plane of the form R^2 x| H: what group convolutions can be built for.

    Attributes:
        stabiliser: H.
    """

    stabiliser: Stabiliser


class DiscreteIsometries(SemidirectProduct):
    """R^2 x| C_N, or R^2 x| D_N with `mirror`: translations and N rotations, and mirror images."""

    def __init__(self, rotations: Size = 8, mirror: bool = False) -> None:
        self.stabiliser = Dihedral(rotations) if mirror else Cyclic(rotations)

    def __repr__(self) -> str:
        return f"DiscreteIsometries({self.stabiliser})"


def evenly_spaced(count: int, offset: Tensor) -> Tensor:
    """u_i = (i + offset) / count - 1/2 in [-1/2, 1/2) for offsets [*L] in [0, 1): [*L, count]."""
    steps = torch.arange(count, dtype=offset.dtype, device=offset.device)
    return (steps + offset.unsqueeze(-1)) / count - 0.5
