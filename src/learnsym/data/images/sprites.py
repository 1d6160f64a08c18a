"""Two sprites whose rotation matters within a quarter turn only (Augerino, section 5).

The label says which sprite it is and whether it is upright or upside down, so a network may ignore
rotations within +-45 degrees and must not ignore larger ones: the right width of the learned
rotation is pi/2.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from learnsym.data.augment import AugmentName
from learnsym.data.base import DataInfo, ExampleSpec, ImageData, Split
from learnsym.data.images.sprite_drawings import SIDE, draw_bird, draw_snail
from learnsym.data.readers.arrays import as_images, find_default, read_npz
from learnsym.data.rotation import random_angles, rotate_pixels
from learnsym.errors import DataError
from learnsym.schema import Count, Size
from learnsym.utils.rng import generator

MAX_TILT = 45.0
"""Degrees by which an upright or an upside-down sprite is rotated at most, either way."""
FILES = ("mario_iggy_images.npz", "images.npz")


@dataclass(eq=False, kw_only=True)
class SpriteImages(ImageData):
    """Pictures of two sprites, 3 x 32 x 32, four classes.

    Class 2 s + d is sprite s, upright (d = 0: rotated by an angle uniform in +-45 degrees) or
    upside down (d = 1: half a turn more). Pixels are not shifted, so that the black around a sprite
    is the zero that a rotation brings in.
    """

    train_size: Size = 10_000
    val_size: Count = 0
    test_size: Size = 5_000
    augment: AugmentName = "none"
    seed: Count = 0
    spec = ExampleSpec((3, SIDE, SIDE), 4)
    name: ClassVar[str]
    sprite_names: ClassVar[tuple[str, str]]

    def __post_init__(self) -> None:
        sprites, source = self.load_sprites()
        sizes = {"train": self.train_size, "val": self.val_size, "test": self.test_size}
        splits = {name: self._tilt(sprites, n, name) for name, n in sizes.items() if n}
        how = "upright or upside down, tilted uniformly within +-45 degrees"
        ways = ("upright", "upside down")
        info = DataInfo.of(
            self.name,
            splits,
            f"{source} Each picture is one of them, {how} (seed {self.seed}).",
            class_names=tuple(f"{name} {way}" for name in self.sprite_names for way in ways),
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            true_widths={"rotation": math.radians(2 * MAX_TILT)},
        )
        super().__init__(info, splits, self.augment)
        upside_down = sprites.rot90(2, (-2, -1))
        self.prototypes = Split(torch.cat([sprites, upside_down]), torch.tensor([0, 2, 1, 3]))

    @abstractmethod
    def load_sprites(self) -> tuple[Tensor, str]:
        """Return the two sprites [2, 3, H, W], uint8, and where they came from."""

    def _tilt(self, sprites: Tensor, count: int, split: str) -> Split:
        """Rotate sprites; classes are as equally frequent as `count` allows, in random order."""
        labels = torch.randperm(count, generator=generator(self.seed, f"{split} labels")) % 4
        tilts = random_angles(count, MAX_TILT, self.seed, f"{split} tilt")
        return Split(rotate_pixels(sprites[labels // 2], tilts + (labels % 2) * math.pi), labels)


class Sprites(SpriteImages):
    """A snail and a bird, drawn by code: the default data set, which needs no files."""

    name = "sprites"
    sprite_names = ("snail", "bird")

    def load_sprites(self) -> tuple[Tensor, str]:
        """Draw them."""
        return torch.stack([draw_snail(), draw_bird()]), "Two sprites drawn by code."


@dataclass(eq=False)
class MarioIggy(SpriteImages):
    """Mario and Iggy, the published sprites; `dataset=sprites` is the same without a file."""

    data_dir: str = "data"
    file: str | None = None
    name = "mario_iggy"
    sprite_names = ("mario", "iggy")

    def load_sprites(self) -> tuple[Tensor, str]:
        """Read them."""
        path = find_default(self.file, self.data_dir, ("", "mario_iggy"), FILES)
        if path is None:
            raise DataError(
                f"mario_iggy needs the file {FILES[0]} (arrays mario and iggy): put it into "
                f"{self.data_dir}, set paths.data to a folder that has it, or take "
                "dataset=sprites, which needs no file."
            )
        return read_sprites(path), f"Sprites from {path}."


def read_sprites(path: Path) -> Tensor:
    """Read Mario and Iggy [2, 3, H, W], uint8."""
    arrays = read_npz(path, ("mario", "iggy"))
    mario, iggy = (as_images(arrays[name], path, name) for name in ("mario", "iggy"))
    if mario.shape != iggy.shape or len(mario) != 1:
        raise DataError(
            f"{path}: Expected mario and iggy, each [1, 3, 32, 32], got {list(mario.shape)} and "
            f"{list(iggy.shape)}."
        )
    scaled = [image if image.dtype == torch.uint8 else image * 255 for image in (mario, iggy)]
    both = torch.cat(scaled)
    return both.round().to(torch.uint8) if both.is_floating_point() else both
