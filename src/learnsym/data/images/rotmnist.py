"""MNIST-rot (Larochelle et al. 2007): digits rotated by any angle."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from learnsym.data.base import DataInfo, ExampleSpec, Split
from learnsym.data.images.base import Parts
from learnsym.data.images.mnist import DIGITS, SHAPE, IdxImages
from learnsym.data.readers.amat import official_part
from learnsym.data.rotation import random_angles, rotate_pixels
from learnsym.errors import DataError
from learnsym.schema import Count
from learnsym.utils.rng import generator

SIZES = {"train": 12_000, "test": 50_000}
"""Examples of the official files; the last 2 000 of the training part are the published validation
set."""


@dataclass(eq=False, kw_only=True)
class RotMNIST(IdxImages):
    """Rotated digits, 1 x 28 x 28: 10 000 for training, 2 000 for validation, 50 000 for testing.

    The validation examples are the last of the training part, as published. Other arguments: see
    `PublishedImages`, `SplitImages` and `SplitSettings`.

    Args:
        source: "official" reads Larochelle's files; "mnist" makes a stand-in of the same sizes
            from MNIST, whose results are not comparable with published ones.
    """

    source: Literal["official", "mnist"] = "official"
    val_size: Count = 2000
    val_last = True
    name = "rotmnist"
    spec = ExampleSpec(SHAPE, 10)
    class_names = DIGITS
    channel_mean, channel_std = (0.130,), (0.297,)  # of the official images

    def describe(self, splits: Mapping[str, Split], source: str) -> DataInfo:
        """Add the full circle."""
        return replace(super().describe(splits, source), true_widths={"rotation": 2 * math.pi})

    def load_published(self) -> Parts:
        """Return the official parts, or those of the stand-in."""
        if self.source == "mnist":
            return self._make_stand_in()
        try:
            train, test = (official_part(part, SIZES[part], self.data_dir) for part in SIZES)
        except DataError as error:
            raise DataError(
                f"{str(error).rstrip('.')}; dataset.source=mnist makes a stand-in from MNIST, not "
                "comparable with published results."
            ) from error
        return train, test, "Official MNIST-rot files (Larochelle et al. 2007)."

    def _make_stand_in(self) -> Parts:
        """Rotate disjoint digits of MNIST's 70 000, as many as the official parts have."""
        parts = super().load_published()[:2]
        inputs = torch.cat([part.tensor for part in parts])
        targets = torch.cat([part.targets for part in parts])
        count = sum(SIZES.values())
        if len(inputs) < count:
            raise DataError(
                f"{self.data_dir}: the stand-in for MNIST-rot needs {count} digits of MNIST, but "
                f"there are {len(inputs)}."
            )
        order = torch.randperm(len(inputs), generator=generator(self.seed, "stand-in"))[:count]
        angles = random_angles(count, 180.0, self.seed, "stand-in rotation")
        images = rotate_pixels(inputs[order], angles).split(list(SIZES.values()))
        labels = targets[order].split(list(SIZES.values()))
        train, test = map(Split, images, labels)
        provenance = (
            f"STAND-IN for MNIST-rot made from MNIST (seed {self.seed}): same sizes, results not "
            "comparable with published ones."
        )
        return train, test, provenance
