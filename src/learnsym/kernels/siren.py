"""SIREN: a network of sines (Sitzmann et al., "Implicit neural representations with periodic
activation functions", 2020).
"""

from dataclasses import dataclass
from math import pi, sqrt
from typing import Literal

import torch
from torch import Tensor, nn

from learnsym.kernels.base import (
    ContinuousKernel,
    FirstLinear,
    KernelSpec,
    PointLinear,
    check_depth,
    pairs,
)
from learnsym.schema import Count, Positive, Size

Biases = Literal["zero", "uniform", "phase"]
"""How the biases of the sine layers start."""


class SirenKernel(ContinuousKernel):
    """z_1 = sin(omega0 (W_1 c + b_1)), z_k+1 = sin(omega0 (W_k+1 z_k + b_k+1)), k = A z + a.

    Initialisation: W_1 ~ U(-1/in, 1/in); all other weights, A too, ~ U(-sqrt(6/h)/omega0,
    sqrt(6/h)/omega0); a = 0; b as `biases` says. Then omega0 W_2 z_1 has variance 2 E[z_1^2] = 1,
    as the first sines cover whole periods; the deeper ones have 1 - exp(-2 v), where v is the
    variance before them: 0.86, 0.82, ... towards 0.80.

    Without biases k is odd: k(-c) = -k(c), and exactly 0 at c = 0, where the central tap of an
    element with itself lies.

    Args:
        space_dim: s.
        element_dim: d.
        out_channels: Cout.
        in_channels: Cin.
        hidden: h.
        layers: n, linear layers, the first and the last one included.
        omega0: the frequency, one for all layers.
        learn_omega0: make it a parameter.
        biases: of the sine layers at the start. "zero", as published for partial group
            convolutions; "uniform":
            U(-1/sqrt(in), 1/sqrt(in)), as Sitzmann et al. have it; "phase": omega0 b_1 uniform on
            the circle, the others zero.

    Parameters: (s + d) h + h + (n - 2) (h^2 + h) + (h + 1) Cout Cin, and one for omega0 where it is
        learned.
    """

    def __init__(
        self,
        space_dim: Count,
        element_dim: Count,
        out_channels: Size,
        in_channels: Size,
        hidden: Size,
        layers: Size,
        omega0: Positive,
        learn_omega0: bool,
        biases: Biases = "zero",
    ) -> None:
        super().__init__(space_dim, element_dim, out_channels, in_channels, hidden)
        self.omega0 = nn.Parameter(torch.tensor(float(omega0))) if learn_omega0 else float(omega0)
        self.first = FirstLinear(space_dim, element_dim, hidden)
        self.inner = nn.ModuleList(PointLinear(hidden, hidden) for _ in range(layers - 2))
        for linear in (self.first, *self.inner, self.head):
            bound = (
                1 / max(linear.in_features, 1)
                if linear is self.first
                else sqrt(6 / hidden) / omega0
            )
            nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(linear.bias)
        for linear in (self.first, *self.inner) if biases == "uniform" else ():
            bound = 1 / sqrt(max(linear.in_features, 1))
            nn.init.uniform_(linear.bias, -bound, bound)
        if biases == "phase":
            nn.init.uniform_(self.first.bias, -pi / omega0, pi / omega0)

    def features(self, space: Tensor, element: Tensor) -> Tensor:
        """[B, n_out, taps, s] and [B, n_out, n_in, d] to [B, h, n_out, n_in, taps]."""
        a, e = self.first.tables(space, element, self.omega0)
        z = pairs((a.sin(), a.cos()), (e.cos(), e.sin()))  # sin(a + e)
        for linear in self.inner:
            z = linear(z.flatten(2), self.omega0).view_as(z).sin()
        return z


@dataclass(frozen=True)
class SIREN(KernelSpec):
    """Kernels of sines, `SirenKernel`.

    Args:
        hidden: width of the network.
        layers: number of linear layers, the first and the last one included: at least 2.
        periodic: the convolution hands a relative angle over as (cos, sin).
        omega0: frequency of the sines; 10 or 30 in the paper.
        learn_omega0: let every kernel learn its own.
        biases: of the sine layers at the start, see `SirenKernel`.
        cut, scale: see `KernelSpec`.

    >>> sum(p.numel() for p in SIREN(hidden=32, layers=3).build(2, 1, 32, 32).parameters())
    34976
    """

    omega0: Positive = 10.0
    learn_omega0: bool = False
    biases: Biases = "phase"
    scale: Literal["response", "network"] = "network"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_depth(self.layers)
        if not self.omega0 > 0:
            raise ValueError(f"omega0={self.omega0}: a frequency above zero is wanted")

    def network(
        self,
        space_dim: Count,
        element_dim: Count,
        out_channels: Size,
        in_channels: Size,
        hidden: Size,
    ) -> SirenKernel:
        """A `SirenKernel` of this depth and frequency."""
        return SirenKernel(
            space_dim,
            element_dim,
            out_channels,
            in_channels,
            hidden,
            self.layers,
            self.omega0,
            self.learn_omega0,
            self.biases,
        )
