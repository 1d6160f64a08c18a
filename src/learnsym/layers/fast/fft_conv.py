"""A convolution of small images with large kernels on a CPU, multiplied frequency by frequency."""

from collections.abc import Iterator
from functools import lru_cache
from math import pi
from typing import Any

import torch
from torch import Tensor

from learnsym.layers.fast.taps import TapPositions

_THREE_PRODUCTS = (torch.float32, torch.float64)  # where three real products make a complex one
_PART_BYTES = 16e6  # of a transformed kernel, held at a time: about what a cache holds


def fft_conv(images: Tensor, kernel: Tensor, taps: TapPositions, size: int) -> Tensor:
    """Convolve (as torch means it) with as many zeros around the images as keep their size.

    A discrete Fourier transform of H + size // 2 rows and W + size // 2 columns is long enough that
    nothing wraps around into the image, and then a convolution is a product for every frequency.
    The maps are so small that the transforms are matrix products themselves: b x, c k and
    y = a^T (b x * c k), with three real products for a complex one (four in half precision, which
    rounds less). Differentiable any number of times.

    Images [B, C, H, W] and a kernel [C', C, taps] of an odd `size` give [B, C', H, W] in the
    kernel's precision. A kernel that is a view of contiguous [C, C', taps] is not copied.
    """
    batch, channels, height, width = images.shape
    products = 3 if kernel.dtype in _THREE_PRODUCTS else 4
    b, c, a = (t.to(kernel) for t in transforms(height, width, taps, size, products))
    pixels = b @ images.to(kernel.dtype).flatten(2).flatten(0, 1).t()
    outputs = _Products.apply(
        pixels.view(-1, batch, channels), kernel.transpose(0, 1).contiguous(), c
    )
    return (outputs.flatten(1).t() @ a).view(batch, -1, height, width)


class _Products(torch.autograd.Function):
    """Compute x_p (c k)_p for every p: pixels [P, B, C], kernel [C, C', taps] to [P, B, C'].

    c is [P, taps]. The transformed kernel is as large as many images, so that only a part of it is
    held at a time, in the backward pass again.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, kernel: Tensor, c: Tensor) -> Tensor:
        ctx.save_for_backward(pixels, kernel, c)
        out = pixels.new_empty(len(c), pixels.shape[1], kernel.shape[1])
        for rows, weights in _parts(kernel, c):
            torch.bmm(pixels[rows], weights, out=out[rows])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        pixels, kernel, c = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            grad_weights = torch.bmm(pixels.transpose(1, 2), grad).flatten(1)
            grad_pixels = _Products.apply(grad, kernel.transpose(0, 1), c)
            return grad_pixels, (grad_weights.t() @ c).view_as(kernel), None
        grad_pixels = torch.empty_like(pixels)
        grad_kernel = kernel.new_zeros(c.shape[1], kernel[..., 0].numel())
        for rows, weights in _parts(kernel, c):
            torch.bmm(grad[rows], weights.transpose(1, 2), out=grad_pixels[rows])
            # The buffer of weights is free again.
            torch.bmm(pixels[rows].transpose(1, 2), grad[rows], out=weights)
            grad_kernel.addmm_(c[rows].t(), weights.flatten(1))
        return grad_pixels, grad_kernel.t().view_as(kernel), None


def _parts(kernel: Tensor, c: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield some p at a time, and (c k)_p, [some, C, C'], in a buffer that is used again."""
    flat = kernel.flatten(0, 1).t()
    count = max(1, int(_PART_BYTES / (flat.shape[1] * flat.element_size())))
    buffer = flat.new_empty(min(count, len(c)), flat.shape[1])
    for start in range(0, len(c), count):
        rows = slice(start, min(start + count, len(c)))
        weights = torch.mm(c[rows], flat, out=buffer[: rows.stop - start])
        yield rows, weights.view(-1, *kernel.shape[:2])


def fft_is_faster(
    images: Tensor, kernel_shape: tuple[int, ...], size: int, dtype: torch.dtype
) -> bool:
    """Estimate whether `fft_conv` takes less time than conv2d: on a CPU, with fewer products.

    Its products are small and it passes over more memory, so that half the multiplications of
    conv2d are asked for; in half precision, in which conv2d is quicker, a quarter. The shapes are
    [B, C, H, W] and (C', C, taps).
    """
    if images.device.type != "cpu" or size == 1:
        return False
    outputs, inputs, taps = kernel_shape
    batch, (height, width) = len(images), images.shape[-2:]
    products, gain = (3, 2) if dtype in _THREE_PRODUCTS else (4, 4)
    pairs, pixels = outputs * inputs, height * width
    count = products * ((height + size // 2) * (width + size // 2) + 3) // 2
    multiplications = count * (batch * pairs + batch * pixels * (outputs + inputs) + taps * pairs)
    return gain * multiplications < batch * pixels * pairs * size * size


@lru_cache(maxsize=32)
def transforms(
    height: int, width: int, taps: TapPositions, size: int, products: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """Return b [P, H W], c [P, taps] and a [P, H W] of `fft_conv`, float64, P real products.

    The frequencies f and -f of a real signal are conjugates, so that one of the two is enough; f =
    -f is real and takes one product. With X = sum x e^(-i f p), K = sum k e^(i f t) (t counts from
    the central tap) and Y = X K, y = sum Re(Y e^(i f p)).
    """
    rows, columns, half = height + size // 2, width + size // 2, size // 2
    u, v = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).unbind(1)
    index, opposite = u * columns + v, (-u % rows) * columns + (-v % columns)
    frequencies = torch.stack([u.double() / rows, v.double() / columns], -1) * 2 * pi

    def phases(chosen: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        phase = frequencies[chosen] @ points.double().t()
        return phase.cos(), phase.sin()

    pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    shifts = torch.tensor(taps) - half
    real, pair = index == opposite, index < opposite
    (re, _), (k_re, _) = phases(real, pixels), phases(real, shifts)
    (cos, sin), (k_cos, k_sin) = phases(pair, pixels), phases(pair, shifts)
    if products == 3:
        # (X1 + i X2)(K1 + i K2) from K1 (X1 + X2), X1 (K2 - K1), X2 (K1 + K2), X2 = -sum x sin
        b = [re, cos - sin, cos, -sin]
        c = [k_re, k_cos, k_sin - k_cos, k_cos + k_sin]
        a = [re, 2 * (cos - sin), -2 * sin, -2 * cos]
    else:
        b = [re, cos, -sin, cos, -sin]
        c = [k_re, k_cos, k_sin, k_sin, k_cos]
        a = [re, 2 * cos, -2 * cos, -2 * sin, -2 * sin]
    return torch.cat(b), torch.cat(c), torch.cat(a) / (rows * columns)
