"""Convolve each image with a kernel of its own that has few taps."""

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
_CHUNK_BYTES = {"cpu": 32e6}
"""Size of the buffer of gathered pixels by device: on a CPU about what its cache holds."""
_CHUNK_BYTES_ELSEWHERE = 1e9


def per_image_conv(
    images: Tensor, kernels: Tensor, taps: TapPositions, padding: int, side: int
) -> Tensor:
    """Convolve (as torch means it) each image with its own kernel, stride 1.

    A grouped conv2d computes the same, but also the taps that are zero: here the pixels under the
    taps are gathered for some images at a time and multiplied with their kernels. The gathered
    pixels are not kept for the backward pass. Differentiable once (but see
    `learnsym.utils.double_backward`).

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
    """Yield some images at a time with the pixels under each tap, [b, C * taps, H' * W'].

    The pixels are in a buffer that is used again.
    """
    count, channels = padded.shape[:2]
    image_bytes = channels * len(taps) * height * width * padded.element_size()
    chunk_bytes = _CHUNK_BYTES.get(padded.device.type, _CHUNK_BYTES_ELSEWHERE)
    chunk = max(1, min(count, int(chunk_bytes / image_bytes)))
    buffer = padded.new_empty(chunk, channels, len(taps), height, width)
    for start in range(0, count, chunk):
        rows = slice(start, min(start + chunk, count))
        pixels = buffer[: rows.stop - start]
        for tap, seen in enumerate(patches(padded[rows], taps, height, width)):
            pixels[:, :, tap].copy_(seen)
        yield rows, pixels.view(len(pixels), -1, height * width)
