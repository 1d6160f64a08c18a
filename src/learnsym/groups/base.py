"""What a matrix Lie group is to the rest of the package."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class LieGroup:
    """A group of affine maps x -> L x + t of R^d, as matrices [d + 1, d + 1] of homogeneous
    coordinates.

    Elements of the identity component are exp(sum_i u_i G_i); a group that is not connected adds
    one matrix per component.

    Attributes:
        names: the generators' names, in order; coefficients u are always [..., n] in this order.
        units: per generator, "rad" for an angle and "" for a dimensionless coefficient.
        generators: [n, d + 1, d + 1] float64 on the CPU.
        components: [k, d + 1, d + 1], one element of every component, the identity first.
    """

    def __init__(
        self,
        generators: Mapping[str, Tensor],
        units: Sequence[str],
        components: Sequence[Tensor] = (),
    ) -> None:
        if len(units) != len(generators):
            raise ValueError(
                f"{len(generators)} generators ({', '.join(generators)}) but {len(units)} units"
            )
        self.names = tuple(generators)
        self.units = tuple(units)
        self.generators = torch.stack([g.to(torch.float64) for g in generators.values()])
        identity = torch.eye(self.generators.shape[-1], dtype=torch.float64)
        self.components = torch.stack([identity, *(c.to(torch.float64) for c in components)])
        self._on_device: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    @property
    def dim(self) -> int:
        """Dimension of the group: the number of its generators."""
        return len(self.names)

    @property
    def connected(self) -> bool:
        """Whether the exponentials reach every component."""
        return len(self.components) == 1

    def checked(self, u: Tensor) -> Tensor:
        """The coefficients themselves, if there is one for each generator."""
        if u.ndim == 0 or u.shape[-1] != self.dim:
            raise ValueError(
                f"{self} takes {self.dim} coefficients, one per generator; got {list(u.shape)}"
            )
        return u

    def algebra(self, u: Tensor) -> Tensor:
        """sum_i u_i G_i: [..., n] -> [..., d + 1, d + 1], in the dtype and on the device of u."""
        basis = self._basis(u.device, u.dtype)
        return (self.checked(u) @ basis).unflatten(-1, self.generators.shape[1:])

    @torch.inference_mode(False)  # what is kept from test time must serve in training too
    def _basis(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The generators as rows [n, (d + 1)^2], copied once: a copy in every step would make the
        host wait for the device.
        """
        if (device, dtype) not in self._on_device:
            self._on_device[device, dtype] = self.generators.to(device, dtype).flatten(1)
        return self._on_device[device, dtype]

    def exp(self, u: Tensor) -> Tensor:
        """exp(sum_i u_i G_i): [..., n] -> [..., d + 1, d + 1]. Any matrix group; subclasses know
        closed forms.
        """
        return torch.linalg.matrix_exp(self.algebra(u))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.names)})"
