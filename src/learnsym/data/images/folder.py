"""A user's pictures: a folder with one sub-folder per class."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from learnsym.data.base import DataInfo, Split, Splits
from learnsym.data.images.base import Chosen, Counts, Parts, SplitImages
from learnsym.data.readers.picture_folders import find_pictures
from learnsym.data.splits import channel_statistics
from learnsym.errors import DataError
from learnsym.schema import Size

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
"""Formats of pictures, whatever a file is called: for others, PIL would start programs (Ghostscript
for PostScript)."""
MAX_ASPECT = 64
"""Longer side over shorter side of a picture: resizing a strip would take all memory."""


@dataclass(eq=False)
class ImageFolder(SplitImages):
    """Pictures of any size, resized and cropped to C x size x size, held as uint8.

    The classes are the sub-folders of `path`, or of its folders train, test and (if there is one)
    val, in any usual spelling; all of val is taken: val_size must be 0. What is transparent shows
    white. Pixels are standardised by the mean and standard deviation of the training images.
    """

    path: str
    size: Size = 64
    channels: Literal[1, 3] = 3
    stratify: bool = True
    name = "folder"
    named_by_data = True

    def load(self) -> Parts:
        """Read all pictures."""
        root = Path(self.path).expanduser()
        _refuse_links(root)
        found = find_pictures(root)
        if "val" in found.splits and self.val_size:
            raise DataError(
                f"dataset.val_size={self.val_size} has no use as {root} holds a validation set. "
                "Try 0."
            )
        self.class_names = found.classes  # type: ignore[misc]
        self.remarks = tuple(found.remarks(root))
        parts = {name: self._read(files) for name, files in found.splits.items()}
        self._val = {"val": parts["val"]} if "val" in parts else {}
        if "test" in parts:
            return parts["train"], parts["test"], f"Pictures in {root}."
        train, test, held_out = self.hold_out_test(parts["train"], str(root))
        return train, test, f"Pictures in {root}.{held_out}"

    def _read(self, files: list[tuple[Path, int]]) -> Split:
        pixels = torch.empty(len(files), self.channels, self.size, self.size, dtype=torch.uint8)
        for row, (path, _) in enumerate(files):
            pixels[row] = torch.from_numpy(read_picture(path, self.size, self.channels))
        return Split(pixels, torch.tensor([label for _, label in files]))

    def transform(self, splits: Splits, chosen: Chosen, counts: Counts) -> Splits:
        """Add the folder's validation set."""
        return splits | self._val

    def describe(self, splits: Splits, source: str) -> DataInfo:
        """Name the classes after the sub-folders."""
        mean, std = channel_statistics(splits["train"].tensor)
        names = self.class_names
        return DataInfo.of(self.name, splits, source, class_names=names, mean=mean, std=std)


def read_picture(path: Path, size: int, channels: int) -> np.ndarray:
    """Read a picture, upright as its camera held it, on white: [C, size, size], uint8."""
    from PIL import Image, ImageOps
    from torchvision.transforms.functional import center_crop, resize

    try:
        with Image.open(path, formats=FORMATS) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode[0] in "IF":
                raise DataError(f"{path}: Expected 8 bits per channel, got more ({image.mode}).")
            if max(image.size) > MAX_ASPECT * min(image.size):
                got = " x ".join(map(str, image.size))
                raise DataError(f"{path}: Expected a picture, got a strip of {got} pixels.")
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as a picture ({error}). Try to remove it or put it right."
        ) from error
    array = np.array(center_crop(resize(image, [size]), [size, size]))
    return np.ascontiguousarray(array[None] if channels == 1 else array.transpose(2, 0, 1))


def _refuse_links(root: Path) -> None:
    """Refuse links out of the folder, or to a folder above them."""
    for path in filter(Path.is_symlink, root.rglob("*")):
        goal = path.resolve()
        inside = goal.is_relative_to(root.resolve())
        if not inside or path.parent.resolve().is_relative_to(goal):
            raise DataError(f"{path} is a link to {goal}. Try a copy of the pictures in {root}.")
