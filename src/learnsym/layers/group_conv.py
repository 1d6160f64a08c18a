"""Group convolutions with continuous kernels on sampled elements (Romero and Lohit 2022).

    lifting      (f * k)(y, h) = sum_x f(x) k(h^-1 (x - y))
    group        (f * k)(y, h) = sum_h' sum_x f(x, h') k(h^-1 (x - y), h^-1 h')
    pointwise    (f * k)(y, h) = sum_h' f(y, h') k(h^-1 h')

Features are [B, C, n, H, W], on n sampled `Elements`. A layer evaluates its kernel network for all
pairs of an output and an input element, on the taps inside the unit disc only, and is then one
conv2d from C * n to C' * n' channels or, with a set of elements for every image, one batched matrix
product.
"""

import torch
from torch import Tensor

from learnsym.distributions.group_sampler import GroupSampler
from learnsym.distributions.sampling import FullSampling
from learnsym.groups.point_groups import Elements, SemidirectProduct
from learnsym.kernels.base import KernelSpec
from learnsym.layers.continuous_conv import ContinuousGroupConv
from learnsym.layers.fast.per_image_conv import patches
from learnsym.layers.forward_context import ForwardContext, rows_of
from learnsym.schema import NonNegative, Size

_FEW_PIXELS = 4
"""Outputs of at most so many pixels, without padding, are computed without their kernel in
training."""


class LiftingConv(ContinuousGroupConv):
    """Lift images to features on elements, always sampled from the whole group.

    Args:
        in_channels, out_channels: C and C'.
        kernel: the kind of kernel network.
        elements: samples the elements of the output; or give `group`, and `sampling` if it is not
            the default.
        kernel_size: odd; taps outside the unit disc are zero and never evaluated.
        decay: see `ContinuousGroupConv`.
        group, sampling: instead of `elements`.

    Shape: [B, C, H, W] to [B, C', n, H, W] and n elements.

    >>> from learnsym.groups.planar import SE2
    >>> from learnsym.kernels.siren import SIREN
    >>> features, elements = LiftingConv(3, 16, SIREN(), group=SE2())(torch.randn(2, 3, 28, 28))
    >>> list(features.shape), len(elements)
    ([2, 16, 8, 28, 28], 8)
    """

    def __init__(
        self,
        in_channels: Size,
        out_channels: Size,
        kernel: KernelSpec,
        elements: GroupSampler | None = None,
        kernel_size: Size = 7,
        decay: NonNegative = 0.0,
        *,
        group: SemidirectProduct | None = None,
        sampling: FullSampling | None = None,
    ) -> None:
        super().__init__(out_channels, kernel_size, kernel_size // 2, True, decay)
        self.elements = _sampler(elements, group, sampling, learned=False)
        self.kernel = kernel.build(
            2, 0, out_channels, in_channels, fan_in=in_channels * len(self.taps)
        )

    def forward(
        self, images: Tensor, context: ForwardContext | None = None
    ) -> tuple[Tensor, Elements]:
        """Lift [B, C, H, W] to [B, C', n, H, W] and the n elements."""
        out = _sample(self.elements, images, self.points.dtype, context)
        with torch.autocast(images.device.type, enabled=False):
            space = out.inverse_act(self.points)
        kernel = self.evaluate_kernel(space, space.new_zeros(*out.angle.shape, 1, 0))
        return self.convolve(images.unsqueeze(2), kernel, context), out


class GroupConv(ContinuousGroupConv):
    """Convolve features on elements; with partial sampling, learn which part of the group to keep.

    Args:
        in_channels, out_channels: C and C'.
        kernel: the kind of kernel network.
        elements: samples the elements of the output; or give `group`, and `sampling` if it is not
            the default.
        kernel_size: odd; taps outside the unit disc are zero and never evaluated.
        valid: no padding (the image shrinks by kernel_size - 1), instead of padding with zeros to
            the same size.
        decay: see `ContinuousGroupConv`.
        group, sampling: instead of `elements`.

    Shape: [B, C, n, H, W] on n elements to [B, C', n', H', W'] and n' elements.

    >>> from learnsym.distributions.sampling import PartialSampling
    >>> from learnsym.groups.planar import SE2
    >>> from learnsym.kernels.siren import SIREN
    >>> lift = LiftingConv(1, 4, SIREN(), group=SE2())
    >>> conv = GroupConv(4, 8, SIREN(), group=SE2(), sampling=PartialSampling(initial_arc=0.5))
    >>> features, elements = conv(*lift(torch.randn(2, 1, 9, 9)))
    >>> list(features.shape), conv.elements.theta.item()
    ([2, 8, 4, 9, 9], 0.5)
    """

    def __init__(
        self,
        in_channels: Size,
        out_channels: Size,
        kernel: KernelSpec,
        elements: GroupSampler | None = None,
        kernel_size: Size = 7,
        valid: bool = False,
        decay: NonNegative = 0.0,
        *,
        group: SemidirectProduct | None = None,
        sampling: FullSampling | None = None,
    ) -> None:
        super().__init__(out_channels, kernel_size, 0 if valid else kernel_size // 2, True, decay)
        self.elements = _sampler(elements, group, sampling, learned=True)
        self.periodic, self.cut = kernel.periodic, kernel.cut
        fan_in = in_channels * self.elements.plan.samples * len(self.taps)
        element_dim = self.elements.stabiliser.kernel_dim(kernel.periodic)
        self.kernel = kernel.build(2, element_dim, out_channels, in_channels, fan_in=fan_in)

    def forward(
        self, features: Tensor, inputs: Elements, context: ForwardContext | None = None
    ) -> tuple[Tensor, Elements]:
        """Convolve [B, C, n, H, W] on n elements to [B, C', n', H', W'] and the n' elements."""
        out = _sample(self.elements, features, self.points.dtype, context)
        height, width = (side - self.kernel_size + 1 for side in features.shape[-2:])
        few = not self.padding and height * width <= _FEW_PIXELS
        if few and self.training and not self.decay and out.angle.ndim == 1:
            return self.forward_factorised(features, out, inputs), out
        return self.convolve(features, self.sample_kernel(out, inputs), context), out

    def sample_kernel(self, out: Elements, inputs: Elements) -> Tensor:
        """Evaluate the kernel for all pairs of elements, [*L, C', n', C, n, taps]."""
        return self.evaluate_kernel(*self._coordinates(out, inputs))

    def _coordinates(self, out: Elements, inputs: Elements) -> tuple[Tensor, Tensor]:
        """Return h^-1 x [*L, n', taps, 2] and h^-1 h' [*L, n', n, d]."""
        with torch.autocast(self.points.device.type, enabled=False):
            relative = self.elements.stabiliser.kernel_coordinates(
                out.relative(inputs), self.periodic, self.cut
            )
            return out.inverse_act(self.points), relative

    def forward_factorised(self, features: Tensor, out: Elements, inputs: Elements) -> Tensor:
        """Convolve to few output pixels, without padding, and without the kernel itself.

        See `ContinuousKernel.contract`. [B, C, n, H, W] to [B, C', n', H', W'].
        """
        height, width = (side - self.kernel_size + 1 for side in features.shape[-2:])
        gathered = torch.stack(patches(features, self.tap_positions, height, width), -1)
        gathered = gathered.flatten(3, 4).movedim(3, 1)  # [B, H' W', C, n, taps]
        flat = self.kernel.contract(gathered.flatten(0, 1), *self._coordinates(out, inputs))
        if self.bias is not None:
            flat = flat + self.bias.to(flat.dtype)[:, None]
        return flat.unflatten(0, gathered.shape[:2]).movedim(1, -1).unflatten(-1, (height, width))


class PointwiseGroupConv(ContinuousGroupConv):
    """Convolve over the group alone, without bias, for shortcuts onto given elements.

    Args:
        in_channels, out_channels: C and C'.
        kernel: the kind of kernel network; this layer's is half as wide.
        like: samples the elements of the output.
        decay: see `ContinuousGroupConv`.

    Shape: [B, C, n, H, W] on n elements to [B, C', n', H, W] on n' elements.
    """

    def __init__(
        self,
        in_channels: Size,
        out_channels: Size,
        kernel: KernelSpec,
        like: GroupSampler,
        decay: NonNegative = 0.0,
    ) -> None:
        super().__init__(out_channels, 1, 0, False, decay)
        self.stabiliser = like.stabiliser
        self.periodic, self.cut = kernel.periodic, kernel.cut
        # Half the width of the other kernels: it is a function of the group alone.
        hidden = max(1, kernel.hidden // 2)
        fan_in = in_channels * like.plan.samples
        element_dim = self.stabiliser.kernel_dim(kernel.periodic)
        self.kernel = kernel.build(0, element_dim, out_channels, in_channels, hidden, fan_in)

    def forward(
        self,
        features: Tensor,
        inputs: Elements,
        out: Elements,
        context: ForwardContext | None = None,
    ) -> Tensor:
        """Convolve [B, C, n, H, W] on n elements to [B, C', n', H, W] on the elements `out`."""
        with torch.autocast(features.device.type, enabled=False):
            relative = self.stabiliser.kernel_coordinates(
                out.relative(inputs), self.periodic, self.cut
            )
        kernel = self.evaluate_kernel(relative.new_zeros(*out.angle.shape, 1, 0), relative)
        return self.convolve(features, kernel, context)


def _sampler(
    elements: GroupSampler | None,
    group: SemidirectProduct | None,
    sampling: FullSampling | None,
    learned: bool,
) -> GroupSampler:
    if (elements is None) == (group is None) or (elements is not None and sampling is not None):
        raise ValueError("Expected either elements, or a group and its sampling. Try group=SE2().")
    if elements is not None:
        return elements
    assert group is not None
    return GroupSampler(sampling or FullSampling(), group.stabiliser, learned)


def _sample(
    elements: GroupSampler, features: Tensor, dtype: torch.dtype, context: ForwardContext | None
) -> Elements:
    offset = None if context is None else context.offset
    return elements(len(features), features.device, dtype, offset, rows_of(context))
