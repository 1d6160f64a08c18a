"""The user's own pictures: a folder with one sub-folder per class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from learnsym.data.augment import AugmentName
from learnsym.data.base import ImageData, Split
from learnsym.data.splits import (
    channel_statistics,
    choose,
    classification_info,
    split_off_test,
    take,
)
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
"""What a file may be, whatever its name: for others, PIL would start programs (Ghostscript for
PostScript)."""


class ImageFolder(ImageData):
    """Pictures of any size, resized and cropped to C x size x size, held as uint8.

    The classes are the sub-folders of `path`, or of path/train, path/test and (if there is one)
    path/val. Pixels are standardised by the mean and standard deviation of the training images.
    """

    def __init__(
        self,
        path: str,
        size: Size = 64,
        channels: Literal[1, 3] = 3,
        test_fraction: Fraction = 0.2,
        train_size: Size | None = None,
        val_size: Count = 0,
        test_size: Size | None = None,
        augment: AugmentName = "none",
        seed: Count = 0,
    ) -> None:
        """Args:
        path: the folder.
        size: pixels of the shorter side after resizing; the centre square of it is kept.
        channels: 3 for colour, 1 for grey.
        test_fraction: part held out for testing where there is no path/test.
        train_size, test_size: at most so many, drawn at random; None takes all.
        val_size: so many are held out from the training part; with a path/val, all of that is
            taken and this must be 0.
        augment: fixed augmentation of the training images.
        seed: of the splits.
        """
        root = Path(path).expanduser()
        refuse_links(root)
        parts = {part: root / part for part in ("train", "test", "val") if (root / part).is_dir()}
        if "train" not in parts:
            parts = {"train": root}
        if "val" in parts and val_size:
            raise DataError(
                f"dataset.val_size={val_size} has no use as {parts['val']} is the validation set; 0 would be right."
            )
        found = {part: read_folder(folder, size, channels) for part, folder in parts.items()}
        classes = same_classes(found, parts)
        train, source = found["train"][0], f"Pictures in {root}."
        if "test" in found:
            test = found["test"][0]
        else:
            train, test = split_off_test(train, test_fraction, seed, str(root))
            source += (
                f" The test set was held out at random (fraction {test_fraction:g}, seed {seed})."
            )
        splits = take(
            train, test, choose(len(train), len(test), train_size, val_size, test_size, seed)
        )
        if "val" in found:
            splits["val"] = found["val"][0]
        mean, std = channel_statistics(splits["train"].inputs)
        super().__init__(
            classification_info("folder", splits, classes, mean, std, source), splits, augment
        )


def same_classes(
    found: Mapping[str, tuple[Split, tuple[str, ...]]], folders: Mapping[str, Path]
) -> tuple[str, ...]:
    """The names of the classes, which have to be the same in all parts, and at least two."""
    classes = found["train"][1]
    for part, (_, names) in found.items():
        if names != classes:
            raise DataError(
                f"{folders[part]} has the classes {', '.join(names)} but {folders['train']} has {', '.join(classes)}; "
                "the same sub-folders would be right."
            )
    if len(classes) < 2:
        raise DataError(
            f"{folders['train']} has the one class {classes[0]}; two sub-folders or more would be right."
        )
    return classes


def refuse_links(root: Path) -> None:
    """Links that lead out of the folder, or to a folder above them, where reading would find no
    end.
    """
    home = root.resolve()
    for place in root.rglob("*"):
        if not place.is_symlink():
            continue
        goal = place.resolve()
        if not goal.is_relative_to(home) or place.parent.resolve().is_relative_to(goal):
            raise DataError(
                f"{place} is a link to {goal}; a copy of the pictures inside of {root} would be right."
            )


def read_folder(folder: Path, size: int, channels: int) -> tuple[Split, tuple[str, ...]]:
    """All pictures below `folder`, inputs [N, C, size, size], uint8, and the names of the classes
    in alphabetical order.
    """
    from torchvision.datasets import ImageFolder as Finder

    try:
        finder = Finder(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: {error}; a folder with one sub-folder of pictures per class would be right."
        ) from error
    pixels = torch.empty(len(finder.samples), channels, size, size, dtype=torch.uint8)
    for row, (name, _) in enumerate(finder.samples):
        pixels[row] = torch.from_numpy(read_picture(name, size, channels))
    return Split(pixels, torch.tensor(finder.targets)), tuple(finder.classes)


def read_picture(name: str, size: int, channels: int) -> np.ndarray:
    """One picture, upright as its camera held it, [C, size, size], uint8."""
    from PIL import Image, ImageOps
    from torchvision.transforms.functional import center_crop, resize

    try:
        with Image.open(name, formats=FORMATS) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode[0] in "IF":
                raise DataError(
                    f"{name} has pixels of more than 8 bits ({image.mode}); a picture of 8 bits per channel would be right."
                )
            image = image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} cannot be read as a picture ({error}); remove it or put it right."
        ) from error
    array = np.array(center_crop(resize(image, [size]), [size, size]))
    return np.ascontiguousarray(array[None] if channels == 1 else array.transpose(2, 0, 1))
