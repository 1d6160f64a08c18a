"""How planar transformations act on images and on coordinates.

Pixel centres lie on a regular grid over [-1, 1]^2, the corner pixels' centres in the corners (align_corners=True); x runs to the
right, y runs down. A matrix [3, 3] is an affine map of homogeneous coordinates (x, y, 1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample images on a transformed grid: out(x) = image(M x), bilinear, zero outside (Augerino, section 3).

    Args:
        images: [B, C, H, W], floating point.
        matrices: [B, 3, 3] or [B, 2, 3], affine maps of the sampling grid; their dtype decides the precision of the grid.

    Returns:
        [B, C, H, W]. The identity matrix gives the images back, up to rounding.
    """
    if images.ndim != 4 or matrices.shape[0] != images.shape[0] or matrices.shape[1:] not in ((3, 3), (2, 3)):
        raise ValueError(
            f"warp takes images [B, C, H, W] and matrices [B, 3, 3]; got {list(images.shape)} and {list(matrices.shape)}"
        )
    grid = F.affine_grid(matrices[:, :2], list(images.shape), align_corners=True)
    return F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=True)


def act_on_images(elements: Tensor, images: Tensor) -> Tensor:
    """The left action (g f)(x) = f(g^-1 x) of group elements [B, 3, 3] on images [B, C, H, W]."""
    return warp(images, torch.linalg.inv(elements))


def act_on_points(elements: Tensor, points: Tensor) -> Tensor:
    """The action x -> g x of affine maps [..., d + 1, d + 1] on coordinates [..., N, d]."""
    linear, shift = elements[..., :-1, :-1], elements[..., :-1, -1]
    return points @ linear.transpose(-1, -2) + shift.unsqueeze(-2)


def rotation_matrices(angles: Tensor) -> Tensor:
    """Rotations [..., 3, 3] by angles [...] in radians, [[cos, -sin], [sin, cos]] (clockwise on the screen, as y runs down)."""
    zero, one = torch.zeros_like(angles), torch.ones_like(angles)
    cos, sin = torch.cos(angles), torch.sin(angles)
    rows = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1)
    return rows.unflatten(-1, (3, 3))


def rotate_images(images: Tensor, angles: Tensor) -> Tensor:
    """Rotate the content of images [B, C, H, W] by angles [B] in radians, counter-clockwise as seen on the screen.

    A quarter turn is `torch.rot90(images, 1, (-2, -1))`. Images that are not square are turned in pixel units, not squeezed.
    """
    height, width = images.shape[-2:]
    # Sampling at R(angle) x with y running down turns the content the other way on the screen: counter-clockwise.
    matrices = rotation_matrices(angles)
    if height != width and height > 1 and width > 1:
        ratio = (width - 1) / (height - 1)
        matrices = matrices * matrices.new_tensor([[1, 1 / ratio, 1], [ratio, 1, 1], [1, 1, 1]])
    return warp(images, matrices)
