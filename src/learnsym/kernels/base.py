"""Define continuous kernels: small networks of coordinates whose values are weights.

A kernel k(x, e) in R^(Cout x Cin) is a small network of a spatial coordinate x and of the
coordinates e of a relative group element (Romero and Lohit, "Learning partial equivariances from
data", 2022). A convolution evaluates it at all pairs of a point (output element i, tap) and a point
(output element i, input element j), see `learnsym.kernels.linear`.
"""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import pi, sqrt
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from learnsym.kernels.linear import ChannelsFirstLinear, KernelShape, check_fields
from learnsym.schema import AngleCut, Count, Positive, Size

Depth = Annotated[int, Ge(2)]
"""A number of layers with a first and a last one."""


class ContinuousKernel(nn.Module, ABC):
    """k(x, e) = A f(x, e) + a, with features f in R^hidden that a subclass gives."""

    gain: Tensor

    def __init__(self, shape: KernelShape) -> None:
        super().__init__()
        self.shape = shape
        self.head = ChannelsFirstLinear(shape.hidden, shape.out_channels * shape.in_channels)
        self.register_buffer("gain", torch.ones(()))  # of the whole kernel, see `scale_head`
        nn.init.zeros_(self.head.bias)  # a constant kernel blurs

    @abstractmethod
    def features(self, space: Tensor, element: Tensor) -> Tensor:
        """Map [B, n_out, taps, s] and [B, n_out, n_in, d] to [B, hidden, n_out, n_in, taps]."""

    def forward(self, space: Tensor, element: Tensor) -> Tensor:
        """Return the weights of a convolution, [*L, Cout, n_out, Cin, n_in, taps].

        Coordinates are [*L, n_out, taps, s] and [*L, n_out, n_in, d]. L = () for sample sets that a
        batch shares; (B,) for one set per image, with contiguous weights.
        """
        self._check(space, element)
        shared = space.dim() == 3
        if shared:
            space, element = space[None], element[None]
        z = self.features(space, element)
        channels = self.shape.out_channels, self.shape.in_channels
        k = self.head(z.flatten(2), self.gain).view(z.shape[0], *channels, *z.shape[2:])
        k = k.transpose(2, 3)
        # A shared kernel stays a view, read in one pass by what lays it out for a conv2d. (Not
        # k[0]: its gradient is a copy.)
        return k.squeeze(0) if shared else k.contiguous()

    def contract(self, patches: Tensor, space: Tensor, element: Tensor) -> Tensor:
        """Return the sum over c, j, t of k[., i, c, j, t] patches[., c, j, t], without k itself.

        k = A f + a is linear in the features f, of which there are few (hidden) for all pairs of
        channels: where an output has few pixels, summing over elements and taps first costs less
        than writing k down, and much less memory. [M, Cin, n_in, taps] and a shared set, as in
        `forward`, to [M, Cout, n_out].
        """
        self._check(space, element)
        with torch.autocast(space.device.type, enabled=False):
            f = self.features(space[None], element[None])[0]  # [h, n_out, n_in, taps]
            scaled = (p * self.gain for p in (self.head.weight, self.head.bias))
            weight, bias = (p.view(self.shape.out_channels, -1) for p in scaled)  # [Cout, Cin * h]
        sums = patches.flatten(2) @ f.flatten(2).permute(2, 1, 0).flatten(1)  # [M, Cin, n_out * h]
        sums = sums.unflatten(2, (f.shape[1], -1)).transpose(1, 2).flatten(2)  # [M, n_out, Cin * h]
        of_bias = patches.sum((2, 3)) @ bias.t()
        return (sums @ weight.t() + of_bias.unsqueeze(1)).transpose(1, 2)

    def _check(self, space: Tensor, element: Tensor) -> None:
        s, d = self.shape.space_dim, self.shape.element_dim
        same_sets = space.shape[:-2] == element.shape[:-2] and space.dim() in (3, 4)
        if not same_sets or (space.shape[-1], element.shape[-1]) != (s, d):
            raise ValueError(
                f"a kernel of {s} spatial and {d} element coordinates takes "
                f"[*L, n_out, taps, {s}] and [*L, n_out, n_in, {d}], and got "
                f"{list(space.shape)} and {list(element.shape)}"
            )

    @torch.no_grad()
    def scale_head(self, fan_in: Positive, periodic: bool = False) -> None:
        """Set the gain so that responses to inputs of unit variance have unit variance.

        The mean square of k over the points of `probe` and over all pairs of channels becomes 1 /
        fan_in, where fan_in = Cin * n_in * taps: measured for the parameters as drawn, in float64,
        without drawing anything. It is a constant, not smaller weights: an optimiser's step is then
        the same fraction of the weights whatever the fan-in. Without coordinates k is one constant
        matrix: its bias alone, drawn from U(-sqrt(3 / fan_in), sqrt(3 / fan_in)).
        """
        if self.shape.coordinates == 0:
            nn.init.zeros_(self.head.weight)
            nn.init.uniform_(self.head.bias, -sqrt(3), sqrt(3))
            self.gain.fill_(fan_in**-0.5)
            return
        exact = copy.deepcopy(self).double()  # batch normalisation must not remember the probe
        points = probe(self.shape.space_dim, self.shape.element_dim, periodic, self.gain.device)
        f = exact.features(*points).flatten(2)[0]
        f = torch.cat((f, torch.ones_like(f[:1])))
        weights = torch.cat((exact.head.weight, exact.head.bias[:, None]), 1)
        # Mean over channels and points of (A f)^2, by the moments of f: A f itself would be as
        # large as the whole kernel.
        mean_square = ((weights @ (f @ f.T / f.shape[1])) * weights).sum(1).mean()
        self.gain.fill_((mean_square * fan_in).rsqrt().item())

    def extra_repr(self) -> str:
        """Show coordinates and channels in print(network)."""
        s = self.shape
        return f"({s.space_dim} + {s.element_dim}) -> {s.out_channels} x {s.in_channels}"


def probe(
    space_dim: Count, element_dim: Count, periodic: bool, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Return the points [1, 1, taps, s] and [1, 1, n_in, d] on which the first scale is measured.

    They are a 7 x 7 grid within the unit disc, with 8 angles; further element coordinates
    (reflections) are -1 and 1. If `periodic`, an angle is two coordinates, its cosine and sine.
    """
    axis = torch.linspace(-1, 1, 7, dtype=torch.float64, device=device)
    space = _grid([axis] * space_dim, axis)
    space = space[space.square().sum(-1) <= 1 + 1e-9]
    turns = axis.new_tensor([i / 4 - 1 for i in range(8)])
    angular = 2 if periodic and element_dim >= 2 else min(element_dim, 1)
    element = _grid([turns] * min(angular, 1) + [axis[[0, -1]]] * (element_dim - angular), axis)
    if angular == 2:
        angle = pi * element[:, :1]
        element = torch.cat((angle.cos(), angle.sin(), element[:, 1:]), 1)
    return space[None, None], element[None, None]


def _grid(axes: list[Tensor], axis: Tensor) -> Tensor:
    """Return [points, len(axes)]; one point of no coordinates for no axes."""
    return torch.cartesian_prod(*axes).view(-1, len(axes)) if axes else axis.new_zeros(1, 0)


@dataclass(frozen=True)
class KernelSpec(ABC):
    """The type and settings of kernel networks, of which every convolution builds one.

    Args:
        hidden: width of the network.
        layers: depth, as each type counts it.
        periodic: the convolution hands a relative angle over as (cos, sin), so that the kernel is
            continuous on the circle.
        cut: where the angle, if it is not periodic, jumps from 1 to -1: at the half turn, with the
            identity at 0, or at the identity, in the middle of every learned arc, as published.
        scale: at the start. "response": responses to inputs of unit variance have unit variance,
            see `ContinuousKernel.scale_head`; "network": that of the network's first weights, as
            published. Where a norm follows it matters for shortcuts alone, whose size beside the
            residual it decides.
    """

    hidden: Size = 32
    layers: Size = 3
    periodic: bool = False
    cut: AngleCut = "half_turn"
    scale: Literal["response", "network"] = "response"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.periodic and self.cut != "half_turn":
            raise ValueError(
                f"cut={self.cut} has no effect with periodic=true, which has no cut: "
                "set it to half_turn"
            )

    def build(
        self,
        space_dim: Count,
        element_dim: Count,
        out_channels: Size,
        in_channels: Size,
        hidden: Size | None = None,
        fan_in: Positive | None = None,
    ) -> ContinuousKernel:
        """Build a kernel network of these sizes (see `KernelShape`) with fresh parameters.

        `hidden` stands for the spec's width, and scale="response" starts from `fan_in`, Cin * n_in
        * taps; None keeps the scale of the network's first weights. A kernel of no coordinates, one
        constant matrix, always starts from it.
        """
        if fan_in is not None and not fan_in > 0:
            raise ValueError(f"fan_in={fan_in}: expected a number above zero")
        width = self.hidden if hidden is None else hidden
        shape = KernelShape(space_dim, element_dim, out_channels, in_channels, width)
        kernel = self.network(shape)
        if fan_in is not None and (self.scale == "response" or shape.coordinates == 0):
            kernel.scale_head(fan_in, self.periodic)
        return kernel

    @abstractmethod
    def network(self, shape: KernelShape) -> ContinuousKernel:
        """Build a network of this type at the scale of its initialisation."""
