"""Fixed augmentation of training images: flips, crops and rotations, drawn per sample.

Pixels may be on any scale; whatever comes in from outside the image is zero. Several processes
that share a global batch augment it as one would (`learnsym.utils.rng`). Nothing here loops over
samples or waits for the device.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.groups.actions import rotate_images
from learnsym.utils.rng import BatchRows, batch_uniform

AugmentName = Literal["none", "flip", "flip_crop", "rotation"]  # the choices of `dataset.augment`
PADDING = 4  # pixels of zeros on each side before a random crop, the usual choice for CIFAR


def flip(images: Tensor, rows: BatchRows | None = None) -> Tensor:
    """Mirror each image [B, C, H, W] left to right with probability 1/2."""
    mirrored = batch_uniform(len(images), rows=rows, device=images.device) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)


def flip_crop(images: Tensor, rows: BatchRows | None = None) -> Tensor:
    """Mirror with probability 1/2, then crop after a shift by up to 4 pixels.

    Each of the 9 x 9 windows is equally likely. Mirroring and cutting are one gather: both only say
    where a pixel comes from.
    """
    count, channels, height, width = images.shape
    device = images.device
    draws = batch_uniform(count, 3, rows=rows, device=device)
    top, left = (draws[:, :2] * (2 * PADDING + 1)).long().unbind(1)
    pixel_rows = top[:, None] + torch.arange(height, device=device)
    columns = left[:, None] + torch.arange(width, device=device)
    columns = torch.where(draws[:, 2:] < 0.5, columns.flip(1), columns)
    padded = F.pad(images, (PADDING,) * 4)
    flat = pixel_rows[:, :, None] * (width + 2 * PADDING) + columns[:, None, :]
    flat = flat.view(count, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, flat).view(images.shape)


def rotation(images: Tensor, rows: BatchRows | None = None) -> Tensor:
    """Rotate each image [B, C, H, W] by an angle uniform on the whole circle."""
    draws = batch_uniform(len(images), rows=rows, device=images.device, dtype=images.dtype)
    return rotate_images(images, (draws - 0.5) * (2 * math.pi))


AUGMENTATIONS: dict[AugmentName, Callable[[Tensor, BatchRows | None], Tensor]] = {
    "none": lambda images, rows: images,
    "flip": flip,
    "flip_crop": flip_crop,
    "rotation": rotation,
}
"""From images [B, C, H, W], floating point, and their rows of a global batch (None: all)."""
