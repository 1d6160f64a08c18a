"""STL-10: the labelled part, from the canonical binary files."""

from pathlib import Path

import torch

from learnsym.data.augment import AugmentName
from learnsym.data.base import Form, ImageData, Split
from learnsym.data.download import unpack
from learnsym.data.from_files import Parts, from_file_or
from learnsym.data.images.cifar import MEAN, STD
from learnsym.data.splits import choose, classification_info, take
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size

SHAPE = (3, 96, 96)
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


class STL10(ImageData):
    """Photographs, 3 x 96 x 96, ten classes, 5 000 for training and 8 000 for testing."""

    form = Form(SHAPE, 10)

    def __init__(
        self,
        data_dir: str = "data",
        file: str | list[str] | None = None,
        test_fraction: Fraction = 0.2,
        train_size: Size | None = None,
        val_size: Count = 0,
        test_size: Size | None = None,
        augment: AugmentName = "none",
        seed: Count = 0,
    ) -> None:
        """Args:
        data_dir: folder where stl10_binary is looked for first and downloaded to otherwise.
        file: .npz file, list of files or pattern to read instead.
        test_fraction: part of `file` held out for testing if it has no test set of its own.
        train_size, test_size: at most so many, drawn at random; None takes all.
        val_size: so many are held out from the training part.
        augment: fixed augmentation of the training images.
        seed: of the splits.
        """

        def canonical() -> Parts:
            return load_canonical(data_dir)

        train, test, source = from_file_or(
            canonical, file, data_dir, test_fraction, seed, SHAPE, len(CLASSES)
        )
        splits = take(
            train, test, choose(len(train), len(test), train_size, val_size, test_size, seed)
        )
        super().__init__(
            classification_info("stl10", splits, CLASSES, MEAN, STD, source), splits, augment
        )


def load_canonical(data_dir: str) -> Parts:
    """The labelled images, read by torchvision, which checks the md5 of each file first."""
    import torchvision.datasets

    class Labelled(torchvision.datasets.STL10):
        # Without the 2.7 GB of unlabelled images, which nothing here reads: they need not be there,
        # and are not checked.
        train_list = torchvision.datasets.STL10.train_list[:2]

    root = unpack("stl10", Labelled, data_dir, ("", "stl10"))
    parts = [_split(Labelled, root, name) for name in ("train", "test")]
    return parts[0], parts[1], f"Canonical files in {root / Labelled.base_folder}."


def _split(canonical: type, root: Path, name: str) -> Split:
    try:
        data = canonical(root, split=name, download=False)
    except RuntimeError as error:
        raise DataError(
            f"{root / canonical.base_folder} lacks a file or has one that differs from the canonical one (md5); "
            f"the contents of {canonical.filename} would be right."
        ) from error
    return Split(torch.from_numpy(data.data).contiguous(), torch.from_numpy(data.labels).long())
