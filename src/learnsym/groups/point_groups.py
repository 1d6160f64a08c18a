"""Define H, the stabilisers of the planar groups R^2 x| H, and these groups.

H is a subgroup of O(2), which group convolutions run over (Romero and Lohit 2022). An element of
O(2) is a mirror image followed by a rotation, h = R(r) M(m) with M(-1) = diag(-1, 1) (left and
right exchanged) and m = +1 or -1, so that

    (r1, m1) (r2, m2) = (r1 + m1 r2, m1 m2),    (r, m)^-1 = (-m r, m).
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from learnsym.groups.base import AffineGroup, Group
from learnsym.schema import AngleCut, Size

ANGLE_TOLERANCE = 1e-5
"""Angles this close to the half turn count as -pi: rounding does not decide about the cut."""


@dataclass(frozen=True)
class Elements:
    """A batch of elements of O(2), with L = () or (B,), a set for every image.

    Attributes:
        angle: [*L, n], radians; gradients pass through it.
        sign: [*L, n], +1, or -1 for a mirror image.
        weight: [B, n], 0 where an element is absent from the set of an image, else 1; None: 1.
    """

    angle: Tensor
    sign: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return self.angle.shape[-1]

    def product(self, other: "Elements") -> "Elements":
        """Return (r1, m1) (r2, m2), broadcast."""
        return Elements(self.angle + self.sign * other.angle, self.sign * other.sign)

    def inverse(self) -> "Elements":
        """Return (-m r, m)."""
        return Elements(-self.sign * self.angle, self.sign)

    def relative(self, other: "Elements") -> "Elements":
        """Return h_i^-1 h'_j of every pair: [*L, n] and [*L, n'] to [*L, n, n']."""
        rows = Elements(self.angle.unsqueeze(-1), self.sign.unsqueeze(-1))
        return rows.inverse().product(Elements(other.angle.unsqueeze(-2), other.sign.unsqueeze(-2)))

    def matrices(self) -> Tensor:
        """Return R(r) M(m) [*L, n, 2, 2], acting on (x, y)."""
        cos, sin = self.angle.cos(), self.angle.sin()
        return torch.stack([self.sign * cos, -sin, self.sign * sin, cos], -1).unflatten(-1, (2, 2))

    def inverse_act(self, points: Tensor) -> Tensor:
        """Return h^-1 x of points [..., P, 2]: [*L, n, P, 2]."""
        return points @ self.matrices()  # h is orthogonal: x^T h = (h^-1 x)^T


def wrap_angle(angle: Tensor) -> Tensor:
    """Return the same angles in [-pi, pi), the half turn as -pi (see `ANGLE_TOLERANCE`)."""
    turns = torch.floor((angle.detach() + (math.pi + ANGLE_TOLERANCE)) / (2 * math.pi))
    return angle - 2 * math.pi * turns


class Stabiliser(Group[Elements]):
    """H, a closed subgroup of O(2); `order` and `rotations` are None if it is continuous."""

    rotations: int | None = None
    has_mirror = False
    trivial = False

    def identity(self) -> Elements:
        """Return the identity, one element [1]."""
        return Elements(torch.zeros(1), torch.ones(1))

    def product(self, first: Elements, second: Elements) -> Elements:
        """Return the products, broadcast."""
        return first.product(second)

    def inverse(self, elements: Elements) -> Elements:
        """Return the inverse of every element."""
        return elements.inverse()

    def kernel_dim(self, periodic: bool = False) -> int:
        """Return d, the number of `kernel_coordinates`."""
        return 1 + (periodic and not self.trivial) + self.has_mirror

    def kernel_coordinates(
        self, elements: Elements, periodic: bool = False, cut: AngleCut = "half_turn"
    ) -> Tensor:
        """Return coordinates [*L, n, d] of elements [*L, n] for a kernel network.

        They are the angle over pi in [-1, 1), or if `periodic` (cos, sin) of it, continuous on the
        circle, and the sign if there are mirror images. The angle jumps at the half turn, with the
        identity at 0, or, as published, at the identity, which then lies at -1. The trivial group
        has one constant coordinate, 1 (at 0 a SIREN without biases would be zero).
        """
        if self.trivial:
            return torch.ones_like(elements.angle).unsqueeze(-1)
        angle = elements.angle
        if periodic:
            coordinates = [angle.cos(), angle.sin()]
        else:
            coordinates = [wrap_angle(angle if cut == "half_turn" else angle - math.pi) / math.pi]
        if self.has_mirror:
            coordinates.append(elements.sign.expand_as(angle))
        return torch.stack(coordinates, -1)

    def rotations_from(self, positions: Tensor, fraction: Tensor | float = 1.0) -> Elements:
        """Return rotations by 2 pi * fraction * u, for positions u [*L, k] in [-1/2, 1/2).

        With mirror images M these are [*L, 2 k] elements, r and M r = (-r, -1): closed under M.
        """
        angle = 2 * math.pi * fraction * positions
        one = torch.ones_like(angle)
        if not self.has_mirror:
            return Elements(angle, one)
        return Elements(torch.cat([angle, -angle], -1), torch.cat([one, -one], -1))

    def elements(
        self, dtype: torch.dtype = torch.float64, device: torch.device | None = None
    ) -> Elements:
        """Return all elements, the identity first, rotations before mirror images."""
        if self.rotations is None:
            return super().elements()
        turns = torch.arange(self.rotations, dtype=dtype, device=device) / self.rotations
        return self.rotations_from(wrap_angle(2 * math.pi * turns) / (2 * math.pi))

    def sample(
        self, count: int, generator: Generator | None = None, dtype: torch.dtype | None = None
    ) -> Elements:
        """Draw independent, uniformly distributed elements [count]."""
        angle, mirror = torch.rand(2, count, generator=generator, dtype=dtype)
        sign = torch.where((mirror < 0.5) & self.has_mirror, -1.0, 1.0).to(angle)
        if self.rotations is None:
            return Elements(2 * math.pi * (angle - 0.5), sign)
        step = torch.floor(self.rotations * angle)
        return Elements(wrap_angle(2 * math.pi / self.rotations * step), sign)

    def __repr__(self) -> str:
        rotations = f"({self.rotations})" if self.rotations and not self.trivial else ""
        return f"{type(self).__name__}{rotations}"


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
    """C_N, the N >= 2 rotations by multiples of 2 pi / N."""

    def __init__(self, rotations: Size) -> None:
        if rotations < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 rotations, got {rotations}. "
                "Try base_group=translation2."
            )
        self.rotations = rotations
        self.order = rotations * (2 if self.has_mirror else 1)


class Dihedral(Cyclic):
    """D_N, N >= 2 rotations and as many mirror images."""

    has_mirror = True


class SemidirectProduct(AffineGroup):
    """A planar group R^2 x| H with the stabiliser H: what group convolutions can be built for."""

    space_dim = 2
    stabiliser: Stabiliser


class DiscreteIsometries(SemidirectProduct):
    """R^2 x| C_N, or with mirror images R^2 x| D_N; N is `rotations`."""

    def __init__(self, rotations: Size = 8, mirror: bool = False) -> None:
        self.stabiliser = Dihedral(rotations) if mirror else Cyclic(rotations)

    def __repr__(self) -> str:
        return f"DiscreteIsometries({self.stabiliser})"


def evenly_spaced(count: int, offset: Tensor) -> Tensor:
    """Return u_i = (i + offset) / count - 1/2 in [-1/2, 1/2): offsets [*L] to [*L, count]."""
    steps = torch.arange(count, dtype=offset.dtype, device=offset.device)
    return (steps + offset.unsqueeze(-1)) / count - 0.5
