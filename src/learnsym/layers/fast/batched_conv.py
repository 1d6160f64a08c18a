"""Convolutions on few taps, and tanh, pooling and layer norm, for many members at a time.

Channels are innermost: [M, B, H, W, C]. Autograd's own backward of the same formulas is slower on a
CPU: it reduces over inner strides, and fills and adds a whole tensor for every slice. Only where
second derivatives are asked for (`learnsym.utils.double_backward`) is it left to autograd.
"""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from learnsym.utils.double_backward import double_backward_enabled

FEW_CHANNELS = 8  # for fewer, sums of bags are slower than copies of slices
_EPSILON = 1e-5
_Taps = tuple[int, ...]
_Bags = tuple[Tensor, Tensor]
"""Rows of all bags, one after the other, and where each bag begins."""


def tap_conv(images: Tensor, kernel: Tensor, taps: _Taps) -> Tensor:
    """Convolve images of M members, with zeros beyond the border.

    Images are [M, B, H, W, C], or [1, B, H, W, C] if all members see the same, kernels [M, taps, C,
    C'] and the result [M, B, H, W, C']. Taps are indices in a 3 x 3 kernel, row by row; tap 3 r + s
    joins output (i, j) to input (i + r - 1, j + s - 1).
    """
    if double_backward_enabled():
        return _multiply(_slice_taps(images, taps), kernel)
    return _TapConv.apply(images, kernel, taps)


def tanh_pool_norm(x: Tensor, pool: bool) -> Tensor:
    """Apply tanh, average pool 2 (if `pool`; even sides) and layer norm over space.

    The norm has no parameters. [M, B, H, W, C] to the same, or to [M, B, H/2, W/2, C].
    """
    if double_backward_enabled():
        pooled = average_pool(x.tanh()) if pool else x.tanh()
        return _layer_norm(pooled)[0].view(pooled.shape)
    return _TanhPoolNorm.apply(x, pool)


def _multiply(patches: Tensor, kernel: Tensor) -> Tensor:
    """Multiply [M or 1, B, H, W, taps C] with [M, taps, C, C'] to [M, B, H, W, C']."""
    rows = patches.flatten(1, 3).expand(len(kernel), -1, -1)
    return torch.bmm(rows, kernel.flatten(1, 2)).unflatten(1, patches.shape[1:4])


class _TapConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, kernel: Tensor, taps: _Taps) -> Tensor:
        patches = gather_taps(images, taps)
        ctx.save_for_backward(patches, kernel)
        ctx.taps, ctx.shape = taps, images.shape
        return _multiply(patches, kernel)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None]:
        patches, kernel = ctx.saved_tensors
        grad = grad.flatten(1, 3)
        rows = patches.flatten(1, 3).expand(len(kernel), -1, -1)
        grad_kernel = torch.bmm(rows.mT, grad).view(kernel.shape)
        if not ctx.needs_input_grad[0]:
            return None, grad_kernel, None
        grad_patches = torch.bmm(grad, kernel.flatten(1, 2).mT)
        members, *space, channels = ctx.shape
        grad_patches = grad_patches.view(-1, *space, len(ctx.taps), channels)
        grad_images = sum_taps(grad_patches, ctx.taps)
        if members < len(grad_images):
            grad_images = grad_images.sum(0, keepdim=True)
        return grad_images, grad_kernel, None


def gather_taps(images: Tensor, taps: _Taps) -> Tensor:
    """Return the pixels that each tap sees, [M, B, H, W, C] to [M, B, H, W, taps C]."""
    height, width, channels = images.shape[2:]
    if channels < FEW_CHANNELS:
        return _slice_taps(images, taps)
    bags, _ = _tap_bags(images.shape[0] * images.shape[1], height, width, taps, images.device)
    return _bag_sums(images, bags).view(*images.shape[:4], -1)


def _slice_taps(images: Tensor, taps: _Taps) -> Tensor:
    """Do the same as `gather_taps` by slices; differentiable any number of times."""
    height, width = images.shape[2:4]
    padded = F.pad(images, (0, 0, 1, 1, 1, 1))
    return torch.cat(
        [padded[:, :, t // 3 : t // 3 + height, t % 3 : t % 3 + width] for t in taps], dim=-1
    )


def sum_taps(patches: Tensor, taps: _Taps) -> Tensor:
    """Apply the adjoint of `gather_taps`: [M, B, H, W, taps, C] to [M, B, H, W, C]."""
    images = patches.shape[0] * patches.shape[1]
    _, bags = _tap_bags(images, *patches.shape[2:4], taps, patches.device)
    return _bag_sums(patches, bags).view(*patches.shape[:4], -1)


def _bag_sums(x: Tensor, bags: _Bags) -> Tensor:
    """Sum every bag's rows of x [..., C], zero for an empty one, in one pass."""
    return F.embedding_bag(bags[0], x.reshape(-1, x.shape[-1]), bags[1], mode="sum")


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept from test time must serve in training too
def _tap_bags(
    images: int, height: int, width: int, taps: _Taps, device: torch.device
) -> tuple[_Bags, _Bags]:
    """Return for every pixel and tap the pixel that it sees, and for every pixel its taps."""
    tap = torch.tensor(taps)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    row, column = row.unsqueeze(2) + tap // 3 - 1, column.unsqueeze(2) + tap % 3 - 1  # [H, W, taps]
    inside = ((row >= 0) & (row < height) & (column >= 0) & (column < width)).flatten()
    pixel, link = (row * width + column).flatten()[inside], inside.nonzero().flatten()
    counts = pixel.bincount(minlength=height * width)

    def repeat(rows: Tensor, sizes: Tensor, total: int) -> _Bags:
        """Repeat the bags of one image, of `total` rows, for all images."""
        repeated = rows + total * torch.arange(images).unsqueeze(1)
        sizes = sizes.repeat(images)
        return repeated.flatten().to(device), (sizes.cumsum(0) - sizes).to(device)

    links_of_pixels = link[pixel.argsort(stable=True)]
    return (
        repeat(pixel, inside.long(), height * width),
        repeat(links_of_pixels, counts, len(inside)),
    )


class _TanhPoolNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: bool) -> Tensor:
        squashed = x.tanh()
        pooled = average_pool(squashed) if pool else squashed
        normal, scale = _layer_norm(pooled)
        ctx.save_for_backward(squashed, normal, scale)
        ctx.pool = pool
        return normal.view(pooled.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        squashed, normal, scale = ctx.saved_tensors
        grad = grad.reshape(normal.shape)
        along, level = scale * space_mean(grad * normal), scale * space_mean(grad)
        # inner = (grad - level - normal along) scale
        inner = torch.addcmul(-level, grad, scale).addcmul_(normal, along, value=-1)
        if not ctx.pool:
            return torch.ops.aten.tanh_backward(inner.view(squashed.shape), squashed), None
        members, batch, height, width, channels = squashed.shape
        quarter = inner.div_(4).view(members, batch, height // 2, 1, width // 2, 1, channels)
        blocks = squashed.view(members, batch, height // 2, 2, width // 2, 2, channels)
        grad_x = torch.ops.aten.tanh_backward(quarter.expand(blocks.shape), blocks)
        return grad_x.reshape(squashed.shape), None


def _layer_norm(x: Tensor) -> tuple[Tensor, Tensor]:
    """Normalise over pixels; return [M B, pixels, C] and the scales [M B, 1, C]."""
    flat = x.flatten(2, 3).flatten(0, 1)
    centred = flat - space_mean(flat)
    scale = torch.rsqrt(space_mean(centred.square()) + _EPSILON)
    return centred * scale, scale


def average_pool(x: Tensor) -> Tensor:
    """Apply average pool 2 to [M, B, H, W, C] (even sides): [M, B, H/2, W/2, C]."""
    planes = x.flatten(0, 1).permute(0, 3, 1, 2)
    return F.avg_pool2d(planes, 2).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


def space_mean(x: Tensor) -> Tensor:
    """Average over pixels, [N, pixels, C] to [N, 1, C], as a product: faster than torch.mean."""
    pixels = x.shape[1]
    weights = x.new_full((1, 1, pixels), 1 / pixels).expand(len(x), -1, -1)
    return torch.bmm(weights, x)
