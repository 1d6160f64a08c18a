"""scikit-learn's handwritten digits: 1 797 images of 8 x 8, part of the library, so nothing has to
be downloaded.
"""

import math

import torch

from learnsym.data.augment import AugmentName
from learnsym.data.base import Form, ImageData, Split
from learnsym.data.images.mnist import DIGITS, Degrees
from learnsym.data.rotation import how_rotated, rotate_splits
from learnsym.data.splits import choose, classification_info, split_off_test, take
from learnsym.schema import Count, Fraction, Size

DEEPEST = 16
"""Value of the darkest ink in the library's arrays."""


class Digits(ImageData):
    """1 x 8 x 8, ten classes; every picture turned once within a range of the reader's choice."""

    form = Form((1, 8, 8), 10)

    def __init__(
        self,
        test_fraction: Fraction = 0.2,
        rotation_range: Degrees = 0.0,
        train_size: Size | None = None,
        val_size: Count = 0,
        test_size: Size | None = None,
        augment: AugmentName = "none",
        seed: Count = 0,
    ) -> None:
        """Args:
        test_fraction: part held out for testing, at random.
        rotation_range: every picture is turned once by an angle uniform within plus or minus so
            many degrees.
        train_size, test_size: at most so many, drawn at random; None takes all.
        val_size: so many are held out from the training part.
        augment: fixed augmentation of the training images.
        seed: of the rotations and of the splits.
        """
        train, test = split_off_test(load_digits(), test_fraction, seed, "digits")
        chosen = choose(len(train), len(test), train_size, val_size, test_size, seed)
        counts = {"train": len(train), "test": len(test)}
        splits = rotate_splits(take(train, test, chosen), chosen, counts, rotation_range, seed)
        source = (
            f"scikit-learn's digits, of which {len(test)} were held out for testing (seed {seed})."
        )
        info = classification_info(
            "digits",
            splits,
            DIGITS,
            (0.3053,),
            (0.3761,),
            f"{source} {how_rotated(rotation_range)}",
            {"rotation": 2 * math.radians(rotation_range)},
        )
        super().__init__(info, splits, augment)


def load_digits() -> Split:
    """All of them: inputs [1797, 1, 8, 8], uint8 (ink 0..16 scaled to 0..255), targets [1797]."""
    import sklearn.datasets

    bunch = sklearn.datasets.load_digits()
    ink = torch.from_numpy(bunch.images)[:, None] * (255 / DEEPEST)
    return Split(ink.round().to(torch.uint8), torch.from_numpy(bunch.target).long())
