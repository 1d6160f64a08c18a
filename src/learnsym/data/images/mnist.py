"""MNIST and Fashion-MNIST, from the canonical idx files, every picture turned once within a range
of the reader's choice.
"""

import math
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor

from learnsym.data.augment import AugmentName
from learnsym.data.base import Form, ImageData, Split
from learnsym.data.download import download, find
from learnsym.data.from_files import Parts, check, from_file_or
from learnsym.data.readers.idx import read_idx
from learnsym.data.rotation import how_rotated, rotate_splits
from learnsym.data.splits import AT_A_TIME, choose, classification_info, take
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Positive, Size

Degrees = Annotated[float, Ge(0), Le(180)]
"""Half the width of a range of rotations around upright."""

DIGITS = tuple(str(digit) for digit in range(10))
CLOTHES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
SHAPE = (1, 28, 28)
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class MNIST(ImageData):
    """Handwritten digits, 1 x 28 x 28 or of another size, 60 000 for training and 10 000 for
    testing, or the other way round.
    """

    name = "mnist"
    form = Form(SHAPE, 10)
    class_names = DIGITS
    mean, std = (0.1307,), (0.3081,)
    torchvision_class = "MNIST"
    subfolders = ("MNIST/raw", "mnist", "")

    def __init__(
        self,
        data_dir: str = "data",
        file: str | list[str] | None = None,
        test_fraction: Fraction = 0.2,
        rotation_range: Degrees = 0.0,
        train_size: Size | None = None,
        val_size: Count = 0,
        test_size: Size | None = None,
        augment: AugmentName = "none",
        side: Size = 28,
        train_part: Literal["train", "test"] = "train",
        mean: float | None = None,
        std: Positive | None = None,
        seed: Count = 0,
    ) -> None:
        """Args:
        data_dir: folder where the idx files (gzipped or not) are looked for first and
            downloaded to otherwise.
        file: .npz file, list of files or pattern to read instead of the canonical files.
        test_fraction: part of `file` held out for testing if it has no test set of its own.
        rotation_range: every picture is turned once by an angle uniform within plus or minus so
            many degrees.
        train_size, test_size: at most so many, drawn at random; None takes all.
        val_size: so many are held out from the training part.
        augment: fixed augmentation of the training images.
        side: pixels across and down: the images, rotated if they are, are resized to side x
            side.
        train_part: which canonical part is trained on: "test" swaps the two, and the training
            part serves for testing.
        mean, std: a network sees (x - mean) / std of pixels x in [0, 1]; None: those of the
            data set.
        seed: of the rotations and of the splits.
        """

        def canonical() -> Parts:
            return load_idx(type(self), data_dir)

        train, test, source = from_file_or(
            canonical, file, data_dir, test_fraction, seed, SHAPE, len(self.class_names)
        )
        if train_part == "test":
            train, test = test, train
        chosen = choose(len(train), len(test), train_size, val_size, test_size, seed)
        counts = {"train": len(train), "test": len(test)}
        splits = rotate_splits(take(train, test, chosen), chosen, counts, rotation_range, seed)
        splits = {
            name: Split(resize(split.inputs, side), split.targets) for name, split in splits.items()
        }
        swapped = (
            " The parts are swapped: trained on the test part, tested on the training part."
            if train_part == "test"
            else ""
        )
        resized = (
            f" Images are resized to {side} x {side} (bilinear, antialiased)."
            if side != SHAPE[-1]
            else ""
        )
        info = classification_info(
            self.name,
            splits,
            self.class_names,
            self.mean if mean is None else (mean,),
            self.std if std is None else (std,),
            f"{source}{swapped} {how_rotated(rotation_range)}{resized}",
            {"rotation": 2 * math.radians(rotation_range)},
        )
        super().__init__(info, splits, augment)


class FashionMNIST(MNIST):
    """Pictures of clothes in the form of MNIST, 1 x 28 x 28."""

    name = "fashion_mnist"
    class_names = CLOTHES
    mean, std = (0.2860,), (0.3530,)
    torchvision_class = "FashionMNIST"
    subfolders = (
        "FashionMNIST/raw",
        "fashion_mnist",
    )  # not the folder itself: the files have the same names as MNIST's


def resize(images: Tensor, side: int) -> Tensor:
    """Images [N, C, H, W], uint8 or floating point in [0, 1] -> float32 in [0, 1], [N, C, side,
    side]; of that size: unchanged.

    Bilinear with antialiasing, whose weights are symmetric: quarter turns of a square commute with
    it, up to rounding.
    """
    if tuple(images.shape[-2:]) == (side, side):
        return images
    peak = 255.0 if images.dtype == torch.uint8 else 1.0
    parts = images.split(AT_A_TIME)
    made = [
        F.interpolate(p.float() / peak, (side, side), mode="bilinear", antialias=True).clamp_(0, 1)
        for p in parts
    ]
    return torch.cat(made)


def load_idx(kind: type[MNIST], data_dir: str) -> Parts:
    """Training and test part from the canonical files in `data_dir`, downloaded if they are not
    there.
    """
    parts = {}
    for part, (images_name, labels_name) in FILES.items():
        images_path, labels_path = (
            _locate(kind, name, data_dir) for name in (images_name, labels_name)
        )
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise DataError(
                f"{images_path} has {len(images)} images but {labels_path} has {len(labels)} labels; as many would be right."
            )
        parts[part] = Split(images[:, None], labels.long())
        check(parts[part], SHAPE, len(kind.class_names), str(images_path.parent))
    return parts["train"], parts["test"], f"Canonical idx files in {images_path.parent}."


def _locate(kind: type[MNIST], name: str, data_dir: str) -> Path:
    found = find(data_dir, kind.subfolders, (name, f"{name}.gz"))
    if found is not None:
        return found
    import torchvision.datasets

    canonical = getattr(torchvision.datasets, kind.torchvision_class)
    md5 = dict(canonical.resources)[f"{name}.gz"]
    urls = [mirror + f"{name}.gz" for mirror in canonical.mirrors]
    return download(
        kind.name,
        f"{name}.gz",
        Path(data_dir).expanduser() / kind.subfolders[0],
        urls,
        f"md5:{md5}",
    )
