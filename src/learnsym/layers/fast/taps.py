"""Convolve each image with a kernel of its own that has few taps; lay taps out for a conv2d."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from learnsym.layers.fast import product_dtype
from learnsym.utils.double_backward import double_backward_enabled

TapPositions = tuple[tuple[int, int], ...]
"""The taps of a kernel as (row, column)."""
TapRuns = tuple[tuple[int, int, int], ...]
"""Runs of neighbours: (first index in the flat kernel, one past the last, the first's number)."""
_CHUNK_BYTES = {"cpu": 32e6}  # of gathered pixels: about what a cache holds; 1e9 elsewhere


def per_image_conv(
    images: Tensor, kernels: Tensor, taps: TapPositions, padding: int, side: int
) -> Tensor:
    """Convolve (as torch means it) each image with its own kernel, stride 1.

    A grouped conv2d computes the taps that are zero too: here the pixels under the taps are
    gathered for some images at a time, also in the backward pass, and multiplied with their
    kernels. Differentiable once (but see `learnsym.utils.double_backward`).

    Images [B, C, H, W] and kernels [B, C', C, taps] of side x side with `padding` zeros around give
    [B, C', H', W'], H' = H + 2 padding - side + 1.
    """
    images, kernels = (t.to(product_dtype(t)) for t in (images, kernels))
    if not double_backward_enabled():
        return _PerImageConv.apply(images, kernels, taps, padding, side)
    padded = F.pad(images, [padding] * 4)
    height, width = (n - side + 1 for n in padded.shape[-2:])
    pixels = torch.stack(patches(padded, taps, height, width), 2).flatten(1, 2).flatten(2)
    return torch.bmm(kernels.flatten(2), pixels).unflatten(-1, (height, width))


def patches(padded: Tensor, taps: TapPositions, height: int, width: int) -> list[Tensor]:
    """Return the pixels [..., height, width] that each tap sees."""
    return [padded[..., row : row + height, column : column + width] for row, column in taps]


class _PerImageConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, kernels: Tensor, taps: TapPositions, padding: int, side: int
    ) -> Tensor:
        ctx.save_for_backward(images, kernels)
        ctx.taps, ctx.padding = taps, padding
        padded = F.pad(images, [padding] * 4)
        height, width = (n - side + 1 for n in padded.shape[-2:])
        out = images.new_empty(len(images), kernels.shape[1], height * width)
        for rows, pixels in _gathered(padded, taps, height, width):
            torch.bmm(kernels[rows].flatten(2), pixels, out=out[rows])
        return out.unflatten(-1, (height, width))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        images, kernels = ctx.saved_tensors
        padded = F.pad(images, [ctx.padding] * 4)
        height, width = grad.shape[-2:]
        grad = grad.flatten(2)
        grad_padded = torch.zeros_like(padded) if ctx.needs_input_grad[0] else None
        grad_kernels = torch.empty_like(kernels)
        for rows, pixels in _gathered(padded, ctx.taps, height, width):
            torch.bmm(grad[rows], pixels.transpose(1, 2), out=grad_kernels[rows].flatten(2))
            if grad_padded is not None:
                # The buffer is free again: it takes the gradient of the gathered pixels.
                torch.bmm(kernels[rows].flatten(2).transpose(1, 2), grad[rows], out=pixels)
                grad_pixels = pixels.view(len(pixels), -1, len(ctx.taps), height, width)
                targets = patches(grad_padded[rows], ctx.taps, height, width)
                for tap, target in enumerate(targets):
                    target.add_(grad_pixels[:, :, tap])
        grad_images = None if grad_padded is None else F.pad(grad_padded, [-ctx.padding] * 4)
        return grad_images, grad_kernels, None, None, None


def _gathered(
    padded: Tensor, taps: TapPositions, height: int, width: int
) -> Iterator[tuple[slice, Tensor]]:
    """Yield some images, and in a buffer the pixels under their taps, [b, C * taps, H' * W']."""
    count, channels = padded.shape[:2]
    image_bytes = channels * len(taps) * height * width * padded.element_size()
    chunk_bytes = _CHUNK_BYTES.get(padded.device.type, 1e9)
    chunk = max(1, min(count, int(chunk_bytes / image_bytes)))
    buffer = padded.new_empty(chunk, channels, len(taps), height, width)
    for start in range(0, count, chunk):
        rows = slice(start, min(start + chunk, count))
        pixels = buffer[: rows.stop - start]
        for tap, seen in enumerate(patches(padded[rows], taps, height, width)):
            pixels[:, :, tap].copy_(seen)
        yield rows, pixels.view(len(pixels), -1, height * width)


def tap_runs(taps: list[int]) -> TapRuns:
    """Return the runs of neighbours among ascending indices.

    >>> tap_runs([3, 8, 9])
    ((3, 4, 0), (8, 10, 1))
    """
    starts = [i for i, tap in enumerate(taps) if i == 0 or taps[i - 1] != tap - 1]
    ends = [*starts[1:], len(taps)]
    return tuple((taps[a], taps[b - 1] + 1, a) for a, b in zip(starts, ends, strict=True))


class _Scatter(torch.autograd.Function):
    """Scatter [..., taps], of any strides, to [..., size], contiguous and zero elsewhere.

    One pass over the values, where a permutation and an index_copy make three, and one over the
    gradient. Differentiable any number of times: copies to slices are, without this function too.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, runs: TapRuns, size: int, dtype: torch.dtype) -> Tensor:
        ctx.runs, ctx.layout = runs, (values.shape, values.stride(), values.dtype)
        out = torch.zeros(*values.shape[:-1], size, dtype=dtype, device=values.device)
        for start, stop, tap in runs:
            out[..., start:stop].copy_(values[..., tap : tap + stop - start])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        shape, strides, dtype = ctx.layout
        out = torch.empty_strided(shape, strides, dtype=dtype, device=grad.device)
        for start, stop, tap in ctx.runs:
            out[..., tap : tap + stop - start].copy_(grad[..., start:stop])
        return out, None, None, None


scatter = _Scatter.apply
