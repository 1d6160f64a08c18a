"""Remark on data that can be read, but are hardly what somebody wanted."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from learnsym.data.base import Split, Splits

_SHOWN = 8
_DARK = 0.02  # of pixels in [0, 1]: those of images that were divided by 255 twice are below


def odd_classes(
    names: Sequence[str], parts: tuple[Split, Split], splits: Splits, named_by_data: bool
) -> tuple[str | None, tuple[str, ...]]:
    """Say why a training makes no sense (None: it does), and what else is odd about the classes.

    `parts` are the whole training and test part, before `splits` were drawn from them. Where the
    classes are those that the data name, each of them must occur.
    """
    every = set(range(len(names)))
    train, test = (set(part.targets.unique().tolist()) for part in parts)
    occur = train | test
    if not occur <= every:  # the splits have other labels
        return None, ()
    untrainable = None
    if len(occur) < 2:
        untrainable = f"all labels are {_named(occur, names)}. Expected at least two classes."
    elif named_by_data and (gaps := every - occur):
        untrainable = (
            f"the labels are {_named(occur, names)}, but none is {_named(gaps, names)}. Expected "
            f"labels from 0 to {len(occur) - 1} without gaps."
        )
    elif named_by_data and (unseen := test - train):
        untrainable = (
            f"no training example is of the class {_named(unseen, names)}, of which there are "
            "test examples. Expected some of every class."
        )
    remarks = []
    for name, known in (("train", train), ("test", test)):
        drawn = set(splits[name].targets.unique().tolist()) if name in splits else every
        if missing := (every if untrainable is None else known) - drawn:
            remarks.append(f"{name} has no example of the class {_named(missing, names)}.")
    return untrainable, tuple(remarks)


def odd_images(splits: Splits, hashes: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return remarks on the range of pixels, and on images that are in two splits."""
    remarks = []
    images = splits["train"].inputs
    if isinstance(images, Tensor) and len(images):
        if images.dtype == torch.uint8 and images.max() <= 1:
            remarks.append("all pixels are 0 or 1 of 255. Expected 0 to 255, or floating point.")
        elif images.is_floating_point() and images.max() < _DARK:
            remarks.append(
                f"no pixel is above {images.max():.2g}. Expected a range up to 1: were they "
                "divided by 255 twice?"
            )
    for name in ("val", "test"):
        if name in hashes and (count := int(torch.isin(hashes[name], hashes["train"]).sum())):
            total = len(hashes[name])
            remarks.append(f"{count} of {total} {name} images are among the training images too.")
    return tuple(remarks)


def _named(labels: set[int], names: Sequence[str]) -> str:
    """List classes, not too many."""
    shown = [names[label] for label in sorted(labels)]
    rest = len(shown) - _SHOWN
    return ", ".join(shown[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
