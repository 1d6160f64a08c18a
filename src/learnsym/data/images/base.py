"""Shared parts of image data sets: loading, splitting, rotation, description."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from learnsym.data.augment import AugmentName
from learnsym.data.base import DataInfo, ImageData, Split, Splits, row_hashes
from learnsym.data.download import unpack
from learnsym.data.oddities import odd_classes, odd_images
from learnsym.data.readers.arrays import Labels, read_files
from learnsym.data.rotation import describe_rotation, rotate_splits
from learnsym.data.splits import SplitSettings, take
from learnsym.errors import DataError
from learnsym.schema import PlainMapping

Degrees = Annotated[float, Ge(0), Le(180)]  # half the width of a range of rotations around upright
Parts = tuple[Split, Split, str]  # training part, test part, and where they came from
Chosen = Mapping[str, Tensor]  # rows of each split in the part that it is taken from
Counts = Mapping[str, int]  # sizes of the whole parts, "train" and "test"


@dataclass(eq=False, kw_only=True)
class SplitImages(SplitSettings, ImageData):
    """Classified images that are loaded as two parts (by `load` of a subclass) and split."""

    augment: AugmentName = "none"
    name: ClassVar[str]
    class_names: ClassVar[tuple[str, ...]]
    channel_mean: ClassVar[tuple[float, ...]]
    channel_std: ClassVar[tuple[float, ...]]
    named_by_data: ClassVar[bool] = False
    """Whether the classes are those that occur in the data."""

    def __post_init__(self) -> None:
        train, test, source = self.load()
        labels = {"train": train.targets, "test": test.targets}
        chosen = self.choose(len(train), len(test), labels)
        counts = {"train": len(train), "test": len(test)}
        untouched = take(train, test, chosen)
        splits = self.transform(untouched, chosen, counts)
        ImageData.__init__(self, self.describe(splits, source), splits, self.augment)
        if self.info.task == "classification":
            self.untrainable, remarks = odd_classes(
                self.info.class_names, (train, test), splits, self.named_by_data
            )
            self.remarks += remarks
        # Of the images as they were read: a rotation that is drawn anew does not make a new one.
        self.hashes = {
            name: row_hashes((untouched.get(name) or split).inputs)
            for name, split in splits.items()
        }
        self.remarks += odd_images(splits, self.hashes)

    @abstractmethod
    def load(self) -> Parts:
        """Return the whole training part, the whole test part and where they came from."""

    def transform(self, splits: Splits, chosen: Chosen, counts: Counts) -> Splits:
        """Change the splits."""
        return splits

    def describe(self, splits: Splits, source: str) -> DataInfo:
        """Return the description of the splits; `source` is where they came from."""
        mean, std, names = self.channel_mean, self.channel_std, self.class_names
        return DataInfo.of(self.name, splits, source, class_names=names, mean=mean, std=std)

    def read(self, file: str | list[str], data_dir: str, task: Labels = "classification") -> Parts:
        """Read both parts from a user's .npz files; without a test part it is held out."""
        parts, names = read_files(file, data_dir, task)
        self.check(names, *parts)
        held_out = ""
        if len(parts) == 1:
            *parts, held_out = self.hold_out_test(parts[0], names)
        return parts[0], parts[1], f"Read from {names}.{held_out}"

    def check(self, source: str, *parts: Split) -> None:
        """Raise a DataError that names the `source` unless the parts are of the right form."""


@dataclass(eq=False, kw_only=True)
class RotatedImages(SplitImages):
    """Images that are rotated once when they are loaded."""

    rotation_range: Degrees = 0.0

    def transform(self, splits: Splits, chosen: Chosen, counts: Counts) -> Splits:
        """Rotate the images."""
        return rotate_splits(splits, chosen, counts, self.rotation_range, self.seed)

    def describe(self, splits: Splits, source: str) -> DataInfo:
        """Add the rotation."""
        info = super().describe(splits, f"{source} {describe_rotation(self.rotation_range)}")
        return replace(info, true_widths={"rotation": 2 * math.radians(self.rotation_range)})


@dataclass(eq=False)
class PublishedImages(SplitImages):
    """A published data set, or a file of the user's in its form."""

    data_dir: str = "data"
    file: str | list[str] | None = None
    stored_classes: ClassVar[int | None] = None
    """Number of classes in the files, where not all of them are used."""

    @abstractmethod
    def load_published(self) -> Parts:
        """Return both parts from the published files."""

    def load(self) -> Parts:
        """Return both parts from `file` or the published files."""
        return self.load_published() if self.file is None else self.read(self.file, self.data_dir)

    def check(self, source: str, *parts: Split) -> None:
        """Compare images and labels with what the data set has."""
        assert self.spec is not None
        expected, classes = self.spec.shape, self.stored_classes or self.spec.outputs
        for part in parts:
            if (shape := part.inputs.shape[1:]) != expected:
                raise DataError(
                    f"{source}: Expected images of shape {list(expected)}, got {list(shape)}. "
                    "Try dataset=npz."
                )
            if len(part) == 0 or part.targets.max() >= classes:
                labels = f"labels up to {int(part.targets.max())}" if len(part) else "no images"
                raise DataError(
                    f"{source}: Expected labels from 0 to {classes - 1}, got {labels}. Try "
                    "dataset=npz."
                )

    def load_torchvision(self, canonical: type[Any], *settings: PlainMapping) -> Parts:
        """Read both parts, with these settings, by a class of torchvision, which checks md5."""
        root = unpack(self.name, canonical, self.data_dir, ("", self.name))
        train, test = (_read(canonical, root, arguments) for arguments in settings)
        return train, test, f"Canonical files in {root / canonical.base_folder}."


def _read(canonical: type[Any], root: Path, arguments: PlainMapping) -> Split:
    try:
        data = canonical(root, download=False, **arguments)
    except RuntimeError as error:
        raise DataError(
            f"{root / canonical.base_folder} lacks a file or has one that differs from the "
            f"canonical one (md5); none was opened. Expected the contents of {canonical.filename}."
        ) from error
    if hasattr(data, "labels"):  # STL10, which has channels first
        return Split(torch.from_numpy(data.data).contiguous(), torch.tensor(data.labels).long())
    pixels = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
    return Split(pixels, torch.tensor(data.targets))
