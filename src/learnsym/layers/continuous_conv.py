"""Convolve with a continuous kernel, evaluated on the taps inside the unit disc only."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from learnsym.distributions.group_sampler import GroupSampler
from learnsym.groups.point_groups import Elements
from learnsym.kernels.base import ContinuousKernel
from learnsym.layers.fast import product_dtype
from learnsym.layers.fast.fft_conv import fft_conv, fft_is_faster
from learnsym.layers.fast.taps import per_image_conv, scatter, tap_runs
from learnsym.layers.forward_context import ForwardContext


@lru_cache(maxsize=16)
def disc_taps(size: int) -> tuple[Tensor, Tensor]:
    """Return the taps of a size x size kernel inside the unit disc.

    Their indices in the flat kernel, and their float64 coordinates (x, y) [taps, 2] in [-1, 1].
    """
    half = size // 2
    steps = torch.arange(size) - half
    points = torch.cartesian_prod(steps, steps).flip(1)  # rows and columns are y and x
    inside = points.square().sum(1) <= half * half
    return inside.nonzero()[:, 0], points[inside].double() / max(half, 1)


class ContinuousGroupConv(nn.Module):
    """Convolve features with a sampled kernel [*L, C', n', C, n, taps]; base of the three layers.

    `decay` is the weight of the penalty: squared norm of the sampled kernel (mean over pairs of
    elements), plus that of the bias.
    """

    taps: Tensor
    points: Tensor
    kernel: ContinuousKernel
    elements: GroupSampler

    def __init__(
        self, out_channels: int, kernel_size: int, padding: int, bias: bool, decay: float
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"Expected an odd number for kernel_size, got kernel_size={kernel_size}: a kernel "
                "has a central tap."
            )
        self.out_channels, self.kernel_size = out_channels, kernel_size
        self.padding, self.decay = padding, decay
        taps, points = disc_taps(kernel_size)
        self.register_buffer("taps", taps, persistent=False)
        self.register_buffer("points", points.to(torch.get_default_dtype()), persistent=False)
        self.tap_positions = tuple(divmod(tap, kernel_size) for tap in taps.tolist())
        self._tap_runs = tap_runs(taps.tolist())
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def sample(self, features: Tensor, context: ForwardContext | None) -> Elements:
        """Sample the elements of the output."""
        given = context or ForwardContext()
        batch, dtype = len(features), self.points.dtype
        return self.elements(batch, features.device, dtype, given.offset, given.rows)

    def convolve(
        self, features: Tensor, kernel: Tensor, context: ForwardContext | None = None
    ) -> Tensor:
        """Convolve [B, C, n, H, W] with [*L, C', n', C, n, taps] to [B, C', n', H', W'].

        In training, the penalty of a layer with a decay is appended to `context.penalties`.
        """
        if self.decay and self.training and context is not None:
            context.penalties.append(self._penalty(kernel))
        out_elements = kernel.shape[-4]
        bias = None if self.bias is None else self.bias.repeat_interleave(out_elements)
        size, taps, padding = self.kernel_size, self.tap_positions, self.padding
        flat = features.flatten(1, 2)
        if kernel.ndim == 6:
            flat = per_image_conv(flat, kernel.flatten(1, 2).flatten(2, 3), taps, padding, size)
        elif self._fft_is_faster(flat, kernel):
            # A contiguous [C, n, C', n', taps], which `fft_conv` need not copy as a view.
            layout = kernel.permute(2, 3, 0, 1, 4)
            layout = layout.to(product_dtype(kernel), memory_format=torch.contiguous_format)
            flat = fft_conv(flat, layout.flatten(2, 3).flatten(0, 1).transpose(0, 1), taps, size)
        else:
            flat = F.conv2d(flat, self.conv2d_weight(kernel), bias, padding=padding)
            bias = None
        flat = flat if bias is None else flat + bias.to(flat.dtype).view(-1, 1, 1)
        return flat.unflatten(1, (self.out_channels, out_elements))

    def _fft_is_faster(self, flat: Tensor, kernel: Tensor) -> bool:
        shape = (kernel.shape[:2].numel(), flat.shape[1], kernel.shape[-1])
        keeps_size = self.padding == self.kernel_size // 2
        return keeps_size and fft_is_faster(flat, shape, self.kernel_size, product_dtype(kernel))

    def _penalty(self, kernel: Tensor) -> Tensor:
        images = len(kernel) if kernel.ndim == 6 else 1
        norm = kernel.square().mean((-4, -2)).sum() / images
        return self.decay * (norm if self.bias is None else norm + self.bias.square().sum())

    def evaluate_kernel(self, space: Tensor, element: Tensor) -> Tensor:
        """Evaluate the kernel network, in at least float32, to [*L, C', n', C, n, taps].

        Coordinates are h^-1 x [*L, n', taps, 2] and those of h^-1 h' [*L, n', n, d]. With a set per
        image activations are computed again in the backward pass, not kept.
        """
        counting = nn.BatchNorm1d | nn.BatchNorm2d  # it would count a batch twice
        with torch.autocast(space.device.type, enabled=False):
            if (
                space.ndim == 3
                or not torch.is_grad_enabled()
                or any(isinstance(module, counting) for module in self.kernel.modules())
            ):
                return self.kernel(space, element)
            return checkpoint(
                self.kernel, space, element, use_reentrant=False, preserve_rng_state=False
            )

    def conv2d_weight(self, kernel: Tensor) -> Tensor:
        """Lay out a kernel [C', n', C, n, taps] as the weight of a conv2d in its precision.

        [C' * n', C * n, k, k], zero outside the disc.
        """
        size = self.kernel_size
        if kernel.shape[-1] != size * size:
            kernel = scatter(kernel, self._tap_runs, size * size, product_dtype(kernel))
        return kernel.flatten(0, 1).flatten(1, 2).unflatten(-1, (size, size))

    def extra_repr(self) -> str:
        """Return the sizes, for print(network)."""
        return f"-> {self.out_channels}, kernel={self.kernel_size}, padding={self.padding}"
