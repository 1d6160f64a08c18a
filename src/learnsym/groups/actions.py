"""Act with planar maps on images, and with affine maps of any dimension on points.

Pixel centres lie on a regular grid over [-1, 1]^2, the corner pixels' centres in the corners
(align_corners=True); x runs to the right, y runs down. A matrix [3, 3] is an affine map of
homogeneous coordinates (x, y, 1).
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.groups.base import homogeneous
from learnsym.groups.rotations import planar_rotation
from learnsym.utils.double_backward import double_backward_enabled


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample images on a transformed grid: out(x) = image(M x), bilinear, zero outside.

    This is how Augerino augments (Benton et al. 2020, section 3).

    Args:
        images: [B, C, H, W], floating point.
        matrices: [B, 3, 3] or [B, 2, 3], affine maps of the sampling grid; their dtype decides the
            precision of the grid.

    Returns:
        [B, C, H, W]. The identity matrix gives the images back, up to rounding.
    """
    shapes = {(len(images), 3, 3), (len(images), 2, 3)}
    if images.ndim != 4 or tuple(matrices.shape) not in shapes:
        raise ValueError(
            f"Expected images [B, C, H, W] and matrices [B, 3, 3], "
            f"got {list(images.shape)} and {list(matrices.shape)}."
        )
    height, width = images.shape[-2:]
    precision = torch.promote_types(images.dtype, torch.float32)
    # In bfloat16 half a pixel would be lost.
    with torch.autocast(matrices.device.type, enabled=False):
        # F.affine_grid multiplies one small matrix per image; a single product for the whole batch
        # is several times faster. All rows: cutting off the last would cost a copy backward.
        rows = matrices.flatten(1)
        grid = rows @ _coordinates(height, width, matrices.device, matrices.dtype)[: rows.shape[1]]
        grid = grid.view(-1, height, width, 2).to(precision)
        sample = sample_bilinear if double_backward_enabled() else _grid_sample
        return sample(images.to(precision), grid).to(images.dtype)


def _grid_sample(images: Tensor, grid: Tensor) -> Tensor:
    """Sample [B, C, H, W] bilinearly on a grid [B, H', W', 2]; can be differentiated once."""
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def sample_bilinear(images: Tensor, grid: Tensor) -> Tensor:
    """Do what `_grid_sample` does by gathers and products, differentiable any number of times."""
    batch, channels, height, width = images.shape
    flat = images.flatten(2)
    x = (grid[..., 0] + 1) * (0.5 * (width - 1))  # in pixels
    y = (grid[..., 1] + 1) * (0.5 * (height - 1))
    left, top = x.detach().floor(), y.detach().floor()
    total = flat.new_zeros(batch, channels, grid.shape[1] * grid.shape[2])
    for column, along_x in ((left, left + 1 - x), (left + 1, x - left)):
        for row, along_y in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = torch.where(inside, row * width + column, 0).long().flatten(1).unsqueeze(1)
            weight = torch.where(inside, along_x * along_y, 0).flatten(1).unsqueeze(1)
            total = total + flat.gather(2, index.expand(-1, channels, -1)) * weight
    return total.unflatten(2, grid.shape[1:3])


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _coordinates(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the linear map [9, H * W * 2] from affine maps [3, 3] to sampling grids (x, y).

    The rows that belong to the last row of the affine map are zero.
    """

    def axis(count: int) -> Tensor:
        start = -1 if count > 1 else 0
        return torch.linspace(start, 1, count, dtype=torch.float64)

    y, x = torch.meshgrid(axis(height), axis(width), indexing="ij")
    pixels = torch.stack([x.flatten(), y.flatten(), torch.ones_like(x).flatten()])
    rows = torch.eye(3, 2, dtype=torch.float64).unsqueeze(1)
    return torch.kron(rows, pixels.unsqueeze(-1)).reshape(9, -1).to(device, dtype)


def act_on_images(elements: Tensor, images: Tensor) -> Tensor:
    """Return (g f)(x) = f(g^-1 x) for elements [B, 3, 3] and images [B, C, H, W]."""
    return warp(images, torch.linalg.inv(elements))


def act_on_points(elements: Tensor, points: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return g x [..., N, d] for affine maps [..., d + 1, d + 1], one per cloud [..., N, d].

    Nothing is centred. What the `mask` [..., N] leaves out is padding: it becomes zero, whatever
    its values.
    """
    if mask is not None and (mask.dtype != torch.bool or mask.shape != points.shape[:-1]):
        raise ValueError(
            f"Expected a mask of torch.bool {list(points.shape[:-1])} for points "
            f"{list(points.shape)}, got {mask.dtype} {list(mask.shape)}."
        )
    # In bfloat16 positions would have 8 digits.
    with torch.autocast(points.device.type, enabled=False):
        precision = torch.promote_types(points.dtype, elements.dtype)
        linear, shift = elements[..., :-1, :-1].to(precision), elements[..., :-1, -1].to(precision)
        positions, shift = points.to(precision), shift.unsqueeze(-2)
        if mask is not None:
            # Before the product: NaN in the padding would spoil the gradient of the elements.
            present = mask.unsqueeze(-1)
            positions = torch.where(present, positions, 0.0)
            shift = torch.where(present, shift, 0.0)
        return (positions @ linear.transpose(-1, -2) + shift).to(points.dtype)


def rotate_images(images: Tensor, angles: Tensor) -> Tensor:
    """Rotate images [B, C, H, W] counter-clockwise on the screen by angles [B] in radians.

    A quarter turn is `torch.rot90(images, 1, (-2, -1))`. Images that are not square are rotated in
    pixel units, not squeezed.
    """
    height, width = images.shape[-2:]
    # With y running down, sampling at R(angle) x turns the content counter-clockwise.
    matrices = homogeneous(planar_rotation(angles))
    if height != width and height > 1 and width > 1:
        ratio = (width - 1) / (height - 1)
        matrices = matrices * matrices.new_tensor([[1, 1 / ratio, 1], [ratio, 1, 1], [1, 1, 1]])
    return warp(images, matrices)
