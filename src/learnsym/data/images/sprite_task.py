"""The task of Mario and Iggy, for any two sprites: which of the two, and is it upright?"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from learnsym.data.base import DataInfo, Split
from learnsym.data.rotation import random_angles, rotate_pixels
from learnsym.data.splits import classification_info, generator

MAX_TILT = 45.0
"""Degrees by which an upright or an upside-down sprite is turned at most, either way."""


def sprite_splits(pair: Tensor, sizes: Mapping[str, int], seed: int) -> dict[str, Split]:
    """Pictures of two sprites [2, C, H, W], uint8; a split of size 0 is left out.

    Class 2 s + d is sprite s, upright (d = 0: turned by an angle uniform in +-45 degrees) or upside
    down (d = 1: half a turn more). The classes are as equally frequent as the size allows, in
    random order.
    """
    splits = {}
    for name, size in sizes.items():
        if size == 0:
            continue
        labels = torch.randperm(size, generator=generator(seed, f"{name} labels")) % 4
        angles = random_angles(size, MAX_TILT, seed, f"{name} tilt") + (labels % 2) * math.pi
        splits[name] = Split(rotate_pixels(pair[labels // 2], angles), labels)
    return splits


def sprite_prototypes(pair: Tensor) -> Split:
    """The four classes without tilt: both sprites upright and upside down, [4, C, H, W]."""
    return Split(torch.cat([pair, pair.rot90(2, (-2, -1))]), torch.tensor([0, 2, 1, 3]))


def sprite_info(
    name: str, sprites: tuple[str, str], splits: Mapping[str, Split], source: str, seed: int
) -> DataInfo:
    """The description; pixels are not shifted, so that the black around a sprite is the zero that a
    rotation brings in.
    """
    channels = splits["train"].inputs.shape[1]
    classes = tuple(f"{sprite} {way}" for sprite in sprites for way in ("upright", "upside down"))
    made = f"{source} Each picture is one of them, upright or upside down, tilted uniformly within +-45 degrees (seed {seed})."
    truth = {"rotation": math.radians(2 * MAX_TILT)}
    return classification_info(
        name, splits, classes, (0.0,) * channels, (1.0,) * channels, made, truth
    )
