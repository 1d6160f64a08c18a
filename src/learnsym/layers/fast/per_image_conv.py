"""One convolution per image, each image with a kernel of its own that has few taps."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from learnsym.utils.double_backward import double_backward_enabled

Corners = tuple[tuple[int, int], ...]
"""The taps of a kernel as (row, column)."""
CHUNK_BYTES = {"cpu": 32e6}
"""Size of the buffer of gathered pixels: on a CPU what its cache nearly holds is quickest;
elsewhere `ELSEWHERE`."""
ELSEWHERE = 1e9


def per_image_conv(
    images: Tensor, kernels: Tensor, corners: Corners, padding: int, side: int
) -> Tensor:
    """The convolution (as torch means it) of each image with its own kernel, stride 1.

    A grouped conv2d computes the same, but also the taps that are zero, and several times more
    slowly: here the pixels under the taps are gathered for some images at a time and multiplied
    with their kernels. The gathered pixels are not kept for the backward pass. Differentiable once
    (but see `learnsym.utils.double_backward`).

    Args:
        images: [B, C, H, W].
        kernels: [B, C', C, taps].
        corners: (row, column) of each tap in a kernel of side x side.
        padding: zeros on each side.
        side: of the kernel, with its empty taps.

    Returns:
        [B, C', H', W'] with H' = H + 2 padding - side + 1.
    """
    if torch.is_autocast_enabled(images.device.type):
        dtype = torch.get_autocast_dtype(images.device.type)
        images, kernels = images.to(dtype), kernels.to(dtype)
    if double_backward_enabled():
        height, width = (n + 2 * padding - side + 1 for n in images.shape[-2:])
        padded = F.pad(images, [padding] * 4)
        seen = torch.stack(
            [padded[..., row : row + height, column : column + width] for row, column in corners], 2
        )
        return torch.bmm(kernels.flatten(2), seen.flatten(1, 2).flatten(2)).unflatten(
            -1, (height, width)
        )
    return _PerImageConv.apply(images, kernels, corners, padding, side)


class _PerImageConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, kernels: Tensor, corners: Corners, padding: int, side: int
    ) -> Tensor:
        ctx.save_for_backward(images, kernels)
        ctx.settings = corners, padding
        height, width = (n + 2 * padding - side + 1 for n in images.shape[-2:])
        out = images.new_empty(len(images), kernels.shape[1], height * width)
        for rows, pixels in _gathered(F.pad(images, [padding] * 4), corners, height, width):
            torch.bmm(kernels[rows].flatten(2), pixels, out=out[rows])
        return out.unflatten(-1, (height, width))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        images, kernels = ctx.saved_tensors
        corners, padding = ctx.settings
        height, width = grad.shape[-2:]
        grad = grad.flatten(2)
        padded = F.pad(images, [padding] * 4)
        of_images = torch.zeros_like(padded) if ctx.needs_input_grad[0] else None
        of_kernels = torch.empty_like(kernels)
        for rows, pixels in _gathered(padded, corners, height, width):
            torch.bmm(grad[rows], pixels.transpose(1, 2), out=of_kernels[rows].flatten(2))
            if of_images is not None:
                # The buffer is free again: it takes the gradient of the gathered pixels.
                torch.bmm(kernels[rows].flatten(2).transpose(1, 2), grad[rows], out=pixels)
                parts = pixels.view(len(pixels), -1, len(corners), height, width)
                for tap, (row, column) in enumerate(corners):
                    of_images[rows, :, row : row + height, column : column + width].add_(
                        parts[:, :, tap]
                    )
        if of_images is not None:
            of_images = of_images[
                ...,
                padding : of_images.shape[-2] - padding,
                padding : of_images.shape[-1] - padding,
            ]
        return of_images, of_kernels, None, None, None


def _gathered(
    padded: Tensor, corners: Corners, height: int, width: int
) -> Iterator[tuple[slice, Tensor]]:
    """For some images at a time: which, and the pixels under each tap, [b, C * taps, H' * W'], in a
    buffer that is used again.
    """
    count, channels = padded.shape[:2]
    each = channels * len(corners) * height * width * padded.element_size()
    chunk = max(1, min(count, int(CHUNK_BYTES.get(padded.device.type, ELSEWHERE) / each)))
    buffer = padded.new_empty(chunk, channels, len(corners), height, width)
    for start in range(0, count, chunk):
        rows = slice(start, min(start + chunk, count))
        pixels = buffer[: rows.stop - start]
        for tap, (row, column) in enumerate(corners):
            pixels[:, :, tap].copy_(padded[rows, :, row : row + height, column : column + width])
        yield rows, pixels.view(len(pixels), -1, height * width)
