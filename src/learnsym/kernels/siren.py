"""SIREN kernels, networks of sines.

Sitzmann et al., "Implicit neural representations with periodic activation functions", 2020.
"""

from dataclasses import dataclass
from math import pi, sqrt
from typing import Literal

import torch
from torch import Tensor, nn

from learnsym.kernels.base import ContinuousKernel, Depth, KernelSpec
from learnsym.kernels.linear import ChannelsFirstLinear, KernelShape, PairLinear, outer_sum
from learnsym.schema import Positive


class SirenKernel(ContinuousKernel):
    """z_1 = sin(omega0 (W_1 c + b_1)), z_k+1 = sin(omega0 (W_k+1 z_k + b_k+1)), k = A z + a.

    Initialisation: W_1 ~ U(-1/in, 1/in); all other weights, A too, ~ U(-sqrt(6/h)/omega0,
    sqrt(6/h)/omega0); a = 0; b as `biases` says. Then omega0 W_2 z_1 has variance 2 E[z_1^2] = 1,
    as the first sines cover whole periods; the deeper ones have 1 - exp(-2 v), where v is the
    variance before them: 0.86, 0.82, ... towards 0.80. Parameters: (s + d) h + h + (n - 2)
    (h^2 + h) + (h + 1) Cout Cin, and one for omega0 where it is learned.

    Without biases k is odd: k(-c) = -k(c), and exactly 0 at c = 0, where the central tap of an
    element with itself lies.
    """

    def __init__(self, shape: KernelShape, spec: "SIREN") -> None:
        super().__init__(shape)
        h, omega0 = shape.hidden, float(spec.omega0)
        self.omega0 = nn.Parameter(torch.tensor(omega0)) if spec.learn_omega0 else omega0
        self.first = PairLinear(shape)
        self.inner = nn.ModuleList(ChannelsFirstLinear(h, h) for _ in range(spec.layers - 2))
        first_bound = 1 / max(shape.coordinates, 1)
        for linear in (self.first, *self.inner, self.head):
            bound = first_bound if linear is self.first else sqrt(6 / h) / omega0
            nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(linear.bias)
        if spec.biases == "uniform":
            for linear in (self.first, *self.inner):
                bound = 1 / sqrt(max(linear.in_features, 1))
                nn.init.uniform_(linear.bias, -bound, bound)
        elif spec.biases == "phase":
            nn.init.uniform_(self.first.bias, -pi / omega0, pi / omega0)

    def features(self, space: Tensor, element: Tensor) -> Tensor:
        """Map [B, n_out, taps, s] and [B, n_out, n_in, d] to [B, h, n_out, n_in, taps]."""
        a, e = self.first.tables(space, element, self.omega0)
        z = outer_sum((a.sin(), a.cos()), (e.cos(), e.sin()))  # sin(a + e)
        for linear in self.inner:
            z = linear(z.flatten(2), self.omega0).view_as(z).sin()
        return z


@dataclass(frozen=True)
class SIREN(KernelSpec):
    """Kernels of sines, `SirenKernel`.

    Args:
        layers: number of linear layers, the first and the last one included.
        omega0: frequency of the sines; 10 or 30 in the paper.
        learn_omega0: let every kernel learn it.
        biases: of the sine layers at the start. "zero", as published for partial group
            convolutions; "uniform": U(-1/sqrt(in), 1/sqrt(in)), as Sitzmann et al. have it;
            "phase": omega0 b_1 uniform on the circle, the others zero.
    """

    layers: Depth = 3
    omega0: Positive = 10.0
    learn_omega0: bool = False
    biases: Literal["zero", "uniform", "phase"] = "phase"
    scale: Literal["response", "network"] = "network"

    def network(self, shape: KernelShape) -> SirenKernel:
        """Build a `SirenKernel`."""
        return SirenKernel(shape, self)
