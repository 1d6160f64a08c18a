"""Group convolutions with continuous kernels on sampled elements of the stabiliser (Romero and
Lohit 2022).

    lifting      (f * k)(y, h) = sum_x f(x) k(h^-1 (x - y))
    group        (f * k)(y, h) = sum_h' sum_x f(x, h') k(h^-1 (x - y), h^-1 h')
    pointwise    (f * k)(y, h) = sum_h' f(y, h') k(h^-1 h')

Features are [B, C, n, H, W], on n sampled `Elements`. A layer evaluates its kernel network for all
pairs of an output and an input element, on the taps inside the unit disc only, and is then one
convolution from C * n to C' * n' channels (conv2d, or frequency by frequency where that is faster);
or, with a set of elements for every image, one batched matrix product.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from learnsym.distributions.group_sampler import GroupSampler
from learnsym.groups.point_groups import Elements
from learnsym.kernels.base import KernelSpec
from learnsym.layers.fast.fft_conv import pays, spectral_conv
from learnsym.layers.fast.per_image_conv import per_image_conv
from learnsym.layers.fast.scatter_taps import Scatter, runs_of
from learnsym.schema import NonNegative, Size

FEW_PIXELS = 4
"""Outputs of at most so many pixels, without padding, are computed without their kernel in
training."""


@lru_cache(maxsize=16)
def disc(size: int) -> tuple[Tensor, Tensor]:
    """The taps of a size x size kernel inside the unit disc: places in the flat kernel [taps], and
    float64 coordinates [taps, 2] (x, y) in [-1, 1]. 29 of 49 taps for size 7, 5 of 9 for size 3.
    """
    half = size // 2
    steps = torch.arange(size) - half
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    inside = ((x * x + y * y) <= half * half).flatten()
    points = torch.stack([x.flatten(), y.flatten()], -1)[inside].double() / max(half, 1)
    return inside.nonzero()[:, 0], points


class ContinuousGroupConv(nn.Module):
    """What the three convolutions share: from a sampled kernel [*L, C', n', C, n, taps] to
    features.

    Attributes:
        decay: weight of the penalty: squared norm of the sampled kernel (mean over pairs of
            elements), plus that of the bias.
    """

    taps: Tensor
    points: Tensor

    def __init__(
        self, out_channels: int, kernel_size: int, padding: int, bias: bool, decay: float
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size={kernel_size}: an odd number is right, so that a kernel has a central tap"
            )
        self.out_channels, self.kernel_size, self.padding, self.decay = (
            out_channels,
            kernel_size,
            padding,
            decay,
        )
        taps, points = disc(kernel_size)
        self.register_buffer("taps", taps, persistent=False)
        self.register_buffer("points", points.to(torch.get_default_dtype()), persistent=False)
        self.corners = tuple(divmod(tap, kernel_size) for tap in taps.tolist())
        self.runs = runs_of(taps.tolist())
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self._norm: Tensor | None = None

    def convolve(self, features: Tensor, kernel: Tensor) -> Tensor:
        """[B, C, n, H, W] and [*L, C', n', C, n, taps] to [B, C', n', H', W']."""
        outputs = kernel.shape[-4]
        if self.decay and self.training:
            self._norm = kernel.square().mean((-4, -2)).sum() / (
                len(kernel) if kernel.ndim == 6 else 1
            )
        bias = None if self.bias is None else self.bias.repeat_interleave(outputs)
        if kernel.ndim == 6:
            kernels = kernel.flatten(1, 2).flatten(2, 3)
            flat = per_image_conv(
                features.flatten(1, 2), kernels, self.corners, self.padding, self.kernel_size
            )
            flat = flat if bias is None else flat + bias.to(flat.dtype).view(-1, 1, 1)
        elif self._spectral(features, kernel):
            turned = kernel.permute(2, 3, 0, 1, 4).to(
                self._dtype(kernel), memory_format=torch.contiguous_format
            )
            kernels = turned.flatten(2, 3).flatten(0, 1).transpose(0, 1)
            flat = spectral_conv(features.flatten(1, 2), kernels, self.corners, self.kernel_size)
            flat = flat if bias is None else flat + bias.to(flat.dtype).view(-1, 1, 1)
        else:
            flat = F.conv2d(features.flatten(1, 2), self.dense(kernel), bias, padding=self.padding)
        return flat.unflatten(1, (self.out_channels, outputs))

    def evaluated(self, space: Tensor, element: Tensor) -> Tensor:
        """The kernel network at all pairs of points, [*L, C', n', C, n, taps], in at least float32.

        With a set per image what it computes is not kept for the backward pass but computed again
        there: 1.9 instead of 2.7 GB in a training step of benchmarks/partial_conv.py, which took no
        longer.
        """
        with torch.autocast(space.device.type, enabled=False):
            if space.ndim == 4 and torch.is_grad_enabled() and self.recomputes:
                return checkpoint(
                    self.kernel, space, element, use_reentrant=False, preserve_rng_state=False
                )
            return self.kernel(space, element)

    @property
    def recomputes(self) -> bool:
        """Not with batch norm in the kernel network, which would count every batch twice."""
        return not any(
            isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in self.kernel.modules()
        )

    def dense(self, kernel: Tensor) -> Tensor:
        """[C', n', C, n, taps] to the weight of a conv2d, [C' * n', C * n, k, k], zero outside the
        disc; in the precision of the conv2d.
        """
        size = self.kernel_size
        if kernel.shape[-1] != size * size:
            kernel = Scatter.apply(kernel, self.runs, size * size, self._dtype(kernel))
        return kernel.flatten(0, 1).flatten(1, 2).unflatten(-1, (size, size))

    def _dtype(self, kernel: Tensor) -> torch.dtype:
        """What a convolution computes in."""
        device = kernel.device.type
        return (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else kernel.dtype
        )

    def _spectral(self, features: Tensor, kernel: Tensor) -> bool:
        """Elsewhere than on a CPU conv2d is not the slower one."""
        if (
            features.device.type != "cpu"
            or self.kernel_size == 1
            or self.padding != self.kernel_size // 2
        ):
            return False
        outputs, inputs = kernel.shape[:2].numel(), kernel.shape[2:4].numel()
        size = *features.shape[-2:], len(self.corners), self.kernel_size
        return pays(len(features), outputs * inputs, outputs + inputs, *size, self._dtype(kernel))

    def penalty(self) -> Tensor | float:
        """Decay * (squared norm of the kernel sampled last, mean over pairs of elements, + squared
        norm of the bias).
        """
        if not self.decay or self._norm is None:
            return 0.0
        norm, self._norm = self._norm, None
        return self.decay * (norm if self.bias is None else norm + self.bias.square().sum())

    def extra_repr(self) -> str:
        """Sizes, for print(network)."""
        return f"-> {self.out_channels}, kernel={self.kernel_size}, padding={self.padding}"


class LiftingConv(ContinuousGroupConv):
    """From images to features on elements; its set is always drawn from the whole group. Arguments:
    see `GroupConv`.
    """

    def __init__(
        self,
        in_channels: Size,
        out_channels: Size,
        kernel: KernelSpec,
        elements: GroupSampler,
        kernel_size: Size = 7,
        decay: NonNegative = 0.0,
    ) -> None:
        super().__init__(out_channels, kernel_size, kernel_size // 2, True, decay)
        self.elements = elements
        self.kernel = kernel.build(
            2, 0, out_channels, in_channels, fan_in=in_channels * len(self.taps)
        )

    def forward(
        self, images: Tensor, shared_offset: Tensor | None = None
    ) -> tuple[Tensor, Elements]:
        """[B, C, H, W] to [B, C', n, H, W] and the n elements."""
        out = self.elements(len(images), images.device, self.points.dtype, shared_offset)
        with torch.autocast(images.device.type, enabled=False):
            space = out.inverse_act(self.points)
        kernel = self.evaluated(space, space.new_zeros(*out.angle.shape, 1, 0))
        return self.convolve(images.unsqueeze(2), kernel), out


class GroupConv(ContinuousGroupConv):
    """From features on elements to features on elements; it may learn which part of the group its
    outputs live on.

    Args:
        in_channels, out_channels: C and C'.
        kernel: the kind of kernel network.
        elements: where the outputs live.
        kernel_size: odd; taps outside the unit disc are zero and never evaluated.
        valid: no padding (the image shrinks by kernel_size - 1), instead of padding with zeros to
            the same size.
        decay: see `ContinuousGroupConv`.
    """

    def __init__(
        self,
        in_channels: Size,
        out_channels: Size,
        kernel: KernelSpec,
        elements: GroupSampler,
        kernel_size: Size = 7,
        valid: bool = False,
        decay: NonNegative = 0.0,
    ) -> None:
        super().__init__(out_channels, kernel_size, 0 if valid else kernel_size // 2, True, decay)
        self.elements = elements
        self.periodic, self.cut = kernel.periodic, kernel.cut
        group = elements.stabiliser
        fan_in = in_channels * elements.plan.samples * len(self.taps)
        self.kernel = kernel.build(
            2, group.kernel_dim(kernel.periodic), out_channels, in_channels, fan_in=fan_in
        )

    def forward(
        self, features: Tensor, inputs: Elements, shared_offset: Tensor | None = None
    ) -> tuple[Tensor, Elements]:
        """[B, C, n, H, W] on n elements to [B, C', n', H', W'] and the n' elements."""
        out = self.elements(len(features), features.device, self.points.dtype, shared_offset)
        if (
            self.training
            and not self.decay
            and not self.padding
            and self._pixels(features) <= FEW_PIXELS
            and not out.per_image
        ):
            return self.contracted(features, out, inputs), out
        return self.convolve(features, self.sampled(out, inputs)), out

    def sampled(self, out: Elements, inputs: Elements) -> Tensor:
        """The kernel for all pairs of elements, [*L, C', n', C, n, taps]."""
        return self.evaluated(*self.coordinates(out, inputs))

    def coordinates(self, out: Elements, inputs: Elements) -> tuple[Tensor, Tensor]:
        """h^-1 x [*L, n', taps, 2] and h^-1 h' [*L, n', n, d]."""
        with torch.autocast(self.points.device.type, enabled=False):
            relative = self.elements.stabiliser.kernel_coordinates(
                out.relative(inputs), self.periodic, self.cut
            )
            return out.inverse_act(self.points), relative

    def contracted(self, features: Tensor, out: Elements, inputs: Elements) -> Tensor:
        """The convolution of few output pixels, without padding, and without its kernel (see
        `ContinuousKernel.contract`), [B, C, n, H, W] to [B, C', n', H', W'].
        """
        height, width = (n - self.kernel_size + 1 for n in features.shape[-2:])
        seen = [
            features[..., row : row + height, column : column + width]
            for row, column in self.corners
        ]
        gathered = torch.stack(seen, -1).flatten(3, 4).movedim(3, 1)  # [B, H' W', C, n, taps]
        flat = self.kernel.contract(gathered.flatten(0, 1), *self.coordinates(out, inputs))
        if self.bias is not None:
            flat = flat + self.bias.to(flat.dtype)[:, None]
        return flat.unflatten(0, gathered.shape[:2]).movedim(1, -1).unflatten(-1, (height, width))

    def _pixels(self, features: Tensor) -> int:
        """Of the output, without padding."""
        return (features.shape[-2] - self.kernel_size + 1) * (
            features.shape[-1] - self.kernel_size + 1
        )


class PointwiseGroupConv(ContinuousGroupConv):
    """A group convolution without spatial support and without bias, for shortcuts: its outputs live
    on given elements.

    Arguments: see `GroupConv`; `like` is the set that those elements come from.
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
        dims = self.stabiliser.kernel_dim(kernel.periodic)
        self.kernel = kernel.build(
            0,
            dims,
            out_channels,
            in_channels,
            hidden=hidden,
            fan_in=in_channels * like.plan.samples,
        )

    def forward(self, features: Tensor, inputs: Elements, out: Elements) -> Tensor:
        """[B, C, n, H, W] on n elements to [B, C', n', H, W] on the elements `out`."""
        with torch.autocast(features.device.type, enabled=False):
            relative = self.stabiliser.kernel_coordinates(
                out.relative(inputs), self.periodic, self.cut
            )
        kernel = self.evaluated(relative.new_zeros(*out.angle.shape, 1, 0), relative)
        return self.convolve(features, kernel)
