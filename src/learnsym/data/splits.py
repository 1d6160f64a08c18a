"""Training, validation and test splits: seeded choices that leave global random numbers alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from learnsym.data.base import CHUNK, Split
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size
from learnsym.utils.rng import generator


@dataclass(eq=False, kw_only=True)
class SplitSettings:
    """Sizes of the splits of a data set, and the seed that draws them.

    Args:
        test_fraction: this part is held out for testing if there is no test set.
        train_size, test_size: at most so many, drawn at random; None takes all.
        val_size: so many are held out from the training part.
        seed: of the splits, and of what else is random in the data.
    """

    test_fraction: Fraction = 0.2
    train_size: Size | None = None
    val_size: Count = 0
    test_size: Size | None = None
    seed: Count = 0
    val_last: ClassVar[bool] = False
    """Whether the validation examples are the last ones of the training part, not random ones."""

    def choose(self, train_count: int, test_count: int) -> dict[str, Tensor]:
        """Draw the indices of each split (see `choose`)."""
        sizes = self.train_size, self.val_size, self.test_size
        return choose(train_count, test_count, *sizes, self.seed, self.val_last)

    def hold_out_test(self, examples: Split, source: str) -> tuple[Split, Split, str]:
        """Split a test part off; return both parts and a sentence for the provenance."""
        train, test = split_off_test(examples, self.test_fraction, self.seed, source)
        how = f"(fraction {self.test_fraction:g}, seed {self.seed})"
        return train, test, f" The test set was held out at random {how}."


def choose(
    train_count: int,
    test_count: int,
    train_size: int | None,
    val_size: int,
    test_size: int | None,
    seed: int,
    val_last: bool = False,
) -> dict[str, Tensor]:
    """Draw sorted indices of "train" and "val" in the training part, "test" in the test part.

    The validation examples are held out from the training part, at random or (`val_last`) its last
    ones. With one seed a smaller `train_size` is a subset of a larger one, whatever `val_size`.

    Raises:
        DataError: there are not as many examples as are asked for.
    """
    if val_size >= train_count:
        raise DataError(
            f"dataset.val_size={val_size} leaves nothing of {train_count} training examples. "
            "Try a smaller one."
        )
    if train_size is None:
        train_size = train_count - val_size
    if train_size + val_size > train_count:
        raise DataError(
            f"dataset.train_size={train_size} and dataset.val_size={val_size} ask for "
            f"{train_size + val_size} training examples, but there are {train_count}."
        )
    if test_size is not None and test_size > test_count:
        raise DataError(
            f"dataset.test_size={test_size} asks for more test examples than there are: "
            f"at most {test_count}."
        )
    kept = train_count - val_size if val_last else train_count
    order = torch.cat(
        [torch.randperm(kept, generator=generator(seed, "train")), torch.arange(kept, train_count)]
    )
    chosen = {"train": order[:train_size]}
    if val_size:
        chosen["val"] = order[train_count - val_size :]
    chosen["test"] = torch.randperm(test_count, generator=generator(seed, "test"))[:test_size]
    return {name: indices.sort().values for name, indices in chosen.items()}


def draw_rows(count: int, size: int | None, seed: int, purpose: str, key: str) -> Tensor:
    """Draw `size` of `count` rows, sorted; all of them if it is None.

    Raises:
        DataError: there are fewer; it names the setting `key`.
    """
    if size is not None and size > count:
        raise DataError(
            f"{key}={size} asks for more examples than there are: at most {count} is valid."
        )
    return torch.randperm(count, generator=generator(seed, purpose))[:size].sort().values


def draw_examples(examples: Split, count: int, seed: int) -> Split:
    """Draw `count` examples for training, in their order."""
    rows = draw_rows(len(examples), count, seed, "train", "dataset.count")
    return Split(examples.inputs[rows], examples.targets[rows])


def take(train: Split, test: Split, chosen: Mapping[str, Tensor]) -> dict[str, Split]:
    """Return the splits with the chosen rows; a part that is taken whole is not copied."""
    splits = {}
    for name, indices in chosen.items():
        part = test if name == "test" else train
        whole = len(indices) == len(part)
        splits[name] = part if whole else Split(part.inputs[indices], part.targets[indices])
    return splits


def split_off_test(
    examples: Split, test_fraction: float, seed: int, source: str
) -> tuple[Split, Split]:
    """Split examples at random into a training and a test part.

    Raises:
        DataError: one of the parts would be empty; it names the `source`.
    """
    count = len(examples)
    test_count = round(test_fraction * count)
    if not 0 < test_count < count:
        raise DataError(
            f"{source} has {count} examples and no test set, of which "
            f"dataset.test_fraction={test_fraction} leaves {count - test_count} for training and "
            f"{test_count} for testing. Try a fraction that leaves some for each."
        )
    order = torch.randperm(count, generator=generator(seed, "test split"))
    rows = order[test_count:].sort().values, order[:test_count].sort().values
    train, test = (Split(examples.inputs[kept], examples.targets[kept]) for kept in rows)
    return train, test


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, of pixels scaled to [0, 1].

    Args:
        images: [N, C, H, W], uint8 or floating point in [0, 1].

    Returns:
        C numbers each; a constant channel has standard deviation 1.
    """
    peak = 255.0 if images.dtype == torch.uint8 else 1.0
    total, squares = torch.zeros(2, images.shape[1], dtype=torch.float64)
    for chunk in images.split(CHUNK):
        pixels = chunk.double() / peak
        total += pixels.sum((0, 2, 3))
        squares += pixels.square().sum((0, 2, 3))
    pixels_per_channel = images.numel() / images.shape[1]
    mean = total / pixels_per_channel
    std = (squares / pixels_per_channel - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6, std, torch.ones_like(std))
    return tuple(mean.tolist()), tuple(std.tolist())
