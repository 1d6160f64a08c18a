"""How planar transformations act on images, and affine maps of any dimension on coordinates.

Pixel centres lie on a regular grid over [-1, 1]^2, the corner pixels' centres in the corners
(align_corners=True); x runs to the right, y runs down. A matrix [3, 3] is an affine map of
homogeneous coordinates (x, y, 1).
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.utils.double_backward import double_backward_enabled


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample images on a transformed grid: out(x) = image(M x), bilinear, zero outside (Augerino,
    section 3).

    Args:
        images: [B, C, H, W], floating point.
        matrices: [B, 3, 3] or [B, 2, 3], affine maps of the sampling grid; their dtype decides the
            precision of the grid.

    Returns:
        [B, C, H, W]. The identity matrix gives the images back, up to rounding.
    """
    if (
        images.ndim != 4
        or matrices.shape[0] != images.shape[0]
        or matrices.shape[1:] not in ((3, 3), (2, 3))
    ):
        raise ValueError(
            f"warp takes images [B, C, H, W] and matrices [B, 3, 3]; got {list(images.shape)} and {list(matrices.shape)}"
        )
    height, width = images.shape[-2:]
    # F.affine_grid multiplies one small matrix per image; a single product for the whole batch is
    # several times faster.
    with torch.autocast(
        matrices.device.type, enabled=False
    ):  # half a pixel would be lost in bfloat16
        rows = matrices.flatten(
            1
        )  # all of it: cutting off the last row would cost a copy in the backward pass
        grid = rows @ _coordinates(height, width, matrices.device, matrices.dtype)[: rows.shape[1]]
        precise = torch.promote_types(images.dtype, torch.float32)
        grid = grid.view(-1, height, width, 2).to(precise)
        if double_backward_enabled():
            return sample_plainly(images.to(precise), grid).to(images.dtype)
        warped = F.grid_sample(
            images.to(precise), grid, mode="bilinear", padding_mode="zeros", align_corners=True
        )
        return warped.to(images.dtype)


def sample_plainly(images: Tensor, grid: Tensor) -> Tensor:
    """`F.grid_sample` (bilinear, zeros, align_corners=True) from gathers and products:
    differentiable any number of times.

    Args:
        images: [B, C, H, W].
        grid: [B, H', W', 2], (x, y) in [-1, 1] inside the image.

    Returns:
        [B, C, H', W'].
    """
    batch, channels, height, width = images.shape
    flat = images.flatten(2)
    x, y = (
        (grid[..., 0] + 1) * (0.5 * (width - 1)),
        (grid[..., 1] + 1) * (0.5 * (height - 1)),
    )  # in pixels
    left, top = x.detach().floor(), y.detach().floor()
    total = flat.new_zeros(batch, channels, grid.shape[1] * grid.shape[2])
    for column, along_x in ((left, left + 1 - x), (left + 1, x - left)):
        for row, along_y in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = torch.where(inside, row * width + column, 0).long().flatten(1).unsqueeze(1)
            weight = torch.where(inside, along_x * along_y, 0).flatten(1).unsqueeze(1)
            total = total + flat.gather(2, place.expand(-1, channels, -1)) * weight
    return total.unflatten(2, grid.shape[1:3])


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _coordinates(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The linear map [9, H * W * 2] from an affine map [3, 3] to its sampling grid (x, y); the last
    row is idle.
    """

    def axis(count: int) -> Tensor:
        return (
            torch.linspace(-1, 1, count, dtype=torch.float64)
            if count > 1
            else torch.zeros(1, dtype=torch.float64)
        )

    y, x = torch.meshgrid(axis(height), axis(width), indexing="ij")
    pixels = torch.stack(
        [x.flatten(), y.flatten(), torch.ones(height * width, dtype=torch.float64)]
    )
    rows = torch.eye(3, 2, dtype=torch.float64).unsqueeze(1)
    return torch.kron(rows, pixels.unsqueeze(-1)).reshape(9, -1).to(device, dtype)


def act_on_images(elements: Tensor, images: Tensor) -> Tensor:
    """The left action (g f)(x) = f(g^-1 x) of group elements [B, 3, 3] on images [B, C, H, W]."""
    return warp(images, torch.linalg.inv(elements))


def act_on_points(elements: Tensor, points: Tensor, mask: Tensor | None = None) -> Tensor:
    """The action x -> g x of affine maps on coordinates, one map per cloud.

    Args:
        elements: [..., d + 1, d + 1].
        points: [..., N, d], about the origin that the maps know; nothing is centred.
        mask: [..., N], True where there is a point; the rest is padding and comes out as zeros,
            whatever stands there.

    Returns:
        [..., N, d] in the dtype of the points.
    """
    if mask is not None and (mask.dtype != torch.bool or mask.shape != points.shape[:-1]):
        found = f"{mask.dtype} {list(mask.shape)}"
        raise ValueError(
            f"points {list(points.shape)} take a mask of torch.bool {list(points.shape[:-1])}; got {found}"
        )
    with torch.autocast(
        points.device.type, enabled=False
    ):  # bfloat16 knows positions to one part in 256 only
        precise = torch.promote_types(points.dtype, elements.dtype)
        linear, shift = elements[..., :-1, :-1].to(precise), elements[..., :-1, -1].to(precise)
        positions, shift = points.to(precise), shift.unsqueeze(-2)
        if (
            mask is not None
        ):  # before the product, or what is not a number there would spoil the gradient of the elements
            there = mask.unsqueeze(-1)
            positions, shift = torch.where(there, positions, 0.0), torch.where(there, shift, 0.0)
        return (positions @ linear.transpose(-1, -2) + shift).to(points.dtype)


def rotation_matrices(angles: Tensor) -> Tensor:
    """Rotations [..., 3, 3] by angles [...] in radians, [[cos, -sin], [sin, cos]] (clockwise on the
    screen, as y runs down).
    """
    zero, one = torch.zeros_like(angles), torch.ones_like(angles)
    cos, sin = torch.cos(angles), torch.sin(angles)
    rows = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1)
    return rows.unflatten(-1, (3, 3))


def rotate_images(images: Tensor, angles: Tensor) -> Tensor:
    """Rotate the content of images [B, C, H, W] by angles [B] in radians, counter-clockwise as seen
    on the screen.

    A quarter turn is `torch.rot90(images, 1, (-2, -1))`. Images that are not square are turned in
    pixel units, not squeezed.
    """
    height, width = images.shape[-2:]
    # Sampling at R(angle) x with y running down turns the content the other way on the screen:
    # counter-clockwise.
    matrices = rotation_matrices(angles)
    if height != width and height > 1 and width > 1:
        ratio = (width - 1) / (height - 1)
        matrices = matrices * matrices.new_tensor([[1, 1 / ratio, 1], [ratio, 1, 1], [1, 1, 1]])
    return warp(images, matrices)
