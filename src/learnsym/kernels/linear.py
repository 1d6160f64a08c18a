"""Evaluate linear maps of coordinates at all pairs of points, without concatenating them.

The first layer of a kernel network is computed on two small tables, of space and of elements, and
`outer_sum` makes the large tensor of them.
"""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from learnsym.schema import Count, Size


def check_at_least(minimum: int, **numbers: int) -> None:
    """Raise ValueError unless all numbers are at least `minimum`."""
    for name, number in numbers.items():
        if number < minimum:
            raise ValueError(f"{name}={number}: a kernel needs at least {minimum}")


def check_positive(**numbers: float) -> None:
    """Raise ValueError unless all numbers are above zero."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name}={number}: expected a number above zero")


@dataclass(frozen=True)
class KernelShape:
    """The sizes of a kernel network.

    Attributes:
        space_dim: s, coordinates of a point of the plane; 0 for a pointwise convolution.
        element_dim: d, coordinates of a relative group element; 0 for a kernel of space alone.
        out_channels: Cout.
        in_channels: Cin.
        hidden: h, width of the network.
    """

    space_dim: Count
    element_dim: Count
    out_channels: Size
    in_channels: Size
    hidden: Size

    def __post_init__(self) -> None:
        check_at_least(0, space_dim=self.space_dim, element_dim=self.element_dim)
        check_at_least(1, out_channels=self.out_channels, in_channels=self.in_channels)
        check_at_least(1, hidden=self.hidden)

    @property
    def coordinates(self) -> int:
        """All coordinates, s + d."""
        return self.space_dim + self.element_dim


def outer_sum(space: tuple[Tensor, Tensor], element: tuple[Tensor, Tensor]) -> Tensor:
    """Return space[0] element[0] + space[1] element[1] over all pairs of points.

    The sum a + e is (a, 1), (1, e); its sine is (sin a, cos a), (cos e, sin e). A matrix product is
    faster than broadcasting, and its backward pass makes nothing of the size of the result.

    Args:
        space: two tables [..., taps].
        element: two tables [..., n_in].

    Returns:
        [..., n_in, taps].
    """
    return torch.stack(element, -1) @ torch.stack(space, -2)


def channels_first(points: Tensor) -> Tensor:
    """Move channels: [B, ..., c] to [B, c, points]."""
    return points.movedim(-1, 1).flatten(2)


class ChannelsFirstLinear(nn.Linear):
    """The linear map y = W z + b of [B, in, points] to [B, out, points].

    Channels come first because those of the weights of a convolution do. Weights and biases start
    as U(-1/sqrt(in), 1/sqrt(in)), PyTorch's default.
    """

    def reset_parameters(self) -> None:
        """Initialise as PyTorch does, but without its warning about maps of no channels."""
        bound = 1 / sqrt(max(self.in_features, 1))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def scaled(self, scale: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return weight and bias times `scale`: they are fewer than the points."""
        if isinstance(scale, float) and scale == 1:
            return self.weight, self.bias
        return self.weight * scale, self.bias * scale

    def forward(self, z: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """Return scale (W z + b): [B, in, points] to [B, out, points]."""
        weight, bias = self.scaled(scale)
        return torch.baddbmm(bias[:, None], weight.expand(z.shape[0], -1, -1), z)


class PairLinear(ChannelsFirstLinear):
    """The first layer, W [x; e] + b = (W_x x + b) + W_e e, as its two tables.

    Args:
        shape: sizes of the kernel.
    """

    def __init__(self, shape: KernelShape) -> None:
        super().__init__(shape.coordinates, shape.hidden)
        self.space_dim = shape.space_dim

    def tables(
        self, space: Tensor, element: Tensor, scale: float | Tensor = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return the tables of the two summands.

        Args:
            space: [B, n_out, taps, s].
            element: [B, n_out, n_in, d].
            scale: factor of both.

        Returns:
            [B, h, n_out, taps] and [B, h, n_out, n_in].
        """
        batch = space.shape[0]
        weight, bias = self.scaled(scale)
        of_space = weight[:, : self.space_dim].expand(batch, -1, -1)
        of_element = weight[:, self.space_dim :].expand(batch, -1, -1)
        a = torch.baddbmm(bias[:, None], of_space, channels_first(space))
        e = torch.bmm(of_element, channels_first(element))
        return a.unflatten(2, space.shape[1:3]), e.unflatten(2, element.shape[1:3])
