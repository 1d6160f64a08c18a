"""Kernels that are multilayer perceptrons with piecewise linear or smooth activations."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.kernels.base import ContinuousKernel, Depth, KernelSpec
from learnsym.kernels.linear import ChannelsFirstLinear, KernelShape, PairLinear, outer_sum

# Activation, and 1 / E[activation(u)^2] for u ~ N(0, 1): weights of that variance over fan-in keep
# second moments (He et al.). The rectifiers work in place: nothing before them needs their input
# again.
_ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "relu": (partial(F.relu, inplace=True), 2.0),
    "leaky_relu": (partial(F.leaky_relu, inplace=True), 2 / (1 + 0.01**2)),
    "swish": (F.silu, 1 / 0.355772),
}


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of every point: [B, C, points] to the same."""

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z.mT).mT


_NORMS = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": _ChannelNorm}


class MlpKernel(ContinuousKernel):
    """z_k+1 = activation(norm(W_k z_k + b_k)), k = A z + a.

    Initialisation: W ~ U(+-sqrt(3 g / fan_in)) with g = 1 / E[activation(u)^2], so that E[(W z)^2]
    does not change from layer to layer (for swish: where it is 1); b ~ U(+-1/sqrt(fan_in)), which
    puts kinks away from the origin; A as PyTorch has it, a = 0. Parameters: (s + d) h + h +
    (n - 2) (h^2 + h) + (h + 1) Cout Cin, and 2 h (n - 1) for either norm.
    """

    def __init__(self, shape: KernelShape, spec: "MLP") -> None:
        super().__init__(shape)
        if spec.norm == "batch" and shape.coordinates == 0:
            raise ValueError(
                "norm=batch: a kernel of no coordinates has one value a channel, and no "
                "statistics; take none or layer"
            )
        h = shape.hidden
        self.activation, gain = _ACTIVATIONS[spec.activation]
        self.first = PairLinear(shape)
        self.inner = nn.ModuleList(ChannelsFirstLinear(h, h) for _ in range(spec.layers - 2))
        self.norms = nn.ModuleList(_NORMS[spec.norm](h) for _ in range(spec.layers - 1))
        for linear in (self.first, *self.inner):
            bound = sqrt(3 * gain / max(linear.in_features, 1))
            nn.init.uniform_(linear.weight, -bound, bound)

    def features(self, space: Tensor, element: Tensor) -> Tensor:
        """Map [B, n_out, taps, s] and [B, n_out, n_in, d] to [B, h, n_out, n_in, taps]."""
        a, e = self.first.tables(space, element)
        u = outer_sum((a, a.new_ones(()).expand_as(a)), (e.new_ones(()).expand_as(e), e))  # a + e
        z = self.activation(self.norms[0](u.flatten(2)))
        for linear, norm in zip(self.inner, self.norms[1:], strict=True):
            z = self.activation(norm(linear(z)))
        return z.view(u.shape)


@dataclass(frozen=True)
class MLP(KernelSpec):
    """Kernels with rectifiers or swish, `MlpKernel`.

    Args:
        layers: number of linear layers, the first and the last one included.
        activation: relu, leaky_relu (slope 0.01) or swish (u sigmoid(u)).
        norm: before every activation: none; batch (each channel over all points of all images) or
            layer (the channels of each point), both affine.
    """

    layers: Depth = 3
    activation: Literal["relu", "leaky_relu", "swish"] = "relu"
    norm: Literal["none", "batch", "layer"] = "none"

    def network(self, shape: KernelShape) -> MlpKernel:
        """Build an `MlpKernel`."""
        return MlpKernel(shape, self)
