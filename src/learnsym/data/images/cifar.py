"""CIFAR-10 and CIFAR-100, from the canonical pickles (checked by torchvision before they are
opened) or from plain .npz files.
"""

from pathlib import Path
from typing import Any

import torch

from learnsym.data.augment import AugmentName
from learnsym.data.base import Form, ImageData, Split
from learnsym.data.download import unpack
from learnsym.data.from_files import Parts, check, from_file_or
from learnsym.data.readers.arrays import read_files
from learnsym.data.splits import choose, classification_info, take
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Positive, Size

SHAPE = (3, 32, 32)
SIZES = {"train": 50_000, "test": 10_000}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The usual statistics of natural images, the ones that Augerino's experiments take."""
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HUNDRED_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""


class CIFAR10(ImageData):
    """Photographs, 3 x 32 x 32, ten classes, 50 000 for training and 10 000 for testing."""

    name = "cifar10"
    form = Form(SHAPE, 10)
    base_folder = "cifar-10-batches-py"
    class_names = CLASSES
    torchvision_class = "CIFAR10"

    def __init__(
        self,
        data_dir: str = "data",
        file: str | list[str] | None = None,
        test_fraction: Fraction = 0.2,
        train_size: Size | None = None,
        val_size: Count = 0,
        test_size: Size | None = None,
        augment: AugmentName = "none",
        mean: tuple[float, float, float] | None = None,
        std: tuple[Positive, Positive, Positive] | None = None,
        seed: Count = 0,
    ) -> None:
        """Args:
        data_dir: folder where the canonical files, or plain NAME_train*.npz and NAME_test*.npz,
            are looked for first and the canonical ones downloaded to otherwise.
        file: .npz file, list of files or pattern to read instead.
        test_fraction: part of `file` held out for testing if it has no test set of its own.
        train_size, test_size: at most so many, drawn at random; None takes all.
        val_size: so many are held out from the training part.
        augment: fixed augmentation of the training images.
        mean, std: a network sees (x - mean) / std of pixels x in [0, 1], channel by channel;
            None: those of ImageNet.
        seed: of the splits.
        """

        def found() -> Parts:
            return load_plain(type(self), data_dir) or load_canonical(type(self), data_dir)

        train, test, source = from_file_or(
            found, file, data_dir, test_fraction, seed, SHAPE, len(self.class_names)
        )
        splits = take(
            train, test, choose(len(train), len(test), train_size, val_size, test_size, seed)
        )
        mean, std = mean or MEAN, std or STD
        super().__init__(
            classification_info(self.name, splits, self.class_names, mean, std, source),
            splits,
            augment,
        )


class CIFAR100(CIFAR10):
    """Photographs, 3 x 32 x 32, a hundred classes, 50 000 for training and 10 000 for testing."""

    name = "cifar100"
    form = Form(SHAPE, 100)
    base_folder = "cifar-100-python"
    class_names = tuple(HUNDRED_CLASSES.split())
    torchvision_class = "CIFAR100"


def load_plain(kind: type[CIFAR10], data_dir: str) -> Parts | None:
    """Plain .npz files NAME_train*.npz and NAME_test*.npz in `data_dir`, each kind in alphabetical
    order; None if there are none.

    The canonical files, where they are complete, go first: there may be a part of the data only in
    the plain ones.
    """
    folder, name = Path(data_dir).expanduser(), kind.name
    paths = {part: sorted(folder.glob(f"{name}_{part}*.npz")) for part in SIZES}
    if not any(paths.values()) or any(
        (folder / sub / kind.base_folder).is_dir() for sub in ("", name)
    ):
        return None
    parts = {}
    source = f"Plain .npz files in {folder}"
    for part, found in paths.items():
        if not found:
            raise DataError(
                f"{name}: there are {name}_*.npz files in {folder} but no {name}_{part}*.npz; one of that name would be right."
            )
        parts[part] = read_files([str(path) for path in found], "", "classification")[0]
        check(parts[part], SHAPE, len(kind.class_names), f"{found[0]} and its like")
        whole = len(parts[part]) == SIZES[part]
        source += f"; {part} images: " + (
            f"all {SIZES[part]}" if whole else f"only {len(parts[part])} of {SIZES[part]}"
        )
    return parts["train"], parts["test"], f"{source}."


def load_canonical(kind: type[CIFAR10], data_dir: str) -> Parts:
    """Both parts from the canonical pickles. torchvision compares their md5 before it opens them: a
    forged one is never run.
    """
    import torchvision.datasets

    canonical = getattr(torchvision.datasets, kind.torchvision_class)
    root = unpack(kind.name, canonical, data_dir, ("", kind.name))
    train, test = (_split(canonical, root, train) for train in (True, False))
    return train, test, f"Canonical files in {root / canonical.base_folder}."


def _split(canonical: Any, root: Path, train: bool) -> Split:
    try:
        data = canonical(root, train=train, download=False)
    except RuntimeError as error:
        raise DataError(
            f"{root / canonical.base_folder} lacks a file or has one that differs from the canonical one (md5); none was opened; "
            f"the contents of {canonical.filename} would be right."
        ) from error
    pixels = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
    return Split(pixels, torch.tensor(data.targets))
