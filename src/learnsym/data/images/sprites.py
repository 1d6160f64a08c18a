"""Two sprites whose rotation matters within a quarter turn only (Augerino, section 5).

The label says which sprite it is and which way up, so a network may ignore rotations within +-45
degrees and must not ignore larger ones: the right width of the learned rotation is pi/2.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from learnsym.data.augment import AugmentName
from learnsym.data.base import DataInfo, ExampleSpec, ImageData, Split
from learnsym.data.download import find
from learnsym.data.readers.arrays import as_images, find_named, read_npz
from learnsym.data.rotation import random_angles, rotate_pixels
from learnsym.errors import DataError
from learnsym.schema import Count, Size
from learnsym.utils.rng import generator

MAX_TILT = 45.0
"""Degrees by which an upright or an upside-down sprite is rotated at most, either way."""
SIDE = 32  # pixels of a drawing, across and down
Colour = tuple[int, int, int]
FILES = ("mario_iggy_images.npz", "images.npz")


@dataclass(eq=False, kw_only=True)
class Sprites(ImageData):
    """A snail and a bird, drawn by code, 3 x 32 x 32, four classes: the default data set.

    Class 2 s + d is sprite s, upright (d = 0: rotated by an angle uniform in +-45 degrees) or
    upside down (d = 1: half a turn more). Pixels are not shifted, so that the black around a sprite
    is the zero that a rotation brings in.
    """

    redrawn = True

    train_size: Size = 10_000
    val_size: Count = 0
    test_size: Size = 5_000
    augment: AugmentName = "none"
    seed: Count = 0
    spec = ExampleSpec((3, SIDE, SIDE), 4)
    name: ClassVar[str] = "sprites"
    sprite_names: ClassVar[tuple[str, str]] = ("snail", "bird")

    def __post_init__(self) -> None:
        sprites, source = self.load_sprites()
        sizes = {"train": self.train_size, "val": self.val_size, "test": self.test_size}
        splits = {name: self._tilt(sprites, n, name) for name, n in sizes.items() if n}
        source = (
            f"{source} Each picture is one of them, upright or upside down, tilted uniformly "
            f"within +-45 degrees (seed {self.seed})."
        )
        ways = ("upright", "upside down")
        form = {
            "class_names": tuple(f"{name} {way}" for name in self.sprite_names for way in ways),
            "true_widths": {"rotation": math.radians(2 * MAX_TILT)},
        }
        info = DataInfo.of(self.name, splits, source, mean=(0.0,) * 3, std=(1.0,) * 3, **form)
        super().__init__(info, splits, self.augment)
        upside_down = sprites.rot90(2, (-2, -1))
        self.prototypes = Split(torch.cat([sprites, upside_down]), torch.tensor([0, 2, 1, 3]))

    def load_sprites(self) -> tuple[Tensor, str]:
        """Return the two sprites [2, 3, H, W], uint8, and where they came from."""
        return torch.stack([draw_snail(), draw_bird()]), "Two sprites drawn by code."

    def _tilt(self, sprites: Tensor, count: int, split: str) -> Split:
        """Rotate sprites; classes are as equally frequent as `count` allows, in random order."""
        labels = torch.randperm(count, generator=generator(self.seed, f"{split} labels")) % 4
        tilts = random_angles(count, MAX_TILT, self.seed, f"{split} tilt")
        return Split(rotate_pixels(sprites[labels // 2], tilts + (labels % 2) * math.pi), labels)


@dataclass(eq=False)
class MarioIggy(Sprites):
    """Mario and Iggy, the published sprites; `dataset=sprites` is the same without a file."""

    data_dir: str = "data"
    file: str | None = None
    name = "mario_iggy"
    sprite_names = ("mario", "iggy")

    def load_sprites(self) -> tuple[Tensor, str]:
        """Read them."""
        stored = find(self.data_dir, ("", "mario_iggy"), FILES)
        path = find_named(self.file, self.data_dir)[0] if self.file else stored
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
    pictures = [x if x.dtype == torch.uint8 else (x * 255).round() for x in (mario, iggy)]
    return torch.cat(pictures).to(torch.uint8)


class _Canvas:
    """A black RGB image [3, 32, 32], uint8; x to the right, y down."""

    def __init__(self) -> None:
        self.pixels = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
        middles = torch.arange(SIDE) + 0.5
        self.y, self.x = torch.meshgrid(middles, middles, indexing="ij")

    def paint(self, where: Tensor, colour: Colour) -> None:
        """Paint pixels [32, 32] in a colour, numbers in 0..255."""
        self.pixels[:, where] = torch.tensor(colour, dtype=torch.uint8)[:, None]

    def ellipse(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Paint an ellipse about (x, y), with its half axes along x and y."""
        self.paint(((self.x - x) / width) ** 2 + ((self.y - y) / height) ** 2 <= 1, colour)

    def box(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """Paint columns `left` to before `right` of rows `top` to before `bottom`."""
        self.paint((self.x > left) & (self.x < right) & (self.y > top) & (self.y < bottom), colour)

    def triangle(self, corners: tuple[tuple[float, float], ...], colour: Colour) -> None:
        """Paint a triangle; its corners (x, y) go clockwise on the screen."""
        inside = torch.ones(SIDE, SIDE, dtype=torch.bool)
        for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
            inside &= (bx - ax) * (self.y - ay) - (by - ay) * (self.x - ax) >= 0
        self.paint(inside, colour)


def draw_snail() -> Tensor:
    """Draw a green snail with an orange shell: [3, 32, 32], uint8."""
    canvas = _Canvas()
    skin, shade, rim = (124, 200, 80), (72, 140, 56), (252, 204, 108)
    shell, dark = (240, 140, 40), (176, 76, 24)
    canvas.ellipse(15, 24.4, 11.5, 2.6, skin)
    canvas.triangle(((3.5, 26.8), (6.5, 22.5), (9, 26.8)), skin)
    canvas.box(7, 26, 24, 27, shade)
    canvas.ellipse(24, 20, 3.2, 6.2, skin)
    canvas.ellipse(24.8, 14.2, 3.7, 3.2, skin)
    for x, top in ((23, 7), (27, 8)):
        canvas.box(x, top + 2, x + 1, 13, skin)
        canvas.ellipse(x + 0.5, top + 1, 1.6, 1.6, (255, 255, 255))
        canvas.box(x + 1, top + 1, x + 2, top + 2, (24, 24, 48))
    canvas.box(26, 15, 28, 16, (200, 60, 60))
    for radius, colour in ((8.3, dark), (7.3, shell), (5.0, dark), (4.1, shell), (2.0, dark)):
        shift = 0.12 * (8.3 - radius)
        canvas.ellipse(13 + shift, 16 + shift, radius, radius, colour)
    canvas.ellipse(9.5, 11.5, 1.6, 1.1, rim)
    canvas.box(8, 13, 9, 15, rim)
    return canvas.pixels


def draw_bird() -> Tensor:
    """Draw a blue bird in a red cap: [3, 32, 32], uint8."""
    canvas = _Canvas()
    blue, wing, belly = (72, 132, 236), (36, 76, 172), (236, 232, 212)
    beak, red = (252, 188, 36), (220, 44, 52)
    canvas.triangle(((23, 17), (29.5, 12), (27, 20)), wing)
    for x, bottom in ((14, 28), (19, 27)):
        canvas.box(x, 23, x + 1, bottom, beak)
        canvas.box(x - 2, bottom - 1, x + 1, bottom, beak)
    canvas.ellipse(17.5, 18.5, 8.5, 6.5, blue)
    canvas.ellipse(13.8, 20.4, 4.6, 4.2, belly)
    canvas.ellipse(21, 18.5, 4.6, 3.0, wing)
    canvas.box(19, 19, 24, 20, blue)
    canvas.ellipse(12, 11, 5.4, 5.2, blue)
    canvas.triangle(((2, 13), (7.5, 10), (8, 14.5)), beak)
    canvas.ellipse(9.8, 10.6, 2.0, 2.2, (255, 255, 255))
    canvas.box(9, 10, 10, 12, (24, 24, 48))
    cap = ((canvas.x - 12.6) / 5.2) ** 2 + ((canvas.y - 8) / 4.6) ** 2 <= 1
    canvas.paint(cap & (canvas.y < 8), red)
    canvas.box(5, 7, 17, 8, (148, 20, 36))
    canvas.ellipse(13, 3.6, 1.3, 1.3, (255, 255, 255))
    return canvas.pixels
