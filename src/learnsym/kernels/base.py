"""What every continuous kernel shares: the split of its coordinates, the last layer, and the scale
it starts with.

A kernel k(x, e) in R^(Cout x Cin) is a small network of a spatial coordinate x and of the
coordinates e of a relative group element (Romero and Lohit, "Learning partial equivariances from
data", 2022). A convolution evaluates it at all pairs of a point (output element i, tap) and a point
(output element i, input element j). So the first layer is computed on two small tables, and `pairs`
makes the large tensor of them; coordinates are never concatenated.
"""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import pi, sqrt
from typing import Literal

import torch
from torch import Tensor, nn

from learnsym.schema import AngleCut, Count, Positive, Size


def pairs(space: tuple[Tensor, Tensor], element: tuple[Tensor, Tensor]) -> Tensor:
    """The sum of two products over all pairs of points: space[0] element[0] + space[1] element[1].

    The sum a + e is (a, 1), (1, e); its sine is (sin a, cos a), (cos e, sin e). As a matrix product
    it takes a fifth of the time of broadcasting (2 against 11 ms on two cores, forward and
    backward, for 64 images of 8 x 8 elements, 29 taps and 32 channels), and the backward pass makes
    nothing of the size of the result.

    Args:
        space: two tables [..., taps].
        element: two tables [..., n_in].

    Shape: [..., n_in, taps].
    """
    return torch.stack(element, -1) @ torch.stack(space, -2)


def channels_first(points: Tensor) -> Tensor:
    """[B, ..., c] to [B, c, points]."""
    return points.movedim(-1, 1).flatten(2)


class PointLinear(nn.Linear):
    """The linear map y = W z + b of channels that come before points: [B, in, points] to [B, out,
    points].

    Channels come first because the weights of a convolution do: its last layer then needs one copy
        of whole rows (17 instead of
    53 ms for 64 images of 10 x 10 channels). Weights and biases start as U(-1/sqrt(in),
    1/sqrt(in)), PyTorch's default.
    """

    def reset_parameters(self) -> None:
        """PyTorch's own, but silent about maps of no channels (a pointwise convolution without
        group coordinates).
        """
        bound = 1 / sqrt(max(self.in_features, 1))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, z: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """[B, in, points] to [B, out, points], times `scale` (on the weights: they are fewer than
        the points).
        """
        weight, bias = _times(self.weight, scale), _times(self.bias, scale)
        return torch.baddbmm(bias[:, None], weight.expand(z.shape[0], -1, -1), z)


def _times(parameter: Tensor, scale: float | Tensor) -> Tensor:
    return parameter if isinstance(scale, float) and scale == 1 else parameter * scale


class FirstLinear(PointLinear):
    """The first layer, W [x; e] + b = (W_x x + b) + W_e e, as its two tables.

    Args:
        space_dim: s.
        element_dim: d.
        out_features: h.
    """

    def __init__(self, space_dim: Count, element_dim: Count, out_features: Size) -> None:
        super().__init__(space_dim + element_dim, out_features)
        self.space_dim = space_dim

    def tables(
        self, space: Tensor, element: Tensor, scale: float | Tensor = 1.0
    ) -> tuple[Tensor, Tensor]:
        """[B, n_out, taps, s] and [B, n_out, n_in, d] to [B, h, n_out, taps] and [B, h, n_out,
        n_in].
        """
        batch = space.shape[0]
        weight, bias = _times(self.weight, scale), _times(self.bias, scale)
        of_space = weight[:, : self.space_dim].expand(batch, -1, -1)
        of_element = weight[:, self.space_dim :].expand(batch, -1, -1)
        a = torch.baddbmm(bias[:, None], of_space, channels_first(space))
        e = torch.bmm(of_element, channels_first(element))
        return a.unflatten(2, space.shape[1:3]), e.unflatten(2, element.shape[1:3])


class ContinuousKernel(nn.Module, ABC):
    """k(x, e) = A f(x, e) + a, with features f in R^hidden that a subclass gives, at all pairs of
    points of a convolution.

    Args:
        space_dim: s, coordinates of a point of the plane; 0 for a pointwise convolution.
        element_dim: d, coordinates of a relative group element; 0 for a kernel of space alone.
        out_channels: Cout.
        in_channels: Cin.
        hidden: width of the network.
    """

    def __init__(
        self,
        space_dim: Count,
        element_dim: Count,
        out_channels: Size,
        in_channels: Size,
        hidden: Size,
    ) -> None:
        super().__init__()
        _check_sizes(space_dim=space_dim, element_dim=element_dim, at_least=0)
        _check_sizes(out_channels=out_channels, in_channels=in_channels, hidden=hidden, at_least=1)
        self.space_dim, self.element_dim = space_dim, element_dim
        self.out_channels, self.in_channels = out_channels, in_channels
        self.head = PointLinear(hidden, out_channels * in_channels)
        self.register_buffer("gain", torch.ones(()))  # of the whole kernel, see `scale_head`
        nn.init.zeros_(
            self.head.bias
        )  # a constant in every kernel would be a blur that nobody asked for

    @abstractmethod
    def features(self, space: Tensor, element: Tensor) -> Tensor:
        """[B, n_out, taps, s] and [B, n_out, n_in, d] to [B, hidden, n_out, n_in, taps]."""

    def forward(self, space: Tensor, element: Tensor) -> Tensor:
        """The weights of a convolution.

        Args:
            space: [*L, n_out, taps, s], L = () for sample sets that a batch shares, (B,) for one
                set per image.
            element: [*L, n_out, n_in, d].

        Shape: [*L, Cout, n_out, Cin, n_in, taps]; with sets per image contiguous.
        """
        self._check(space, element)
        shared = space.dim() == 3
        if shared:
            space, element = space[None], element[None]
        z = self.features(space, element)
        k = self.head(z.flatten(2), self.gain).view(
            z.shape[0], self.out_channels, self.in_channels, *z.shape[2:]
        )
        k = k.transpose(2, 3)
        # A shared kernel stays a view: what lays it out for a conv2d reads it in one pass. (Not
        # k[0]: its gradient is a copy.)
        return k.squeeze(0) if shared else k.contiguous()

    def contracted(self, seen: Tensor, space: Tensor, element: Tensor) -> Tensor:
        """Sum over c, j, t of k[., i, c, j, t] seen[., c, j, t], without the kernel itself.

        k = A f + a is linear in the features f, of which there are few (hidden) for all pairs of
        channels: where an output has few pixels, summing over elements and taps first costs less
            than writing k down, and much less memory.

        Args:
            seen: inputs under the taps, [M, Cin, n_in, taps].
            space, element: as in `forward`, for a shared set.

        Shape: [M, Cout, n_out].
        """
        self._check(space, element)
        with torch.autocast(space.device.type, enabled=False):
            f = self.features(space[None], element[None])[0]  # [h, n_out, n_in, taps]
            weight = (self.head.weight * self.gain).view(self.out_channels, -1)  # [Cout, Cin * h]
            bias = (self.head.bias * self.gain).view(self.out_channels, -1)
        sums = seen.flatten(2) @ f.flatten(2).permute(2, 1, 0).flatten(1)  # [M, Cin, n_out * h]
        sums = sums.unflatten(2, (f.shape[1], -1)).transpose(1, 2).flatten(2)  # [M, n_out, Cin * h]
        of_bias = seen.sum((2, 3)) @ bias.t()
        return (sums @ weight.t() + of_bias.unsqueeze(1)).transpose(1, 2)

    def _check(self, space: Tensor, element: Tensor) -> None:
        wanted = (self.space_dim, self.element_dim)
        if (
            space.dim() not in (3, 4)
            or (space.shape[-1], element.shape[-1]) != wanted
            or space.shape[:-2] != element.shape[:-2]
        ):
            raise ValueError(
                f"a kernel of {wanted[0]} spatial and {wanted[1]} element coordinates takes [*L, n_out, taps, {wanted[0]}] and "
                f"[*L, n_out, n_in, {wanted[1]}], and got {list(space.shape)} and {list(element.shape)}"
            )

    @torch.no_grad()
    def scale_head(self, fan_in: Positive, periodic: bool = False) -> None:
        """Set the gain so that a sum over `fan_in` independent inputs of unit variance has unit
        variance.

        A constant, not smaller weights: an optimiser's step is then the same fraction of the
        weights whatever the fan-in.

        The mean square of k over the points of `probe` and over all pairs of channels becomes 1 /
        fan_in: measured for the parameters as drawn, in float64, without drawing anything. Without
        coordinates k is one constant matrix: its bias alone, drawn from U(-sqrt(3 / fan_in), sqrt(3
        / fan_in)).

        Args:
            fan_in: Cin * n_in * taps.
            periodic: the first two element coordinates are the cosine and sine of an angle.
        """
        _check_fan_in(fan_in)
        if self.space_dim + self.element_dim == 0:
            nn.init.zeros_(self.head.weight)
            nn.init.uniform_(self.head.bias, -sqrt(3), sqrt(3))
            self.gain.fill_(fan_in**-0.5)
            return
        twin = copy.deepcopy(
            self
        ).double()  # a copy: batch normalisation must not remember the probe
        f = twin.features(
            *probe(self.space_dim, self.element_dim, periodic, self.head.weight.device)
        ).flatten(2)[0]
        f = torch.cat((f, torch.ones_like(f[:1])))
        weights = torch.cat((twin.head.weight, twin.head.bias[:, None]), 1)
        # mean over channels and points of (A f)^2, by the moments of f: A f itself would be as
        # large as the whole kernel
        mean_square = ((weights @ (f @ f.T / f.shape[1])) * weights).sum(1).mean()
        factor = (mean_square * fan_in).rsqrt().item()
        self.gain.fill_(factor)

    def extra_repr(self) -> str:
        """Coordinates and channels, for print(network)."""
        return (
            f"({self.space_dim} + {self.element_dim}) -> {self.out_channels} x {self.in_channels}"
        )


def probe(
    space_dim: Count, element_dim: Count, periodic: bool, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """The fixed points on which the initial scale is measured: a 7 x 7 grid within the unit disc,
    with 8 angles.

    Further element coordinates (reflections) are -1 and 1. Float64, [1, 1, taps, s] and [1, 1,
    n_in, d].
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


def _grid(axes: list[Tensor], like: Tensor) -> Tensor:
    """[points, len(axes)]; one point of no coordinates for no axes."""
    return (
        torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
        if axes
        else like.new_zeros(1, 0)
    )


def _check_sizes(at_least: int, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < at_least:
            raise ValueError(f"{name}={size}: a kernel wants at least {at_least}")


def _check_fan_in(fan_in: float) -> None:
    if not fan_in > 0:
        raise ValueError(f"fan_in={fan_in}: a response sums over at least one input")


def check_depth(layers: int) -> None:
    """A first and a last linear layer are the least that a network of coordinates has."""
    if layers < 2:
        raise ValueError(f"layers={layers}: the first and the last linear layer make at least 2")


@dataclass(frozen=True)
class KernelSpec(ABC):
    """What a configuration names: a kind of kernel network, of which every convolution builds its
    own.

    Args:
        hidden: width of the network.
        layers: depth, as each kind counts it.
        periodic: the convolution hands a relative angle over as (cos, sin), so that the kernel is
            continuous on the circle.
        cut: where the angle, if it is not periodic, jumps from 1 to -1: at the half turn, with the
            identity at 0, or at the identity, in the middle of every learned arc, as published.
        scale: at the start. "response": responses to inputs of unit variance have unit variance,
            see `ContinuousKernel.scale_head`; "network": that of the network's own first weights,
            as published. Where a norm follows it matters for shortcuts alone, whose size beside the
            residual it decides.
    """

    hidden: Size = 32
    layers: Size = 3
    periodic: bool = False
    cut: AngleCut = "half_turn"
    scale: Literal["response", "network"] = "response"

    def __post_init__(self) -> None:
        _check_sizes(hidden=self.hidden, layers=self.layers, at_least=1)
        if self.periodic and self.cut != "half_turn":
            raise ValueError(
                f"cut={self.cut} has no effect with periodic=true, which has no cut: set it to half_turn"
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
        """A kernel network with fresh parameters.

        Args:
            space_dim: coordinates of a point of the plane, 0 for a pointwise convolution.
            element_dim: coordinates of a relative group element, the embedding of its angle
                included.
            out_channels: Cout.
            in_channels: Cin.
            hidden: width, where it differs from the spec's.
            fan_in: Cin * n_in * taps, which scale="response" starts from; None keeps the scale of
                the network's own first weights. A kernel of no coordinates, one constant matrix,
                always starts from it.
        """
        if fan_in is not None:
            _check_fan_in(fan_in)
        width = self.hidden if hidden is None else hidden
        kernel = self.network(space_dim, element_dim, out_channels, in_channels, width)
        if fan_in is not None and (self.scale == "response" or space_dim + element_dim == 0):
            kernel.scale_head(fan_in, self.periodic)
        return kernel

    @abstractmethod
    def network(
        self,
        space_dim: Count,
        element_dim: Count,
        out_channels: Size,
        in_channels: Size,
        hidden: Size,
    ) -> ContinuousKernel:
        """A network of this kind at the scale of its own initialisation."""
