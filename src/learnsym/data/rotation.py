"""Turning stored images once and for all, when a data set is made (not while it is trained on: that
is `augment`).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.data.splits import AT_A_TIME, generator
from learnsym.groups.actions import rotate_images


def random_angles(count: int, degrees: float, seed: int, purpose: str) -> Tensor:
    """Angles [count] in radians, uniform within +-`degrees`."""
    draws = torch.rand(count, generator=generator(seed, purpose), dtype=torch.float64)
    return (2 * draws - 1) * math.radians(degrees)


def rotate_pixels(images: Tensor, angles: Tensor) -> Tensor:
    """Images [N, C, H, W] turned counter-clockwise by angles [N] in radians, in their own dtype
    (uint8: rounded).

    Bilinear and zero outside, the same map as the learned augmentation uses, so that one can undo
    the other up to interpolation.
    """
    turned = torch.empty_like(images)
    for start in range(0, len(images), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        pixels = rotate_images(images[part].float(), angles[part].float())
        if images.dtype == torch.uint8:
            pixels = pixels.round_().clamp_(0, 255)
        turned[part] = pixels.to(images.dtype)
    return turned


def rotate_splits(
    splits: Mapping[str, Split],
    chosen: Mapping[str, Tensor],
    counts: Mapping[str, int],
    degrees: float,
    seed: int,
) -> dict[str, Split]:
    """Turn every image of every split once, by an angle uniform within +-`degrees`.

    An image's angle belongs to its place in the whole training or test part (`chosen`, with
    `counts` = {"train": .., "test": ..} examples), so that a smaller subset holds the very same
    pictures as a larger one.
    """
    if degrees == 0:
        return dict(splits)
    angles = {
        part: random_angles(counts[part], degrees, seed, f"{part} rotation")
        for part in ("train", "test")
    }
    turned = {}
    for name, split in splits.items():
        mine = angles["test" if name == "test" else "train"][chosen[name]]
        turned[name] = Split(rotate_pixels(split.inputs, mine), split.targets)
    return turned


def how_rotated(degrees: float) -> str:
    """A sentence for the provenance."""
    if degrees == 0:
        return "Images are not rotated."
    return f"Every image (training and test) was rotated once, by an angle uniform in +-{degrees:g} degrees."
