"""The sixes of MNIST beside a twin of each: turned by half a circle, or mirrored (Partial G-CNNs).

A network that ignores rotations altogether cannot tell a six from its half turn, one that ignores
mirroring cannot tell it from its mirror image: what a network with just enough symmetry can.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from learnsym.data.augment import AugmentName
from learnsym.data.base import Form, ImageData, Split
from learnsym.data.from_files import Parts, from_file_or
from learnsym.data.images.mnist import DIGITS, MNIST, SHAPE, Degrees, load_idx
from learnsym.data.rotation import how_rotated, rotate_splits
from learnsym.data.splits import choose, classification_info
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size

SIX = 6
PROTOTYPES = 100
"""At most so many test pictures, upright sixes and their twins, for the response to a turned
input."""


class MNIST6(ImageData, ABC):
    """Sixes (class 0) and their twins (class 1), 1 x 28 x 28: 5 918 digits for training, 958 for
    testing, two pictures of each.

    Picture 2 d of a split is digit d, picture 2 d + 1 its twin. `prototypes` are such pairs of test
    sixes, none turned within `rotation_range`: over both classes a blind network is right half of
    the time at every angle.
    """

    form = Form(SHAPE, 2)
    name: str
    twin_name: str
    twin_is: str

    def __init__(
        self,
        data_dir: str = "data",
        file: str | list[str] | None = None,
        test_fraction: Fraction = 0.2,
        rotation_range: Degrees = 0.0,
        train_size: Size | None = None,
        val_fraction: Fraction = 0.1,
        test_size: Size | None = None,
        augment: AugmentName = "none",
        seed: Count = 0,
    ) -> None:
        """Args:
            data_dir: folder where MNIST's idx files (gzipped or not) are looked for first and
                downloaded to otherwise.
            file: .npz file of images and all ten digits' labels, list of files or pattern to read
                instead of MNIST's.
            test_fraction: part of `file` held out for testing if it has no test set of its own.
            rotation_range: every six is first turned once by an angle uniform within plus or minus
                so many degrees; its twin is that of the turned one, so that a network blind to what
                makes it the twin is right exactly half of the time.
            train_size, test_size: at most so many pictures, an even number: digits are drawn at
                random and both versions kept. None takes all.
            val_fraction: this part of the training digits is held out for validation, both
                versions; 0 for no validation set.
            augment: fixed augmentation of the training images.
            seed: of the rotations and of the splits.

        Raises:
            DataError: there are not as many sixes as are asked for, or an odd number of pictures
                is.
        """

        def canonical() -> Parts:
            return load_idx(MNIST, data_dir)

        train, test, source = from_file_or(
            canonical, file, data_dir, test_fraction, seed, SHAPE, len(DIGITS)
        )
        sixes = {
            "train": train.inputs[train.targets == SIX],
            "test": test.inputs[test.targets == SIX],
        }
        counts = {part: len(digits) for part, digits in sixes.items()}
        chosen = choose_digits(counts, train_size, val_fraction, test_size, seed)
        digits = {
            name: sixes["test" if name == "test" else "train"][rows]
            for name, rows in chosen.items()
        }
        turned = rotate_splits(
            {
                name: Split(upright, torch.zeros(len(upright), dtype=torch.long))
                for name, upright in digits.items()
            },
            chosen,
            counts,
            rotation_range,
            seed,
        )
        splits = {name: self.pair(split.inputs) for name, split in turned.items()}
        moreover = f"{how_rotated(rotation_range)} " if rotation_range else ""
        held_out = (
            f"{len(chosen['val'])} of the training digits" if "val" in chosen else "No digits"
        )
        info = classification_info(
            self.name,
            splits,
            ("six", self.twin_name),
            MNIST.mean,
            MNIST.std,
            f"{source} The sixes, and each of them {self.twin_is}. {moreover}{held_out} are held out for validation "
            "(the published code chooses the best epoch on the test set).",
        )
        super().__init__(info, splits, augment)
        self.prototypes = self.pair(digits["test"][: PROTOTYPES // 2])

    @staticmethod
    @abstractmethod
    def twin(images: Tensor) -> Tensor:
        """The second version of each image [N, C, H, W], same shape: its pixels in another order,
        none interpolated.
        """

    @classmethod
    def pair(cls, digits: Tensor) -> Split:
        """Both versions of digits [N, C, H, W], one after the other: inputs [2 N, C, H, W], targets
        0, 1, 0, 1, ...
        """
        both = torch.stack([digits, cls.twin(digits)], dim=1).flatten(0, 1)
        return Split(both, torch.arange(len(both)) % 2)


class MNIST6HalfTurn(MNIST6):
    """Sixes, and the same turned by 180 degrees: a network blind to rotations is right half of the
    time.
    """

    name = "mnist6_180"
    twin_name, twin_is = "six upside down", "turned by 180 degrees"

    @staticmethod
    def twin(images: Tensor) -> Tensor:
        """Half a turn of the pixel grid."""
        return images.rot90(2, (-2, -1))


class MNIST6Mirror(MNIST6):
    """Sixes, and their mirror images: a network blind to rotations and reflections is right half of
    the time.
    """

    name = "mnist6_m"
    twin_name, twin_is = "mirrored six", "mirrored left to right"

    @staticmethod
    def twin(images: Tensor) -> Tensor:
        """Left and right exchanged."""
        return images.flip(-1)


def choose_digits(
    counts: dict[str, int],
    train_size: int | None,
    val_fraction: float,
    test_size: int | None,
    seed: int,
) -> dict[str, Tensor]:
    """Indices of each split's digits, as `splits.choose` gives them, for numbers of pictures, two
    per digit.

    Raises:
        DataError: a part has no sixes or less than asked for, or the number of pictures is odd.
    """
    for part, count in counts.items():
        if count == 0:
            raise DataError(
                f"the {part} part has no sixes (label {SIX}); MNIST, or a file of its form, would be right."
            )
    held_out = max(1, round(val_fraction * counts["train"])) if val_fraction else 0
    left = counts["train"] - held_out
    if left < 1:
        raise DataError(
            f"dataset.val_fraction={val_fraction:g} leaves nothing of {counts['train']} training digits; less would be valid."
        )
    for key, size, available in (
        ("train_size", train_size, left),
        ("test_size", test_size, counts["test"]),
    ):
        if size is not None and (size % 2 or size > 2 * available):
            raise DataError(
                f"dataset.{key}={size}: every digit comes in two versions, so an even number of pictures, at most "
                f"{2 * available} (two of {available} digits), is valid."
            )
    halves = [None if size is None else size // 2 for size in (train_size, test_size)]
    return choose(counts["train"], counts["test"], halves[0], held_out, halves[1], seed)
