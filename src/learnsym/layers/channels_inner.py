"""Convolutions on few taps, and tanh with pooling and layer norm, for many members with channels innermost: [M, B, H, W, C].

Autograd's own backward of the same formulas takes more than twice the time: it reduces over inner strides, and fills and adds a
whole tensor for every slice. Both functions are once differentiable.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def tap_conv(images: Tensor, kernel: Tensor, taps: tuple[int, ...]) -> Tensor:
    """Convolutions of M members with zeros beyond the border.

    Args:
        images: [M, B, H, W, C], or [1, B, H, W, C] if all members see the same.
        kernel: [M, taps, C, C'].
        taps: places in a 3 x 3 kernel, row by row; tap 3 r + s joins output (i, j) to input (i + r - 1, j + s - 1).

    Returns:
        [M, B, H, W, C'].
    """
    return _TapConv.apply(images, kernel, taps)


def tanh_pool_norm(x: Tensor, pool: bool) -> Tensor:
    """tanh, average pool 2 (if `pool`; even sides) and layer norm over space without parameters: [M, B, H, W, C] to the same, or
    to [M, B, H/2, W/2, C]."""
    return _TanhPoolNorm.apply(x, pool)


class _TapConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, images: Tensor, kernel: Tensor, taps: tuple[int, ...]) -> Tensor:
        seen = neighbours(images, taps).flatten(1, 3).expand(len(kernel), -1, -1)  # [M, B H W, taps C]
        ctx.save_for_backward(seen, kernel)
        ctx.taps, ctx.shape = taps, images.shape
        return torch.bmm(seen, kernel.flatten(1, 2)).unflatten(1, images.shape[1:4])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor, None]:
        seen, kernel = ctx.saved_tensors
        grad = grad.flatten(1, 3)
        of_kernel = torch.bmm(seen.mT, grad).view(kernel.shape)
        if not ctx.needs_input_grad[0]:
            return None, of_kernel, None
        spread = torch.bmm(grad, kernel.flatten(1, 2).mT)
        members, batch, height, width, channels = ctx.shape
        parts = spread.view(-1, batch, height, width, len(ctx.taps), channels)
        padded = spread.new_zeros(len(parts), batch, height + 2, width + 2, channels)
        for place, tap in enumerate(ctx.taps):
            padded[:, :, tap // 3 : tap // 3 + height, tap % 3 : tap % 3 + width] += parts[..., place, :]
        inner = padded[:, :, 1:-1, 1:-1]
        return inner if members == len(parts) else inner.sum(0, keepdim=True), of_kernel, None


def neighbours(images: Tensor, taps: tuple[int, ...]) -> Tensor:
    """[M, B, H, W, C] to [M, B, H, W, taps C]: what every tap sees, zeros beyond the border."""
    height, width = images.shape[2:4]
    padded = F.pad(images, (0, 0, 1, 1, 1, 1))
    return torch.cat([padded[:, :, t // 3 : t // 3 + height, t % 3 : t % 3 + width] for t in taps], dim=-1)


class _TanhPoolNorm(torch.autograd.Function):
    EPS = 1e-5

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, pool: bool) -> Tensor:
        squashed = x.tanh()
        pooled = _average_pool(squashed) if pool else squashed
        flat = pooled.flatten(2, 3).flatten(0, 1)  # [M B, pixels, C]
        centred = flat - space_mean(flat)
        scale = torch.rsqrt(space_mean(centred.square()) + _TanhPoolNorm.EPS)
        normal = centred * scale
        ctx.save_for_backward(squashed, normal, scale)
        ctx.pool = pool
        return normal.view(pooled.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        squashed, normal, scale = ctx.saved_tensors
        grad = grad.reshape(normal.shape)
        inner = (grad - space_mean(grad) - normal * space_mean(grad * normal)) * scale
        if not ctx.pool:
            return torch.ops.aten.tanh_backward(inner.view(squashed.shape), squashed), None
        members, batch, height, width, channels = squashed.shape
        quarter = inner.div_(4).view(members, batch, height // 2, 1, width // 2, 1, channels)
        blocks = squashed.view(members, batch, height // 2, 2, width // 2, 2, channels)
        return torch.ops.aten.tanh_backward(quarter.expand(blocks.shape), blocks).reshape(squashed.shape), None


def _average_pool(x: Tensor) -> Tensor:
    """Average pool 2 of [M, B, H, W, C]; torch's own for channels that lie innermost."""
    planes = x.flatten(0, 1).permute(0, 3, 1, 2)
    return F.avg_pool2d(planes, 2).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


def space_mean(x: Tensor) -> Tensor:
    """Mean over pixels [N, 1, C] of [N, pixels, C], as a product: torch's own sum over a middle axis is several times slower."""
    pixels = x.shape[1]
    weights = x.new_full((1, 1, pixels), 1 / pixels).expand(len(x), -1, -1)
    return torch.bmm(weights, x)
