"""Multiplicative filter networks (Fathony et al., "Multiplicative filter networks", ICLR 2021) and
MAGNet (Romero et al., 2021).

A filter of a sum of coordinates is a sum of two products: sin(a + e) = sin a cos e + cos a sin e,
and a Gaussian window with a diagonal precision is a window of space times a window of the element.
So all sines and exponentials are taken on the two small tables of points, and the large tensor of
their pairs costs one matrix product.

About `input_scale`: with K filters, frequencies start as U(-1, 1) input_scale / sqrt(K in) per unit
of a coordinate, and the product of the K filters has sqrt(K) times that. On 7 points in [-1, 1] the
highest frequency that neighbours can tell apart is 3 pi, about 9 rad per unit; 256 stands for a
deviation of 43 in a filter and 85 in the product (3 coordinates, 4 filters). So the kernel starts
as noise from tap to tap, and a rotated grid meets other noise. That is the published setting; below
15 or so it starts smooth.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Gamma

from learnsym.kernels.base import ContinuousKernel, KernelSpec, PointLinear, channels_first, pairs
from learnsym.schema import Count, Positive, Size


class Filters(nn.Module):
    """K banks of h filters g(c) = sin(w.c + phi), evaluated as tables of space and of elements.

    w ~ U(-1, 1) input_scale / sqrt(K in); phi ~ U(-pi, pi), so that E[g^2] = 1/2 at every c.

    Args:
        count: K.
        space_dim: s.
        element_dim: d.
        hidden: h.
        input_scale: see the module's docstring.

    Parameters: K (h (s + d) + h).
    """

    def __init__(
        self, count: Size, space_dim: Count, element_dim: Count, hidden: Size, input_scale: Positive
    ) -> None:
        super().__init__()
        self.space_dim = space_dim
        self.frequency = nn.Parameter(torch.empty(count, hidden, space_dim + element_dim))
        self.phase = nn.Parameter(torch.empty(count, hidden))
        bound = input_scale / sqrt(count * max(space_dim + element_dim, 1))
        nn.init.uniform_(self.frequency, -bound, bound)
        nn.init.uniform_(self.phase, -pi, pi)

    def forward(self, space: Tensor, element: Tensor) -> Iterator[Tensor]:
        """[B, n_out, taps, s] and [B, n_out, n_in, d] to K tensors [B, h, n_out, n_in, taps], each
        made when it is asked for.
        """
        x, y = channels_first(space), channels_first(element)
        sines, windows = self.waves(x, y), self.windows(x, y)
        of_space, of_element = (
            [t if w is None else t * w for t in pair]
            for pair, w in zip(sines, windows, strict=True)
        )
        of_space = [t.unflatten(-1, space.shape[1:3]).unbind(0) for t in of_space]
        of_element = [t.unflatten(-1, element.shape[1:3]).unbind(0) for t in of_element]
        for a0, a1, e0, e1 in zip(*of_space, *of_element, strict=True):
            yield pairs((a0, a1), (e0, e1))

    def waves(self, x: Tensor, y: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """sin(a + e) in two factors each: [B, s, P] and [B, d, Q] to [K, B, h, P] twice and [K, B,
        h, Q] twice.
        """
        s = self.space_dim
        a = self.frequency[:, None, :, :s] @ x + self.phase[:, None, :, None]
        e = self.frequency[:, None, :, s:] @ y
        return (a.sin(), a.cos()), (e.cos(), e.sin())

    def windows(self, x: Tensor, y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What the tables of space and of elements are multiplied by; None for 1."""
        return None, None


class WindowedFilters(Filters):
    """g(c) = exp(-1/2 sum_i (gamma_i (c_i - mu_i))^2) sin(w.c + phi).

    mu ~ U(-1, 1); gamma ~ Gamma(alpha / (k + 1), beta) for the k-th filter, k = 0, 1, ..., or,
    where one gamma serves all coordinates, Gamma(alpha / K, beta) for every filter (the published
    starts of MAGNet and of GaborNet); w is that of `Filters` times gamma: narrow windows hold high
    frequencies. The precision gamma^2 stays positive whatever a gradient step does.

    Args:
        count: K.
        space_dim: s.
        element_dim: d.
        hidden: h.
        input_scale: see the module's docstring.
        alpha: shape of the Gamma distribution, see above.
        beta: its rate.
        isotropic: one gamma for all coordinates of a unit, otherwise one for each.

    Parameters: K (2 h (s + d) + h), and K h (isotropic) or K h (s + d) for gamma.
    """

    def __init__(
        self,
        count: Size,
        space_dim: Count,
        element_dim: Count,
        hidden: Size,
        input_scale: Positive,
        alpha: Positive,
        beta: Positive,
        isotropic: bool,
    ) -> None:
        super().__init__(count, space_dim, element_dim, hidden, input_scale)
        dim = space_dim + element_dim
        self.mean = nn.Parameter(torch.empty(count, hidden, dim).uniform_(-1, 1))
        shape = (hidden, 1 if isotropic else dim)
        shapes = [alpha / (count if isotropic else k + 1) for k in range(count)]
        # Named after the precision, whose root it is.
        self.root = nn.Parameter(torch.stack([Gamma(a, beta).sample(shape) for a in shapes]))
        with torch.no_grad():
            self.frequency.mul_(self.root)

    def windows(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """[B, s, P] and [B, d, Q] to [K, B, h, P] and [K, B, h, Q]."""
        s = self.space_dim
        precision = self.root.square().expand_as(self.mean)
        return _window(precision[..., :s], self.mean[..., :s], x), _window(
            precision[..., s:], self.mean[..., s:], y
        )


def _window(precision: Tensor, mean: Tensor, c: Tensor) -> Tensor:
    """exp(-1/2 sum_i p_i (c_i - mu_i)^2): precisions and means [K, h, i] and points [B, i, P] to
    [K, B, h, P].

    The square is multiplied out, which leaves matrix products and no [.., h, i, P].
    """
    weighted = precision * mean
    constant = (weighted * mean).sum(-1)[:, None, :, None]
    return (weighted[:, None] @ c - (precision[:, None] @ c.square() + constant) / 2).exp()


class FilterKernel(ContinuousKernel):
    """z_1 = g_1(c), z_k+1 = (W_k z_k + b_k) g_k+1(c), k = A z + a.

    Initialisation: W ~ U(-r, r) with r = sqrt(weight_scale / h); b and A as PyTorch has them,
    U(-1/sqrt(h), 1/sqrt(h)); a = 0. So W z + b has variance weight_scale E[z^2] / 3 + 1 / (3 h): a
    sixth of the one before it, where a filter is a mere sine.

    Args:
        space_dim: s.
        element_dim: d.
        out_channels: Cout.
        in_channels: Cin.
        filters: n + 1 banks of h filters.
        weight_scale: see above.

    Parameters: those of the filters, n (h^2 + h) and (h + 1) Cout Cin.
    """

    def __init__(
        self,
        space_dim: Count,
        element_dim: Count,
        out_channels: Size,
        in_channels: Size,
        filters: Filters,
        weight_scale: Positive,
    ) -> None:
        count, hidden = filters.phase.shape
        super().__init__(space_dim, element_dim, out_channels, in_channels, hidden)
        self.filters = filters
        self.inner = nn.ModuleList(PointLinear(hidden, hidden) for _ in range(count - 1))
        for linear in self.inner:
            bound = sqrt(weight_scale / hidden)
            nn.init.uniform_(linear.weight, -bound, bound)

    def features(self, space: Tensor, element: Tensor) -> Tensor:
        """[B, n_out, taps, s] and [B, n_out, n_in, d] to [B, h, n_out, n_in, taps]."""
        filters = self.filters(space, element)
        z = next(filters)
        for linear, g in zip(self.inner, filters, strict=True):
            z = linear(z.flatten(2)).view_as(g) * g
        return z


@dataclass(frozen=True)
class FourierNet(KernelSpec):
    """Kernels that multiply sines, `FilterKernel` on `Filters`.

    Args:
        hidden: width of the network.
        layers: n, linear maps between n + 1 filters.
        periodic: the convolution hands a relative angle over as (cos, sin).
        input_scale: scale of the frequencies, see the module's docstring.
        weight_scale: squared scale of the linear maps.
        cut, scale: see `KernelSpec`.

    >>> sum(p.numel() for p in FourierNet(hidden=32, layers=3).build(2, 1, 10, 10).parameters())
    6980
    """

    input_scale: Positive = 256.0
    weight_scale: Positive = 1.0
    scale: Literal["response", "network"] = "network"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("input_scale", "weight_scale", "alpha", "beta"):
            if not getattr(self, name, 1) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: a number above zero is wanted")

    def network(
        self,
        space_dim: Count,
        element_dim: Count,
        out_channels: Size,
        in_channels: Size,
        hidden: Size,
    ) -> FilterKernel:
        """A `FilterKernel` of these filters."""
        filters = self.filters(space_dim, element_dim, hidden)
        return FilterKernel(
            space_dim, element_dim, out_channels, in_channels, filters, self.weight_scale
        )

    def filters(self, space_dim: Count, element_dim: Count, hidden: Size) -> Filters:
        """The n + 1 banks of filters."""
        return Filters(self.layers + 1, space_dim, element_dim, hidden, self.input_scale)


@dataclass(frozen=True)
class GaborNet(FourierNet):
    """Kernels that multiply sines in round Gaussian windows, `FilterKernel` on `WindowedFilters`.

    Args:
        hidden: width of the network.
        layers: n, linear maps between n + 1 filters.
        periodic: the convolution hands a relative angle over as (cos, sin).
        input_scale: scale of the frequencies, see the module's docstring.
        weight_scale: squared scale of the linear maps.
        alpha: n + 1 times the shape of the Gamma distribution of gamma, the root of a window's
            precision.
        beta: its rate.
    """

    alpha: Positive = 6.0
    beta: Positive = 1.0

    isotropic: ClassVar[bool] = True

    def filters(self, space_dim: Count, element_dim: Count, hidden: Size) -> Filters:
        """The n + 1 banks of filters with their windows."""
        return WindowedFilters(
            self.layers + 1,
            space_dim,
            element_dim,
            hidden,
            self.input_scale,
            self.alpha,
            self.beta,
            self.isotropic,
        )


@dataclass(frozen=True)
class MAGNet(GaborNet):
    """Kernels that multiply sines in Gaussian windows with a precision for every coordinate.

    Args: those of `GaborNet`, but that alpha is divided by 1, 2, ... from filter to filter.
    """

    isotropic: ClassVar[bool] = False
