"""Convolutions on few taps, and tanh with pooling and layer norm, for many members with channels
innermost: [M, B, H, W, C].

Autograd's own backward of the same formulas takes more than twice the time: it reduces over inner
strides, and fills and adds a whole tensor for every slice. Both functions are once differentiable,
but where second derivatives are asked for (`learnsym.utils.double_backward`) they leave it to
autograd.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from learnsym.utils.double_backward import double_backward_enabled


def tap_conv(images: Tensor, kernel: Tensor, taps: tuple[int, ...]) -> Tensor:
    """Convolutions of M members with zeros beyond the border.

    Args:
        images: [M, B, H, W, C], or [1, B, H, W, C] if all members see the same.
        kernel: [M, taps, C, C'].
        taps: places in a 3 x 3 kernel, row by row; tap 3 r + s joins output (i, j) to input (i + r
            - 1, j + s - 1).

    Returns:
        [M, B, H, W, C'].
    """
    if double_backward_enabled():
        seen = slices(images, taps).flatten(1, 3).expand(len(kernel), -1, -1)
        return torch.bmm(seen, kernel.flatten(1, 2)).unflatten(1, images.shape[1:4])
    return _TapConv.apply(images, kernel, taps)


def tanh_pool_norm(x: Tensor, pool: bool) -> Tensor:
    """tanh, average pool 2 (if `pool`; even sides) and layer norm over space without parameters:
    [M, B, H, W, C] to the same, or to [M, B, H/2, W/2, C].
    """
    if double_backward_enabled():
        squashed = x.tanh()
        pooled = average_pool(squashed) if pool else squashed
        flat = pooled.flatten(2, 3).flatten(0, 1)
        centred = flat - space_mean(flat)
        return (centred * torch.rsqrt(space_mean(centred.square()) + _TanhPoolNorm.EPS)).view(
            pooled.shape
        )
    return _TanhPoolNorm.apply(x, pool)


class _TapConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, images: Tensor, kernel: Tensor, taps: tuple[int, ...]) -> Tensor:
        seen = (
            neighbours(images, taps).flatten(1, 3).expand(len(kernel), -1, -1)
        )  # [M, B H W, taps C]
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
        of_images = sent_back(parts, ctx.taps)
        return (
            of_images if members == len(parts) else of_images.sum(0, keepdim=True),
            of_kernel,
            None,
        )


def neighbours(images: Tensor, taps: tuple[int, ...]) -> Tensor:
    """[M, B, H, W, C] to [M, B, H, W, taps C]: what every tap sees, zeros beyond the border."""
    height, width, channels = images.shape[2:]
    if channels < FEW:
        return slices(images, taps)
    seen, _ = _links(images.shape[0] * images.shape[1], height, width, taps, images.device)
    return _bag_sums(images, seen).view(*images.shape[:4], -1)


def slices(images: Tensor, taps: tuple[int, ...]) -> Tensor:
    """`neighbours` by slices; differentiable any number of times."""
    height, width = images.shape[2:4]
    padded = F.pad(images, (0, 0, 1, 1, 1, 1))
    return torch.cat(
        [padded[:, :, t // 3 : t // 3 + height, t % 3 : t % 3 + width] for t in taps], dim=-1
    )


def sent_back(parts: Tensor, taps: tuple[int, ...]) -> Tensor:
    """The adjoint of `neighbours`: [M, B, H, W, taps, C] to [M, B, H, W, C]."""
    _, seen_by = _links(parts.shape[0] * parts.shape[1], *parts.shape[2:4], taps, parts.device)
    return _bag_sums(parts, seen_by).view(*parts.shape[:4], -1)


FEW = 8
"""Below so many channels, sums of bags are slower than copies of slices."""
Bags = tuple[Tensor, Tensor]
"""Rows of all bags, one after the other, and where each bag begins."""


def _bag_sums(x: Tensor, bags: Bags) -> Tensor:
    """The sum of every bag's rows of x [..., C], zero for an empty one: one pass, where slices
    would take one for every tap.
    """
    return F.embedding_bag(bags[0], x.reshape(-1, x.shape[-1]), bags[1], mode="sum")


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept from test time must serve in training too
def _links(
    images: int, height: int, width: int, taps: tuple[int, ...], device: torch.device
) -> tuple[Bags, Bags]:
    """For every pixel and tap, the pixel that it sees; for every pixel, the pixels and taps that
    see it.
    """
    tap = torch.tensor(taps)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    row, column = row.unsqueeze(2) + tap // 3 - 1, column.unsqueeze(2) + tap % 3 - 1  # [H, W, taps]
    inside = ((row >= 0) & (row < height) & (column >= 0) & (column < width)).flatten()
    pixel, link = (row * width + column).flatten()[inside], inside.nonzero().flatten()
    found = []
    for rows, sizes, total in (
        (pixel, inside.long(), height * width),
        (link[pixel.argsort(stable=True)], pixel.bincount(minlength=height * width), len(inside)),
    ):
        everywhere = rows + total * torch.arange(images).unsqueeze(1)
        ends = sizes.repeat(images).cumsum(0)
        found.append((everywhere.flatten().to(device), (ends - sizes.repeat(images)).to(device)))
    return found[0], found[1]


class _TanhPoolNorm(torch.autograd.Function):
    EPS = 1e-5

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, pool: bool) -> Tensor:
        squashed = x.tanh()
        pooled = average_pool(squashed) if pool else squashed
        flat = pooled.flatten(2, 3).flatten(0, 1)  # [M B, pixels, C]
        centred = flat - space_mean(flat)
        scale = torch.rsqrt(space_mean(centred.square()) + _TanhPoolNorm.EPS)
        normal = centred.mul_(scale)
        ctx.save_for_backward(squashed, normal, scale)
        ctx.pool = pool
        return normal.view(pooled.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        squashed, normal, scale = ctx.saved_tensors
        grad = grad.reshape(normal.shape)
        along, level = scale * space_mean(grad * normal), scale * space_mean(grad)
        inner = torch.addcmul(-level, grad, scale).addcmul_(
            normal, along, value=-1
        )  # (grad - level - normal along) scale
        if not ctx.pool:
            return torch.ops.aten.tanh_backward(inner.view(squashed.shape), squashed), None
        members, batch, height, width, channels = squashed.shape
        quarter = inner.div_(4).view(members, batch, height // 2, 1, width // 2, 1, channels)
        blocks = squashed.view(members, batch, height // 2, 2, width // 2, 2, channels)
        return torch.ops.aten.tanh_backward(quarter.expand(blocks.shape), blocks).reshape(
            squashed.shape
        ), None


def average_pool(x: Tensor) -> Tensor:
    """Average pool 2 of [M, B, H, W, C] (even sides) to [M, B, H/2, W/2, C]; torch's own for
    channels that lie innermost.
    """
    planes = x.flatten(0, 1).permute(0, 3, 1, 2)
    return F.avg_pool2d(planes, 2).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


def space_mean(x: Tensor) -> Tensor:
    """Mean over pixels [N, 1, C] of [N, pixels, C], as a product: torch's own sum over a middle
    axis is several times slower.
    """
    pixels = x.shape[1]
    weights = x.new_full((1, 1, pixels), 1 / pixels).expand(len(x), -1, -1)
    return torch.bmm(weights, x)
