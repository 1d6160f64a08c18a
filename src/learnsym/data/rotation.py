"""Rotation of stored images, once, when a data set is made."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from learnsym.data.base import CHUNK, Split, Splits
from learnsym.groups.actions import rotate_images
from learnsym.utils.rng import generator


def random_angles(count: int, degrees: float, seed: int, purpose: str) -> Tensor:
    """Draw angles [count] in radians, uniform within +-`degrees`."""
    draws = torch.rand(count, generator=generator(seed, purpose), dtype=torch.float64)
    return (2 * draws - 1) * math.radians(degrees)


def rotate_pixels(images: Tensor, angles: Tensor) -> Tensor:
    """Rotate images [N, C, H, W] counter-clockwise by angles [N] in radians.

    Bilinear and zero outside, the same map as the learned augmentation uses, so that one can undo
    the other up to interpolation. The dtype stays (uint8: rounded).
    """
    rotated = torch.empty_like(images)
    for start in range(0, len(images), CHUNK):
        rows = slice(start, start + CHUNK)
        pixels = rotate_images(images[rows].float(), angles[rows].float())
        if images.dtype == torch.uint8:
            pixels = pixels.round_().clamp_(0, 255)
        rotated[rows] = pixels.to(images.dtype)
    return rotated


def rotate_splits(
    splits: Splits,
    chosen: Mapping[str, Tensor],
    counts: Mapping[str, int],
    degrees: float,
    seed: int,
) -> Splits:
    """Rotate every image of every split once, by an angle uniform within +-`degrees`.

    An image's angle belongs to its index in the whole training or test part (`chosen`, with
    `counts` = {"train": .., "test": ..} examples), so that a smaller subset holds the very same
    pictures as a larger one.
    """
    if degrees == 0:
        return splits
    rotated = {}
    for name, split in splits.items():
        part = "test" if name == "test" else "train"
        angles = random_angles(counts[part], degrees, seed, f"{part} rotation")[chosen[name]]
        rotated[name] = Split(rotate_pixels(split.tensor, angles), split.targets)
    return rotated


def describe_rotation(degrees: float) -> str:
    """Return a sentence for the provenance."""
    if degrees == 0:
        return "Images are not rotated."
    how = f"by an angle uniform in +-{degrees:g} degrees"
    return f"Every image (training and test) was rotated once, {how}."
