"""Training, validation and test splits: seeded choices that leave global random numbers alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from learnsym.data.base import CHUNK, Split, Splits
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size
from learnsym.utils.rng import generator


@dataclass(eq=False, kw_only=True)
class SplitSettings:
    """Sizes of the splits of a data set, and the seed that draws them (see cfg/dataset)."""

    test_fraction: Fraction = 0.2
    train_size: Size | None = None
    val_size: Count = 0
    test_size: Size | None = None
    seed: Count = 0
    val_last: ClassVar[bool] = False
    """Whether the validation examples are the last ones of the training part, not random ones."""
    stratify = False
    """Whether every split has its share of each class; a setting of those that can."""

    def choose(
        self, train_count: int, test_count: int, labels: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Draw sorted rows of "train" and "val", and of "test" in the test part.

        With one seed a smaller `train_size` is a subset of a larger one, whatever `val_size`.
        Labels of the parts "train" and "test" [N] are for `stratify`.
        """
        left = train_count - self.val_size
        if left < 1:
            raise DataError(
                f"dataset.val_size={self.val_size} leaves nothing of {train_count} training "
                "examples. Try a smaller one."
            )
        if self.train_size is not None and self.train_size > left:
            raise DataError(
                f"dataset.train_size={self.train_size} and dataset.val_size={self.val_size} ask "
                f"for {self.train_size + self.val_size} of {train_count} training examples."
            )
        if self.test_size is not None and self.test_size > test_count:
            raise DataError(
                f"dataset.test_size={self.test_size} asks for more test examples than there are: "
                f"at most {test_count}."
            )
        shuffled = left if self.val_last else train_count
        of_train, of_test = (labels["train"], labels["test"]) if labels else (None, None)
        order = self._shuffle(shuffled, "train", of_train)
        order = torch.cat([order, torch.arange(shuffled, train_count)])
        test = self._shuffle(test_count, "test", of_test)
        chosen = {"train": order[:left][: self.train_size], "val": order[left:]}
        chosen["test"] = test[: self.test_size]
        return {name: rows.sort().values for name, rows in chosen.items() if len(rows)}

    def hold_out_test(self, examples: Split, source: str) -> tuple[Split, Split, str]:
        """Split off a test part; return a sentence for the provenance too."""
        count = len(examples)
        test_count = round(self.test_fraction * count)
        if not 0 < test_count < count:
            raise DataError(
                f"{source} has {count} examples and no test set, of which dataset.test_fraction="
                f"{self.test_fraction} leaves {count - test_count} for training and {test_count} "
                "for testing. Try a fraction that leaves some for each."
            )
        self.held_out = True
        order = self._shuffle(count, "test split", examples.targets)
        train, test = order[test_count:].sort().values, order[:test_count].sort().values
        how = f"(fraction {self.test_fraction:g}, seed {self.seed})"
        by_class = " by class" if self.stratify else ""
        told = f" The test set was held out at random{by_class} {how}."
        return examples[train], examples[test], told

    def _shuffle(self, count: int, purpose: str, labels: Tensor | None) -> Tensor:
        """Return `count` rows in random order [count]; labels are [count].

        Stratified, the first m of them have their share of each class, for every m; the example of
        a class of one is in the middle.
        """
        order = torch.randperm(count, generator=generator(self.seed, purpose))
        if labels is None or not self.stratify or labels.is_floating_point():
            return order
        shuffled = labels[order]
        position = torch.empty(count, dtype=torch.float64)
        for label in shuffled.unique():
            rows = (shuffled == label).nonzero()[:, 0]
            position[rows] = (torch.arange(len(rows), dtype=torch.float64) + 0.5) / len(rows)
        return order[position.argsort(stable=True)]


def draw_rows(count: int, size: int | None, seed: int, purpose: str, key: str) -> Tensor:
    """Draw `size` of `count` rows (None: all), sorted; an error names the setting `key`."""
    if size is not None and size > count:
        raise DataError(f"{key}={size} asks for more than there are: at most {count} is valid.")
    return torch.randperm(count, generator=generator(seed, purpose))[:size].sort().values


def draw_examples(examples: Split, count: int, seed: int) -> Split:
    """Draw `count` examples for training, in their order."""
    return examples[draw_rows(len(examples), count, seed, "train", "dataset.count")]


def take(train: Split, test: Split, chosen: Mapping[str, Tensor]) -> Splits:
    """Return the splits with the chosen rows; whole parts are not copied."""
    parts = {name: test if name == "test" else train for name in chosen}
    return {
        name: parts[name] if len(rows) == len(parts[name]) else parts[name][rows]
        for name, rows in chosen.items()
    }


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation (constant: 1) of channels, of pixels scaled to [0, 1]."""
    peak = 255.0 if images.dtype == torch.uint8 else 1.0
    total, squares = torch.zeros(2, images.shape[1], dtype=torch.float64)
    for chunk in images.split(CHUNK):
        pixels = chunk.double() / peak
        total += pixels.sum((0, 2, 3))
        squares += pixels.square().sum((0, 2, 3))
    pixels_per_channel = images.numel() / images.shape[1]
    mean = total / pixels_per_channel
    std = (squares / pixels_per_channel - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6, std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())
