"""Evaluate the first layer of kernel networks at all pairs of points, without concatenating them.

It is computed on two small tables, of space and of elements, of which `outer_sum` makes the large
tensor.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Literal, get_origin, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from learnsym.schema import Count, Size


def check_fields(settings: object) -> None:
    """Raise ValueError unless every field has one of the values that its annotation allows."""
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        if get_origin(hint) in (Annotated, Literal):
            value = getattr(settings, name)
            try:
                TypeAdapter(hint).validate_python(value)
            except ValidationError as error:
                raise ValueError(f"{name}={value}: {error.errors()[0]['msg']}") from error


@dataclass(frozen=True)
class KernelShape:
    """The sizes of a kernel network of width `hidden`.

    A point of the plane has s = space_dim coordinates, none for a pointwise convolution, and a
    relative group element d = element_dim, none for a kernel of space alone.
    """

    space_dim: Count
    element_dim: Count
    out_channels: Size
    in_channels: Size
    hidden: Size

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def coordinates(self) -> int:
        """All coordinates, s + d."""
        return self.space_dim + self.element_dim


def outer_sum(space: tuple[Tensor, Tensor], element: tuple[Tensor, Tensor]) -> Tensor:
    """Return space[0] element[0] + space[1] element[1] over all pairs of points.

    The tables are [..., taps] and [..., n_in], the result [..., n_in, taps]. The sum a + e is
    (a, 1), (1, e); its sine is (sin a, cos a), (cos e, sin e). A matrix product is faster than
    broadcasting, and its backward pass makes nothing of the size of the result.
    """
    return torch.stack(element, -1) @ torch.stack(space, -2)


def channels_first(points: Tensor) -> Tensor:
    """Move channels: [B, ..., c] to [B, c, points]."""
    return points.movedim(-1, 1).flatten(2)


class ChannelsFirstLinear(nn.Linear):
    """The linear map y = W z + b of [B, in, points] to [B, out, points].

    Channels come first because those of the weights of a convolution do.
    """

    def reset_parameters(self) -> None:
        """Initialise as PyTorch does, but without its warning about maps of no channels."""
        bound = 1 / sqrt(max(self.in_features, 1))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def scaled(self, scale: float | Tensor | None) -> tuple[Tensor, Tensor]:
        """Return weight and bias times `scale`: they are fewer than the points."""
        if scale is None:
            return self.weight, self.bias
        return self.weight * scale, self.bias * scale

    def forward(self, z: Tensor, scale: float | Tensor | None = None) -> Tensor:
        """Return scale (W z + b): [B, in, points] to [B, out, points]."""
        weight, bias = self.scaled(scale)
        return torch.baddbmm(bias[:, None], weight.expand(z.shape[0], -1, -1), z)


class PairLinear(ChannelsFirstLinear):
    """The first layer, W [x; e] + b = (W_x x + b) + W_e e, as its two tables."""

    def __init__(self, shape: KernelShape) -> None:
        super().__init__(shape.coordinates, shape.hidden)
        self.space_dim = shape.space_dim

    def tables(
        self, space: Tensor, element: Tensor, scale: float | Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the tables of both summands times `scale`.

        [B, n_out, taps, s] and [B, n_out, n_in, d] to [B, h, n_out, taps] and [B, h, n_out, n_in].
        """
        weight, bias = self.scaled(scale)
        parts = weight[:, : self.space_dim], weight[:, self.space_dim :]
        of_space, of_element = (part.expand(space.shape[0], -1, -1) for part in parts)
        a = torch.baddbmm(bias[:, None], of_space, channels_first(space))
        e = torch.bmm(of_element, channels_first(element))
        return a.unflatten(2, space.shape[1:3]), e.unflatten(2, element.shape[1:3])
