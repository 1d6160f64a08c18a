"""Define what a group is, and the matrix Lie groups.

| kind | elements | order | uniform samples |
| --- | --- | --- | --- |
| `LieGroup` | homogeneous matrices [..., d + 1, d + 1] | infinite | if compact |
| `SemidirectProduct`, R^2 x| H | homogeneous matrices [..., 3, 3] | infinite | no |
| `Stabiliser`, H in O(2) | `Elements`, a rotation and a sign | finite or not | yes |
| `PermutationGroup` | permutations of points [..., points] | finite | yes |
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import torch
from torch import Generator, Tensor

from learnsym.groups.matrix_exp import matrix_exp

ElementT = TypeVar("ElementT")


class Group(ABC, Generic[ElementT]):
    """A group, whose elements come in batches of one type; `order` is None if it is infinite."""

    order: int | None = None

    @abstractmethod
    def identity(self) -> ElementT:
        """Return the identity."""

    @abstractmethod
    def product(self, first: ElementT, second: ElementT) -> ElementT:
        """Return the products, of which `second` acts first, broadcast."""

    @abstractmethod
    def inverse(self, elements: ElementT) -> ElementT:
        """Return the inverse of every element."""

    def elements(self) -> ElementT:
        """Return all elements of a finite group, the identity first."""
        raise ValueError(f"{self} has infinitely many elements")

    def sample(self, count: int, generator: Generator | None = None) -> ElementT:
        """Draw independent elements, uniformly by Haar's measure; compact groups only."""
        raise ValueError(f"{self} has no uniform distribution. Try UniformLieAlgebra.")


class AffineGroup(Group[Tensor]):
    """A group of maps x -> L x + t of R^d, d = `space_dim`, as matrices [..., d + 1, d + 1]."""

    space_dim: int

    def identity(self) -> Tensor:
        """Return the identity [d + 1, d + 1], float64."""
        return torch.eye(self.space_dim + 1, dtype=torch.float64)

    def product(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the products of matrices, broadcast."""
        return first @ second

    def inverse(self, elements: Tensor) -> Tensor:
        """Return the inverse matrices."""
        return torch.linalg.inv(elements)


class LieGroup(AffineGroup):
    """A matrix Lie group: exp(sum_i u_i G_i), times one matrix for every component.

    Coefficients u are always [..., n], in the order of `names`; the attributes `generators`
    [n, d + 1, d + 1] and `components` (that of the identity first) are float64 on the CPU.

    Args:
        generators: G_i [d + 1, d + 1] by name, at least one.
        units: per generator, "rad" or "" (a dimensionless coefficient); None: "rad" for generators
            whose name starts with "rotation".
        components: one element of every component but that of the identity.
    """

    def __init__(
        self,
        generators: Mapping[str, Tensor],
        units: Sequence[str] | None = None,
        components: Sequence[Tensor] = (),
    ) -> None:
        if units is None:
            units = ["rad" if name.startswith("rotation") else "" for name in generators]
        if len(units) != len(generators):
            raise ValueError(
                f"Expected one unit per generator, got {len(units)} units for "
                f"{len(generators)} generators ({', '.join(generators)})."
            )
        self.names, self.units = tuple(generators), tuple(units)
        self.generators = torch.stack([g.to(torch.float64) for g in generators.values()])
        self.space_dim = self.generators.shape[-1] - 1
        self.components = torch.stack([self.identity(), *(c.to(torch.float64) for c in components)])
        self._on_device: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    @property
    def dim(self) -> int:
        """Dimension of the group: the number of its generators."""
        return len(self.names)

    @property
    def connected(self) -> bool:
        """Whether the group has one component."""
        return len(self.components) == 1

    def checked(self, u: Tensor) -> Tensor:
        """Return the coefficients, or raise ValueError unless there is one per generator."""
        if u.ndim == 0 or u.shape[-1] != self.dim:
            raise ValueError(
                f"{self} takes {self.dim} coefficients, one per generator; got {list(u.shape)}"
            )
        return u

    def algebra(self, u: Tensor) -> Tensor:
        """Map coefficients [..., n] to sum_i u_i G_i [..., d + 1, d + 1]."""
        basis = self._basis(u.device, u.dtype)
        return (self.checked(u) @ basis).unflatten(-1, self.generators.shape[1:])

    @torch.inference_mode(False)  # what is kept from test time must serve in training too
    def _basis(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return the generators [n, (d + 1)^2], copied once so that no step waits for a device."""
        if (device, dtype) not in self._on_device:
            self._on_device[device, dtype] = self.generators.to(device, dtype).flatten(1)
        return self._on_device[device, dtype]

    def exp(self, u: Tensor) -> Tensor:
        """Return exponentials of `algebra(u)`, by `matrix_exp` or a subclass's closed form."""
        return matrix_exp(self.algebra(u))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.names)})"


class TranslationGroup(LieGroup):
    """T(d), the translations of R^d by `translation_scale` per unit of a coefficient."""

    def __init__(self, space_dim: int, translation_scale: float) -> None:
        super().__init__(translation_generators(space_dim, translation_scale))
        self.translation_scale = translation_scale

    def exp(self, u: Tensor) -> Tensor:
        """Map coefficients [..., d] to translations [..., d + 1, d + 1]."""
        linear = torch.eye(self.space_dim, device=u.device, dtype=u.dtype)
        shift = self.translation_scale * self.checked(u)
        return homogeneous(linear.expand(*u.shape, self.space_dim), shift)

    def log(self, elements: Tensor) -> Tensor:
        """Map translations [..., d + 1, d + 1] to coefficients [..., d]; inverse of `exp`."""
        return elements[..., :-1, -1] / self.translation_scale


def translation_generators(space_dim: int, scale: float) -> dict[str, Tensor]:
    """Return translation_x, _y, _z: `scale` units of length per unit of the coefficient."""
    if not scale > 0:
        raise ValueError(f"translation_scale must be above 0, got {scale}")
    generators = torch.zeros(space_dim, space_dim + 1, space_dim + 1, dtype=torch.float64)
    generators[:, :-1, -1] = scale * torch.eye(space_dim, dtype=torch.float64)
    return {f"translation_{axis}": g for axis, g in zip("xyz", generators, strict=False)}


def homogeneous(linear: Tensor, shift: Tensor | None = None) -> Tensor:
    """Return the matrices [..., d + 1, d + 1] of the maps x -> L x + t, without a shift t = 0.

    >>> homogeneous(torch.eye(2), torch.tensor([3.0, 4.0])).tolist()
    [[1.0, 0.0, 3.0], [0.0, 1.0, 4.0], [0.0, 0.0, 1.0]]
    """
    if shift is None:
        shift = torch.zeros_like(linear[..., 0])
    rows = torch.cat([linear, shift.unsqueeze(-1)], -1)
    last = torch.zeros_like(rows[..., :1, :])
    last[..., -1] = 1
    return torch.cat([rows, last], -2)
