"""A user's pictures: a folder with one sub-folder per class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from learnsym.data.base import DataInfo, Split, Splits
from learnsym.data.images.base import Chosen, Counts, Parts, SplitImages
from learnsym.data.splits import channel_statistics
from learnsym.errors import DataError
from learnsym.schema import Size

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
"""Formats of pictures, whatever a file is called: for others, PIL would start programs (Ghostscript
for PostScript)."""


@dataclass(eq=False)
class ImageFolder(SplitImages):
    """Pictures of any size, resized and cropped to C x size x size, held as uint8.

    The classes are the sub-folders of `path`, or of path/train, path/test and (if there is one)
    path/val, all of which is taken: val_size must be 0. Pixels are standardised by the mean and
    standard deviation of the training images.
    """

    path: str
    size: Size = 64
    channels: Literal[1, 3] = 3
    name = "folder"

    def load(self) -> Parts:
        """Read all pictures."""
        root = Path(self.path).expanduser()
        _refuse_links(root)
        folders = {part: root / part for part in ("train", "test", "val") if (root / part).is_dir()}
        if "train" not in folders:
            folders = {"train": root}
        if "val" in folders and self.val_size:
            raise DataError(
                f"dataset.val_size={self.val_size} has no use as {folders['val']} is the "
                "validation set. Try 0."
            )
        contents = {p: _read_folder(path, self.size, self.channels) for p, path in folders.items()}
        parts = {part: examples for part, (examples, _) in contents.items()}
        self._classes = _common_classes({folders[p]: names for p, (_, names) in contents.items()})
        self._val = {"val": parts["val"]} if "val" in parts else {}
        if "test" in parts:
            return parts["train"], parts["test"], f"Pictures in {root}."
        train, test, held_out = self.hold_out_test(parts["train"], str(root))
        return train, test, f"Pictures in {root}.{held_out}"

    def transform(self, splits: Splits, chosen: Chosen, counts: Counts) -> Splits:
        """Add the folder's validation set."""
        return splits | self._val

    def describe(self, splits: Splits, source: str) -> DataInfo:
        """Name the classes after the sub-folders."""
        mean, std = channel_statistics(splits["train"].tensor)
        names = self._classes
        return DataInfo.of(self.name, splits, source, class_names=names, mean=mean, std=std)


def read_picture(name: str, size: int, channels: int) -> np.ndarray:
    """Read a picture, upright as its camera held it: [C, size, size], uint8."""
    from PIL import Image, ImageOps
    from torchvision.transforms.functional import center_crop, resize

    try:
        with Image.open(name, formats=FORMATS) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode[0] in "IF":
                raise DataError(f"{name}: Expected 8 bits per channel, got more ({image.mode}).")
            image = image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} cannot be read as a picture ({error}). Try to remove it or put it right."
        ) from error
    array = np.array(center_crop(resize(image, [size]), [size, size]))
    return np.ascontiguousarray(array[None] if channels == 1 else array.transpose(2, 0, 1))


def _common_classes(classes: Mapping[Path, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the names of the classes, the same in all folders."""
    first, names = next(iter(classes.items()))
    for folder, others in classes.items():
        if others != names:
            raise DataError(
                f"{folder} has the classes {', '.join(others)} but {first} has {', '.join(names)}. "
                "Expected the same sub-folders."
            )
    if len(names) < 2:
        raise DataError(f"{first} has the one class {names[0]}. Expected two sub-folders or more.")
    return names


def _refuse_links(root: Path) -> None:
    """Refuse links out of the folder, or to a folder above them."""
    for path in filter(Path.is_symlink, root.rglob("*")):
        goal = path.resolve()
        inside = goal.is_relative_to(root.resolve())
        if not inside or path.parent.resolve().is_relative_to(goal):
            raise DataError(f"{path} is a link to {goal}. Try a copy of the pictures in {root}.")


def _read_folder(folder: Path, size: int, channels: int) -> tuple[Split, tuple[str, ...]]:
    """Read all pictures below `folder`, and the names of the classes in alphabetical order."""
    from torchvision.datasets import ImageFolder as Finder

    try:
        finder = Finder(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: {error}. Expected a folder with one sub-folder of pictures per class."
        ) from error
    pixels = torch.empty(len(finder.samples), channels, size, size, dtype=torch.uint8)
    for row, (name, _) in enumerate(finder.samples):
        pixels[row] = torch.from_numpy(read_picture(name, size, channels))
    return Split(pixels, torch.tensor(finder.targets)), tuple(finder.classes)
