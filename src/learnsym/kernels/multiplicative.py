"""Multiplicative filter networks: FourierNet, GaborNet and MAGNet.

Fathony et al., "Multiplicative filter networks", ICLR 2021; MAGNet: Romero et al., 2021.

A filter of a sum of coordinates is a sum of two products: sin(a + e) = sin a cos e + cos a sin e,
and a Gaussian window with a diagonal precision is a window of space times a window of the element.
So all sines and exponentials are taken on the two small tables of points, and the large tensor of
their pairs costs one matrix product.

About `input_scale`: with K filters, frequencies start as U(-1, 1) input_scale / sqrt(K in), and
those of the filters' product are sqrt(K) times that. Neighbours of 7 points in [-1, 1] tell 3 pi
rad per unit apart; the published 256 is a deviation of 85 (3 coordinates, 4 filters). So the kernel
starts as noise from tap to tap, and a rotated grid meets other noise; below 15 or so it is smooth.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Gamma

from learnsym.kernels.base import ContinuousKernel, KernelSpec
from learnsym.kernels.linear import ChannelsFirstLinear, KernelShape, channels_first, outer_sum
from learnsym.schema import Positive

Pair = tuple[Tensor, Tensor]


class Filters(nn.Module):
    """K banks of h filters g(c) = sin(w.c + phi), evaluated as tables of space and of elements.

    w ~ U(-1, 1) input_scale / sqrt(K in); phi ~ U(-pi, pi), so that E[g^2] = 1/2 at every c.
    Parameters: K (h (s + d) + h), K = layers + 1.
    """

    def __init__(self, shape: KernelShape, spec: "FourierNet") -> None:
        super().__init__()
        count = spec.layers + 1
        self.space_dim = shape.space_dim
        self.frequency = nn.Parameter(torch.empty(count, shape.hidden, shape.coordinates))
        self.phase = nn.Parameter(torch.empty(count, shape.hidden))
        bound = spec.input_scale / sqrt(count * max(shape.coordinates, 1))
        nn.init.uniform_(self.frequency, -bound, bound)
        nn.init.uniform_(self.phase, -pi, pi)

    def forward(self, space: Tensor, element: Tensor) -> Iterator[Tensor]:
        """Yield K filters [B, h, n_out, n_in, taps], each computed when it is asked for."""
        of_space, of_element = self.tables(channels_first(space), channels_first(element))
        a = [t.unflatten(-1, space.shape[1:3]).unbind(0) for t in of_space]
        e = [t.unflatten(-1, element.shape[1:3]).unbind(0) for t in of_element]
        for a0, a1, e0, e1 in zip(*a, *e, strict=True):
            yield outer_sum((a0, a1), (e0, e1))

    def tables(self, x: Tensor, y: Tensor) -> tuple[Pair, Pair]:
        """Return the factors of points [B, s, P] and [B, d, Q], two of [K, B, h, P] or [.., Q]."""
        s = self.space_dim
        a = self.frequency[:, None, :, :s] @ x + self.phase[:, None, :, None]
        e = self.frequency[:, None, :, s:] @ y
        return (a.sin(), a.cos()), (e.cos(), e.sin())


class WindowedFilters(Filters):
    """g(c) = exp(-1/2 sum_i (gamma_i (c_i - mu_i))^2) sin(w.c + phi).

    mu ~ U(-1, 1); gamma ~ Gamma(alpha / (k + 1), beta) for the k-th filter, k = 0, 1, ..., or,
    where one gamma serves all coordinates (isotropic), Gamma(alpha / K, beta) for every filter (the
    published starts of MAGNet and of GaborNet); w is that of `Filters` times gamma: narrow windows
    hold high frequencies. The precision gamma^2 stays positive whatever a gradient step does.

    Parameters: K (2 h (s + d) + h), and K h (isotropic) or K h (s + d) for gamma.
    """

    def __init__(self, shape: KernelShape, spec: "GaborNet") -> None:
        super().__init__(shape, spec)
        count, dim = spec.layers + 1, shape.coordinates
        self.mean = nn.Parameter(torch.empty(count, shape.hidden, dim).uniform_(-1, 1))
        alphas = [spec.alpha / (count if spec.isotropic else k + 1) for k in range(count)]
        size = (shape.hidden, 1 if spec.isotropic else dim)
        self.root = nn.Parameter(torch.stack([Gamma(a, spec.beta).sample(size) for a in alphas]))
        with torch.no_grad():
            self.frequency.mul_(self.root)

    def tables(self, x: Tensor, y: Tensor) -> tuple[Pair, Pair]:
        """Return the factors, waves times windows."""
        (a0, a1), (e0, e1) = super().tables(x, y)
        of_space, of_element = self.windows(x, y)
        return (a0 * of_space, a1 * of_space), (e0 * of_element, e1 * of_element)

    def windows(self, x: Tensor, y: Tensor) -> Pair:
        """Return the windows of both tables: [B, s, P], [B, d, Q] to [K, B, h, P], [K, B, h, Q]."""
        s, mean = self.space_dim, self.mean
        precision = self.root.square().expand_as(mean)
        of_space = _window(precision[..., :s], mean[..., :s], x)
        return of_space, _window(precision[..., s:], mean[..., s:], y)


def _window(precision: Tensor, mean: Tensor, c: Tensor) -> Tensor:
    """Return exp(-1/2 sum_i p_i (c_i - mu_i)^2) [K, B, h, P] for p, mu [K, h, i] and c [B, i, P].

    The square is multiplied out, which leaves matrix products and no tensor [.., h, i, P].
    """
    weighted = precision * mean
    constant = (weighted * mean).sum(-1)[:, None, :, None]
    return (weighted[:, None] @ c - (precision[:, None] @ c.square() + constant) / 2).exp()


class FilterKernel(ContinuousKernel):
    """z_1 = g_1(c), z_k+1 = (W_k z_k + b_k) g_k+1(c), k = A z + a, with n + 1 banks of filters g.

    Initialisation: W ~ U(-r, r) with r = sqrt(weight_scale / h); b and A as PyTorch has them,
    U(-1/sqrt(h), 1/sqrt(h)); a = 0. So W z + b has variance weight_scale E[z^2] / 3 + 1 / (3 h): a
    sixth of the one before it, where a filter is a mere sine. Parameters: those of the filters,
    n (h^2 + h) and (h + 1) Cout Cin.
    """

    def __init__(self, shape: KernelShape, spec: "FourierNet", filters: Filters) -> None:
        super().__init__(shape)
        self.filters, h = filters, shape.hidden
        inner = [ChannelsFirstLinear(h, h) for _ in range(spec.layers)]
        self.inner = nn.ModuleList(inner)
        bound = sqrt(spec.weight_scale / h)
        for linear in inner:
            nn.init.uniform_(linear.weight, -bound, bound)

    def features(self, space: Tensor, element: Tensor) -> Tensor:
        """Map [B, n_out, taps, s] and [B, n_out, n_in, d] to [B, h, n_out, n_in, taps]."""
        filters = self.filters(space, element)
        z = next(filters)
        for linear, g in zip(self.inner, filters, strict=True):
            z = linear(z.flatten(2)).view_as(g) * g
        return z


@dataclass(frozen=True)
class FourierNet(KernelSpec):
    """Kernels that multiply sines, `FilterKernel` on `Filters`.

    Args:
        layers: n, linear maps between n + 1 filters.
        input_scale: scale of the frequencies, see the module's docstring.
        weight_scale: squared scale of the linear maps.
    """

    input_scale: Positive = 256.0
    weight_scale: Positive = 1.0
    scale: Literal["response", "network"] = "network"

    filters: ClassVar[type[Filters]] = Filters

    def network(self, shape: KernelShape) -> FilterKernel:
        """Build a `FilterKernel`."""
        return FilterKernel(shape, self, self.filters(shape, self))


@dataclass(frozen=True)
class GaborNet(FourierNet):
    """Kernels that multiply sines in round Gaussian windows, `FilterKernel` on `WindowedFilters`.

    Args:
        alpha: n + 1 times the shape of the Gamma distribution of gamma, the root of a window's
            precision.
        beta: its rate.
    """

    alpha: Positive = 6.0
    beta: Positive = 1.0

    filters: ClassVar[type[Filters]] = WindowedFilters
    isotropic: ClassVar[bool] = True


@dataclass(frozen=True)
class MAGNet(GaborNet):
    """Kernels that multiply sines in Gaussian windows with a precision for every coordinate.

    The arguments are those of `GaborNet`, but alpha is divided by 1, 2, ... from filter to filter.
    """

    isotropic: ClassVar[bool] = False
