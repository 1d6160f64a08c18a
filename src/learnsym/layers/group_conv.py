"""Group convolutions with continuous kernels on sampled elements (Romero and Lohit 2022).

    lifting      (f * k)(y, h) = sum_x f(x) k(h^-1 (x - y))
    group        (f * k)(y, h) = sum_h' sum_x f(x, h') k(h^-1 (x - y), h^-1 h')
    pointwise    (f * k)(y, h) = sum_h' f(y, h') k(h^-1 h')

Features are [B, C, n, H, W], on n sampled `Elements`. A layer evaluates its kernel network for all
pairs of an output and an input element, and is then one conv2d from C * n to C' * n' channels or,
with a set of elements for every image, one batched matrix product.
"""

import torch
from torch import Tensor

from learnsym.distributions.group_sampler import GroupSampler
from learnsym.distributions.sampling import FullSampling
from learnsym.groups.point_groups import Elements, SemidirectProduct
from learnsym.kernels.base import KernelSpec
from learnsym.layers.continuous_conv import ContinuousGroupConv
from learnsym.layers.fast.taps import patches
from learnsym.layers.forward_context import ForwardContext
from learnsym.schema import NonNegative, Size

_FEW_PIXELS = 4  # outputs of no more, without padding, are trained without their kernel


class LiftingConv(ContinuousGroupConv):
    """Lift images to features on elements, always sampled from the whole group.

    The elements of the output come from `elements`, or from a `group` and its `sampling`. The
    kernel_size is odd; taps outside the unit disc are zero and never evaluated.
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
        fan_in = in_channels * len(self.taps)
        self.kernel = kernel.build(2, 0, out_channels, in_channels, fan_in=fan_in)

    def forward(
        self, images: Tensor, context: ForwardContext | None = None
    ) -> tuple[Tensor, Elements]:
        """Lift [B, C, H, W] to [B, C', n, H, W] and the n elements."""
        out = self.sample(images, context)
        with torch.autocast(images.device.type, enabled=False):
            space = out.inverse_act(self.points)
        kernel = self.evaluate_kernel(space, space.new_zeros(*out.angle.shape, 1, 0))
        return self.convolve(images.unsqueeze(2), kernel, context), out


class GroupConv(ContinuousGroupConv):
    """Convolve features on elements; with partial sampling, learn which part of the group to keep.

    The arguments are those of `LiftingConv`, and `valid`: no padding (the image shrinks by
    kernel_size - 1), instead of padding with zeros to the same size.

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
        out = self.sample(features, context)
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
        """Convolve to few output pixels, without padding, by `ContinuousKernel.contract`."""
        height, width = (side - self.kernel_size + 1 for side in features.shape[-2:])
        gathered = torch.stack(patches(features, self.tap_positions, height, width), -1)
        gathered = gathered.flatten(3, 4).movedim(3, 1)  # [B, H' W', C, n, taps]
        flat = self.kernel.contract(gathered.flatten(0, 1), *self._coordinates(out, inputs))
        if self.bias is not None:
            flat = flat + self.bias.to(flat.dtype)[:, None]
        return flat.unflatten(0, gathered.shape[:2]).movedim(1, -1).unflatten(-1, (height, width))


class PointwiseGroupConv(ContinuousGroupConv):
    """Convolve over the group alone, without bias, for shortcuts onto the elements of `like`."""

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
    if elements is None and group is not None:
        return GroupSampler(sampling or FullSampling(), group.stabiliser, learned)
    if elements is None or group is not None or sampling is not None:
        raise ValueError("Expected either elements, or a group and its sampling. Try group=SE2().")
    return elements
