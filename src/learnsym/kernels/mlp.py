"""Kernels that are multilayer perceptrons with piecewise linear or smooth activations."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.kernels.base import (
    ContinuousKernel,
    FirstLinear,
    KernelSpec,
    PointLinear,
    check_depth,
    pairs,
)
from learnsym.schema import Count, Size

SLOPE = 0.01
# Activation, and 1 / E[activation(u)^2] for u ~ N(0, 1): weights of that variance over fan-in keep
# second moments (He et al.). The rectifiers work in place: nothing before them needs their input
# again.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "relu": (partial(F.relu, inplace=True), 2.0),
    "leaky_relu": (partial(F.leaky_relu, negative_slope=SLOPE, inplace=True), 2 / (1 + SLOPE**2)),
    "swish": (F.silu, 1 / 0.355772),
}


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of every point: [B, C, points] to the same."""

    def forward(self, z: Tensor) -> Tensor:
        """[B, C, points] to [B, C, points]."""
        return super().forward(z.mT).mT


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda hidden: nn.Identity(),
    "batch": nn.BatchNorm1d,
    "layer": ChannelNorm,
}


class MlpKernel(ContinuousKernel):
    """z_k+1 = activation(norm(W_k z_k + b_k)), k = A z + a.

    Initialisation: W ~ U(+-sqrt(3 g / fan_in)) with g = 1 / E[activation(u)^2], so that E[(W z)^2]
    does not change from layer to layer (for swish: where it is 1); b ~ U(+-1/sqrt(fan_in)), which
    puts kinks away from the origin; A as PyTorch has it, a = 0.

    Args:
        space_dim: s.
        element_dim: d.
        out_channels: Cout.
        in_channels: Cin.
        hidden: h.
        layers: n, linear layers, the first and the last one included.
        activation: relu, leaky_relu (slope 0.01) or swish (u sigmoid(u)).
        norm: none; batch (each channel over all points of all images) or layer (the channels of
            each point), both affine.

    Parameters: (s + d) h + h + (n - 2) (h^2 + h) + (h + 1) Cout Cin, and 2 h (n - 1) for either
        norm.
    """

    def __init__(
        self,
        space_dim: Count,
        element_dim: Count,
        out_channels: Size,
        in_channels: Size,
        hidden: Size,
        layers: Size,
        activation: Literal["relu", "leaky_relu", "swish"],
        norm: Literal["none", "batch", "layer"],
    ) -> None:
        super().__init__(space_dim, element_dim, out_channels, in_channels, hidden)
        if norm == "batch" and space_dim + element_dim == 0:
            raise ValueError(
                "norm=batch: a kernel of no coordinates has one value a channel, and no statistics; take none or layer"
            )
        self.activation, gain = ACTIVATIONS[activation]
        self.first = FirstLinear(space_dim, element_dim, hidden)
        self.inner = nn.ModuleList(PointLinear(hidden, hidden) for _ in range(layers - 2))
        self.norms = nn.ModuleList(NORMS[norm](hidden) for _ in range(layers - 1))
        for linear in (self.first, *self.inner):
            bound = sqrt(3 * gain / max(linear.in_features, 1))
            nn.init.uniform_(linear.weight, -bound, bound)

    def features(self, space: Tensor, element: Tensor) -> Tensor:
        """[B, n_out, taps, s] and [B, n_out, n_in, d] to [B, h, n_out, n_in, taps]."""
        a, e = self.first.tables(space, element)
        u = pairs((a, a.new_ones(()).expand_as(a)), (e.new_ones(()).expand_as(e), e))  # a + e
        shape = u.shape
        z = self.activation(self.norms[0](u.flatten(2)))
        for linear, norm in zip(self.inner, self.norms[1:], strict=True):
            z = self.activation(norm(linear(z)))
        return z.view(shape)


@dataclass(frozen=True)
class MLP(KernelSpec):
    """Kernels with rectifiers or swish, `MlpKernel`.

    Args:
        hidden: width of the network.
        layers: number of linear layers, the first and the last one included: at least 2.
        periodic: the convolution hands a relative angle over as (cos, sin).
        activation: relu, leaky_relu or swish.
        norm: none, batch or layer normalisation before every activation.
    """

    activation: Literal["relu", "leaky_relu", "swish"] = "relu"
    norm: Literal["none", "batch", "layer"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_depth(self.layers)
        for name, choice, valid in (
            ("activation", self.activation, ACTIVATIONS),
            ("norm", self.norm, NORMS),
        ):
            if choice not in valid:
                raise ValueError(f"{name}={choice}: valid are {', '.join(valid)}")

    def network(
        self,
        space_dim: Count,
        element_dim: Count,
        out_channels: Size,
        in_channels: Size,
        hidden: Size,
    ) -> MlpKernel:
        """An `MlpKernel` of this depth, activation and normalisation."""
        return MlpKernel(
            space_dim,
            element_dim,
            out_channels,
            in_channels,
            hidden,
            self.layers,
            self.activation,
            self.norm,
        )
