"""The sixes of MNIST and their half turns or mirror images (Partial G-CNNs).

A network that ignores rotations altogether cannot tell a six from its half turn, one that ignores
mirroring cannot tell it from its mirror image. A network with just enough symmetry can.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from learnsym.data.base import DataInfo, ExampleSpec, Split, Splits
from learnsym.data.images.base import Chosen, Counts, Degrees, Parts
from learnsym.data.images.mnist import MNIST, SHAPE, IdxImages
from learnsym.data.rotation import describe_rotation, rotate_splits
from learnsym.data.splits import SplitSettings
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction

PROTOTYPES = 100
"""At most so many test pictures, both versions of upright sixes, for the response to a rotation."""


@dataclass(eq=False, kw_only=True)
class MNIST6(IdxImages):
    """Sixes (class 0) and their second versions (class 1), 1 x 28 x 28.

    5 918 digits for training, 958 for testing, two pictures of each: picture 2 d of a split is
    digit d, picture 2 d + 1 its second version. `prototypes` are such pairs of test sixes, none
    rotated within `rotation_range`. The second version is that of the rotated six, so that a
    network blind to the difference is right exactly half of the time. Sizes are numbers of
    pictures, which have to be even.
    """

    rotation_range: Degrees = 0.0
    val_fraction: Fraction = 0.1
    val_size: Count = field(init=False, default=0)
    spec = ExampleSpec(SHAPE, 2)
    channel_mean, channel_std = MNIST.channel_mean, MNIST.channel_std
    version: ClassVar[str]
    """What was done to the second version, for the provenance."""
    flipped: ClassVar[tuple[int, ...]]
    """Axes of [N, C, H, W] along which it was done."""

    @classmethod
    def second_version(cls, images: Tensor) -> Tensor:
        """Rearrange the pixels of images [N, C, H, W]; none is interpolated."""
        return images.flip(cls.flipped)

    @classmethod
    def pair(cls, digits: Tensor) -> Split:
        """Interleave digits [N, C, H, W] with their second versions."""
        both = torch.stack([digits, cls.second_version(digits)], dim=1).flatten(0, 1)
        return Split(both, torch.arange(len(both)) % 2)

    def load(self) -> Parts:
        """Return the sixes of both parts."""
        *parts, source = super().load()
        sixes = [part[part.targets == 6] for part in parts]
        for name, part in zip(("train", "test"), sixes, strict=True):
            if not len(part):
                raise DataError(
                    f"the {name} part has no sixes (label 6). Expected MNIST, or its form."
                )
        return sixes[0], sixes[1], source

    def choose(
        self, train_count: int, test_count: int, labels: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Draw digits for the numbers of pictures, two per digit."""
        if self.val_fraction:
            self.val_size = max(1, round(self.val_fraction * train_count))
        left = train_count - self.val_size
        if left < 1:
            raise DataError(
                f"dataset.val_fraction={self.val_fraction:g} leaves nothing of {train_count} "
                "training digits. Try a smaller one."
            )
        digits = SplitSettings(val_size=self.val_size, seed=self.seed)
        for key, available in (("train_size", left), ("test_size", test_count)):
            if (size := getattr(self, key)) is None:
                continue
            if size % 2 or size > 2 * available:
                raise DataError(
                    f"dataset.{key}={size}: every digit comes in two versions. Expected an even "
                    f"number of pictures, at most {2 * available} (two of {available} digits)."
                )
            setattr(digits, key, size // 2)
        return digits.choose(train_count, test_count)

    def transform(self, splits: Splits, chosen: Chosen, counts: Counts) -> Splits:
        """Rotate the sixes and pair them with their second versions."""
        self.prototypes = self.pair(splits["test"].tensor[: PROTOTYPES // 2])
        rotated = rotate_splits(splits, chosen, counts, self.rotation_range, self.seed)
        return {name: self.pair(split.tensor) for name, split in rotated.items()}

    def describe(self, splits: Splits, source: str) -> DataInfo:
        """Add the origin of the pairs."""
        rotated = f"{describe_rotation(self.rotation_range)} " if self.rotation_range else ""
        held_out = f"{self.val_size} of the training digits" if self.val_size else "No digits"
        source = (
            f"{source} The sixes, and each of them {self.version}. {rotated}{held_out} are held "
            "out for validation (the published code chooses the best epoch on the test set)."
        )
        return super().describe(splits, source)


@dataclass(eq=False, kw_only=True)
class MNIST6HalfTurn(MNIST6):
    """Sixes, and the same rotated by 180 degrees."""

    name = "mnist6_180"
    class_names = ("six", "six upside down")
    version = "turned by 180 degrees"
    flipped = (-2, -1)


@dataclass(eq=False, kw_only=True)
class MNIST6Mirror(MNIST6):
    """Sixes, and their mirror images."""

    name = "mnist6_m"
    class_names = ("six", "mirrored six")
    version = "mirrored left to right"
    flipped = (-1,)
