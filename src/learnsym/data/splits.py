"""Who is trained on, who is held out: seeded random choices that never touch the global random
numbers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from learnsym.data.base import DataInfo, Split
from learnsym.errors import DataError
from learnsym.utils.rng import generator

AT_A_TIME = 4096
"""Images handled at once wherever data are made in floating point, to keep memory small."""


def choose(
    train_count: int,
    test_count: int,
    train_size: int | None,
    val_size: int,
    test_size: int | None,
    seed: int,
    val_last: bool = False,
) -> dict[str, Tensor]:
    """Indices of each split: "train" and "val" into the training part, "test" into the test part;
    sorted, int64.

    The validation examples are held out from the training part, at random or (`val_last`) its last
    ones. With one seed a smaller `train_size` is a subset of a larger one, whatever `val_size`. A
    DataError says so if there are not as many examples as are asked for.
    """
    if val_size >= train_count:
        raise DataError(
            f"dataset.val_size={val_size} leaves nothing of {train_count} training examples; less would be valid."
        )
    if train_size is None:
        train_size = train_count - val_size
    if train_size + val_size > train_count:
        raise DataError(
            f"dataset.train_size={train_size} and dataset.val_size={val_size} ask for {train_size + val_size} training examples, "
            f"but there are {train_count}: the two together may be at most that."
        )
    if test_size is not None and test_size > test_count:
        raise DataError(
            f"dataset.test_size={test_size} asks for more test examples than there are; at most {test_count} is valid."
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


def take(train: Split, test: Split, chosen: Mapping[str, Tensor]) -> dict[str, Split]:
    """The splits that `choose` chose; whole parts are not copied."""
    splits = {}
    for name, indices in chosen.items():
        part = test if name == "test" else train
        whole = len(indices) == len(part)
        splits[name] = part if whole else Split(part.inputs[indices], part.targets[indices])
    return splits


def split_off_test(
    everything: Split, test_fraction: float, seed: int, what: str
) -> tuple[Split, Split]:
    """Training and test part of data that come as one set; `what` names it in the error if one of
    the parts would be empty.
    """
    count = len(everything)
    test_count = round(test_fraction * count)
    if not 0 < test_count < count:
        raise DataError(
            f"{what} has {count} examples and no test set of its own, of which dataset.test_fraction={test_fraction} leaves "
            f"{count - test_count} for training and {test_count} for testing; a fraction that leaves some for each is right."
        )
    order = torch.randperm(count, generator=generator(seed, "test split"))
    parts = order[test_count:].sort().values, order[:test_count].sort().values
    train, test = (Split(everything.inputs[part], everything.targets[part]) for part in parts)
    return train, test


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of images [N, C, H, W], of pixels scaled to [0, 1]; a
    constant channel gets 1.
    """
    peak = 255.0 if images.dtype == torch.uint8 else 1.0
    total, squares = torch.zeros(2, images.shape[1], dtype=torch.float64)
    for chunk in images.split(AT_A_TIME):
        pixels = chunk.double() / peak
        total += pixels.sum((0, 2, 3))
        squares += pixels.square().sum((0, 2, 3))
    pixels_per_channel = images.numel() / images.shape[1]
    mean = total / pixels_per_channel
    std = (squares / pixels_per_channel - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6, std, torch.ones_like(std))
    return tuple(mean.tolist()), tuple(std.tolist())


def classification_info(
    name: str,
    splits: Mapping[str, Split],
    class_names: tuple[str, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    provenance: str,
    true_widths: Mapping[str, float] | None = None,
) -> DataInfo:
    """The description of a classification data set, with what can be read off its splits filled
    in.
    """
    channels, height, width = splits["train"].inputs.shape[1:]
    return DataInfo(
        name=name,
        task="classification",
        input_shape=(channels, height, width),
        num_outputs=len(class_names),
        class_names=class_names,
        target_unit="",
        mean=mean,
        std=std,
        sizes={split: len(part) for split, part in splits.items()},
        provenance=provenance,
        true_widths=dict(true_widths or {}),
    )
