"""MNIST-rot (Larochelle et al. 2007): digits turned by any angle, 12 000 to learn from and 50 000
to test.
"""

import math
from typing import Literal

import torch

from learnsym.data.augment import AugmentName
from learnsym.data.base import Form, ImageData, Split
from learnsym.data.from_files import Parts, from_file_or
from learnsym.data.images.mnist import DIGITS, MNIST, SHAPE, load_idx
from learnsym.data.readers.amat import official_part
from learnsym.data.rotation import random_angles, rotate_pixels
from learnsym.data.splits import choose, classification_info, generator, take
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size

SIZES = {"train": 12_000, "test": 50_000}
"""Examples of the official files; the last 2 000 of the training part are the published validation
set."""


class RotMNIST(ImageData):
    """1 x 28 x 28, ten classes: 10 000 for training, 2 000 for validation, 50 000 for testing."""

    form = Form(SHAPE, 10)

    def __init__(
        self,
        data_dir: str = "data",
        source: Literal["official", "mnist"] = "official",
        file: str | list[str] | None = None,
        test_fraction: Fraction = 0.2,
        train_size: Size | None = None,
        val_size: Count = 2000,
        test_size: Size | None = None,
        augment: AugmentName = "none",
        seed: Count = 0,
    ) -> None:
        """Args:
        data_dir: folder where the files are looked for first and downloaded to otherwise.
        source: "official" reads Larochelle's files; "mnist" makes a stand-in of the same sizes
            from MNIST, whose results are not comparable with published ones.
        file: .npz file, list of files or pattern to read instead of either.
        test_fraction: part of `file` held out for testing if it has no test set of its own.
        train_size, test_size: at most so many, drawn at random; None takes all.
        val_size: so many, the last of the training part, are for validation.
        augment: fixed augmentation of the training images.
        seed: of the stand-in and of subsets.
        """

        def load() -> Parts:
            return (
                load_official(data_dir) if source == "official" else make_stand_in(data_dir, seed)
            )

        train, test, where = from_file_or(
            load, file, data_dir, test_fraction, seed, SHAPE, len(DIGITS)
        )
        chosen = choose(len(train), len(test), train_size, val_size, test_size, seed, val_last=True)
        splits = take(train, test, chosen)
        # Mean and standard deviation of the official images.
        info = classification_info(
            "rotmnist", splits, DIGITS, (0.130,), (0.297,), where, {"rotation": 2 * math.pi}
        )
        super().__init__(info, splits, augment)


def load_official(data_dir: str) -> Parts:
    """The official training and test part, float32 in [0, 1]."""
    try:
        train, test = (official_part(part, SIZES[part], data_dir) for part in ("train", "test"))
    except DataError as error:
        hint = "dataset.source=mnist makes a stand-in from MNIST, not comparable with published results."
        raise DataError(f"{str(error).rstrip('.')}; {hint}") from error
    return train, test, "Official MNIST-rot files (Larochelle et al. 2007)."


def make_stand_in(data_dir: str, seed: int) -> Parts:
    """Disjoint digits of MNIST's 70 000, as many as the official parts have, each turned by an
    angle uniform on the circle.
    """
    both = load_idx(MNIST, data_dir)
    inputs = torch.cat([both[0].inputs, both[1].inputs])
    targets = torch.cat([both[0].targets, both[1].targets])
    needed = sum(SIZES.values())
    if len(inputs) < needed:
        raise DataError(
            f"{data_dir}: the stand-in for MNIST-rot needs {needed} digits of MNIST, but there are {len(inputs)}."
        )
    order = torch.randperm(len(inputs), generator=generator(seed, "stand-in"))[:needed]
    angles = random_angles(needed, 180.0, seed, "stand-in rotation")
    turned = Split(rotate_pixels(inputs[order], angles), targets[order])
    cut = SIZES["train"]
    train, test = (
        Split(turned.inputs[:cut], turned.targets[:cut]),
        Split(turned.inputs[cut:], turned.targets[cut:]),
    )
    made = f"STAND-IN for MNIST-rot made from MNIST (seed {seed}): same sizes, results not comparable with published ones."
    return train, test, made
