"""A convolution of small images with large kernels, on a CPU: multiplied frequency by frequency."""

from collections.abc import Iterator
from functools import lru_cache
from math import pi
from typing import Any

import torch
from torch import Tensor

Corners = tuple[tuple[int, int], ...]
"""The taps of a kernel as (row, column)."""
EXACT = (torch.float32, torch.float64)
"""Precisions in which three products may replace the four of a complex one."""
PART_BYTES = 16e6
"""Size of the part of a transformed kernel that is there at a time: what a cache nearly holds."""


def spectral_conv(images: Tensor, kernel: Tensor, corners: Corners, size: int) -> Tensor:
    """The convolution (as torch means it) with as many zeros around the images as keep their size.

    A discrete Fourier transform of H + size // 2 rows and W + size // 2 columns is long enough that
    nothing wraps around into the image, and then a convolution is a product for every frequency:
    far less arithmetic than size^2 products for every pixel. The maps are so small that the
    transforms are matrix products themselves, which know nothing of the zeros around image and
    kernel: b x, c k and y = a^T (b x * c k), with three real products for a complex one (four in
    half precision, which rounds less). Differentiable any number of times.

    Rounding, relative to the norm of the output, 256 to 256 channels of 14 x 14 pixels, 29 taps: in
    float32 6e-7 where conv2d has 4e-7, in bfloat16 4e-3 where conv2d has 3e-3.

    Args:
        images: [B, C, H, W].
        kernel: [C', C, taps]; a view of contiguous [C, C', taps] is not copied. What is computed
            has its precision.
        corners: (row, column) of each tap in a kernel of size x size.
        size: odd.

    Returns:
        [B, C', H, W].
    """
    batch, channels, height, width = images.shape
    b, c, a = (
        t.to(kernel)
        for t in transforms(height, width, corners, size, 3 if kernel.dtype in EXACT else 4)
    )
    pixels = b @ images.to(kernel.dtype).flatten(2).flatten(0, 1).t()
    products = Products.apply(
        pixels.view(-1, batch, channels), kernel.transpose(0, 1).contiguous(), c
    )
    return (products.flatten(1).t() @ a).view(batch, -1, height, width)


class Products(torch.autograd.Function):
    """x_p (c k)_p for every p: pixels [P, B, C], kernel [C, C', taps] and c [P, taps] to [P, B,
    C'].

    The transformed kernel is as large as many images, so that only a part of it is there at a time,
    in the backward pass again.
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
            of_weights = torch.bmm(pixels.transpose(1, 2), grad).flatten(1)
            return (
                Products.apply(grad, kernel.transpose(0, 1), c),
                (of_weights.t() @ c).view_as(kernel),
                None,
            )
        of_pixels, of_kernel = (
            torch.empty_like(pixels),
            kernel.new_zeros(c.shape[1], kernel[..., 0].numel()),
        )
        for rows, weights in _parts(kernel, c):
            torch.bmm(grad[rows], weights.transpose(1, 2), out=of_pixels[rows])
            torch.bmm(
                pixels[rows].transpose(1, 2), grad[rows], out=weights
            )  # the buffer is free again
            of_kernel.addmm_(c[rows].t(), weights.flatten(1))
        return of_pixels, of_kernel.t().view_as(kernel), None


def _parts(kernel: Tensor, c: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """For some p at a time: which, and (c k)_p, [some, C, C'], in a buffer that is used again."""
    flat = kernel.flatten(0, 1).t()
    each = max(1, int(PART_BYTES / (flat.shape[1] * flat.element_size())))
    buffer = flat.new_empty(min(each, len(c)), flat.shape[1])
    for start in range(0, len(c), each):
        rows = slice(start, min(start + each, len(c)))
        weights = torch.mm(c[rows], flat, out=buffer[: rows.stop - start])
        yield rows, weights.view(-1, *kernel.shape[:2])


def pays(
    batch: int,
    pairs: int,
    channels: int,
    height: int,
    width: int,
    taps: int,
    size: int,
    dtype: torch.dtype,
) -> bool:
    """Whether `spectral_conv` takes less time than conv2d, training on a CPU: if it multiplies half
    as often or less.

    Its products are small and it passes over more memory; in half precision, where conv2d is
    quicker at once, a quarter is asked. Measured on two cores for 16 to 512 channels and kernels of
    3 to 7, where this says yes: 1.6 to 3.4 times faster in float32,
    1.2 to 2.1 in bfloat16.

    Args:
        batch: images.
        pairs: C C'.
        channels: C + C'.
        height, width, taps, size: of images and kernel.
        dtype: what is computed in.
    """
    products, pixels, gain = (3, height * width, 2) if dtype in EXACT else (4, height * width, 4)
    count = products * ((height + size // 2) * (width + size // 2) + 3) // 2
    return (
        gain * count * (batch * pairs + batch * pixels * channels + taps * pairs)
        < batch * pixels * pairs * size * size
    )


@lru_cache(maxsize=32)
def transforms(
    height: int, width: int, corners: Corners, size: int, products: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """B [P, H W], c [P, taps] and a [P, H W] in float64, of P real products, see `spectral_conv`.

    The frequencies f and -f of a real signal are conjugates, so that one of the two is enough; f =
    -f is real and takes one product. With X = sum x e^(-i f p), K = sum k e^(i f t) (t counts from
    the central tap) and Y = X K, y = sum Re(Y e^(i f p)).
    """
    rows, columns, half = height + size // 2, width + size // 2, size // 2
    u, v = (
        g.flatten()
        for g in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    )
    place, opposite = u * columns + v, (-u % rows) * columns + (-v % columns)
    frequencies = torch.stack([u.double() / rows, v.double() / columns], -1) * 2 * pi

    def phases(which: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        phase = frequencies[which] @ points.double().t()
        return phase.cos(), phase.sin()

    pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width)).view(-1, 2)
    taps = torch.tensor(corners) - half
    (re, _), (k_re, _) = phases(place == opposite, pixels), phases(place == opposite, taps)
    (cos, sin), (k_cos, k_sin) = phases(place < opposite, pixels), phases(place < opposite, taps)
    if (
        products == 3
    ):  # (X1 + i X2)(K1 + i K2) from K1 (X1 + X2), X1 (K2 - K1), X2 (K1 + K2), with X2 = -sum x sin
        b = [re, cos - sin, cos, -sin]
        c = [k_re, k_cos, k_sin - k_cos, k_cos + k_sin]
        a = [re, 2 * (cos - sin), -2 * sin, -2 * cos]
    else:
        b = [re, cos, -sin, cos, -sin]
        c = [k_re, k_cos, k_sin, k_sin, k_cos]
        a = [re, 2 * cos, -2 * cos, -2 * sin, -2 * sin]
    return torch.cat(b), torch.cat(c), torch.cat(a) / (rows * columns)
