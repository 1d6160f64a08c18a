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
from learnsym.data.base import DataInfo, ImageData, Split
from learnsym.data.download import unpack
from learnsym.data.readers.arrays import read_files
from learnsym.data.rotation import describe_rotation, rotate_splits
from learnsym.data.splits import SplitSettings, take
from learnsym.errors import DataError
from learnsym.schema import PlainMapping

Degrees = Annotated[float, Ge(0), Le(180)]
"""Half the width of a range of rotations around upright."""
Parts = tuple[Split, Split, str]
"""Training part, test part, and where they came from."""
Chosen = Mapping[str, Tensor]
"""Rows of each split in the part that it is taken from."""


@dataclass(eq=False, kw_only=True)
class SplitImages(SplitSettings, ImageData):
    """Classified images that are loaded as two parts and split.

    A subclass says where they come from (`load`) and may change the other methods.

    Args:
        augment: fixed augmentation of the training images, a name in `learnsym.data.augment`.
    """

    augment: AugmentName = "none"
    name: ClassVar[str]
    class_names: ClassVar[tuple[str, ...]]
    channel_mean: ClassVar[tuple[float, ...]]
    channel_std: ClassVar[tuple[float, ...]]

    def __post_init__(self) -> None:
        train, test, source = self.load()
        counts = {"train": len(train), "test": len(test)}
        chosen = self.choose(len(train), len(test))
        splits = self.transform(take(train, test, chosen), chosen, counts)
        info = self.describe(splits, source)
        ImageData.__init__(self, info, splits, self.augment)

    @abstractmethod
    def load(self) -> Parts:
        """Return the whole training part, the whole test part and where they came from."""

    def transform(
        self, splits: dict[str, Split], chosen: Chosen, counts: Mapping[str, int]
    ) -> dict[str, Split]:
        """Change the splits; `counts` are the sizes of the whole parts."""
        return splits

    def describe(self, splits: Mapping[str, Split], source: str) -> DataInfo:
        """Return the description of the splits; `source` is where they came from."""
        return DataInfo.of(
            self.name,
            splits,
            source,
            class_names=self.class_names,
            mean=self.channel_mean,
            std=self.channel_std,
        )


@dataclass(eq=False, kw_only=True)
class RotatedImages(SplitImages):
    """Images that are rotated once when they are loaded.

    Args:
        rotation_range: every image is rotated by an angle uniform within plus or minus so many
            degrees.
    """

    rotation_range: Degrees = 0.0

    def transform(
        self, splits: dict[str, Split], chosen: Chosen, counts: Mapping[str, int]
    ) -> dict[str, Split]:
        """Rotate the images."""
        return rotate_splits(splits, chosen, counts, self.rotation_range, self.seed)

    def describe(self, splits: Mapping[str, Split], source: str) -> DataInfo:
        """Add the rotation."""
        source = f"{source} {describe_rotation(self.rotation_range)}"
        width = 2 * math.radians(self.rotation_range)
        return replace(super().describe(splits, source), true_widths={"rotation": width})


@dataclass(eq=False)
class PublishedImages(SplitImages):
    """A published data set, or a file of the user's in its form.

    Args:
        data_dir: folder where the files are looked for first and downloaded to otherwise.
        file: .npz file, list of files or pattern to read instead of the published files.
    """

    data_dir: str = "data"
    file: str | list[str] | None = None
    stored_classes: ClassVar[int | None] = None
    """Number of classes in the files, where not all of them are used."""

    @abstractmethod
    def load_published(self) -> Parts:
        """Return both parts from the published files."""

    def load(self) -> Parts:
        """Return both parts from `file` or the published files."""
        if self.file is None:
            return self.load_published()
        train, test, paths = read_files(self.file, self.data_dir, "classification")
        names = ", ".join(map(str, paths))
        for part in (train, test):
            if part is not None:
                self.check(part, names)
        held_out = ""
        if test is None:
            train, test, held_out = self.hold_out_test(train, names)
        return train, test, f"Read from {names}.{held_out}"

    def check(self, part: Split, source: str) -> None:
        """Raise a DataError unless images and labels are as the data set has them."""
        assert self.spec is not None
        shape, classes = tuple(part.inputs.shape[1:]), self.stored_classes or self.spec.outputs
        if shape != self.spec.shape:
            raise DataError(
                f"{source}: Expected images of shape {list(self.spec.shape)}, got {list(shape)}. "
                "Try dataset=npz."
            )
        if len(part) == 0 or part.targets.max() >= classes:
            labels = f"labels up to {int(part.targets.max())}" if len(part) else "no images"
            raise DataError(
                f"{source}: Expected labels from 0 to {classes - 1}, got {labels}. Try dataset=npz."
            )

    def load_torchvision(self, canonical: type[Any], *settings: PlainMapping) -> Parts:
        """Read both parts by a class of torchvision, which checks their md5.

        Args:
            canonical: the class.
            settings: its arguments for the training and the test part.
        """
        root = unpack(self.name, canonical, self.data_dir, ("", self.name))
        folder = root / canonical.base_folder
        train, test = (_read(canonical, root, arguments) for arguments in settings)
        return train, test, f"Canonical files in {folder}."


def _read(canonical: type[Any], root: Path, arguments: PlainMapping) -> Split:
    try:
        data = canonical(root, download=False, **arguments)
    except RuntimeError as error:
        raise DataError(
            f"{root / canonical.base_folder} lacks a file or has one that differs from the "
            f"canonical one (md5); none was opened. Expected the contents of {canonical.filename}."
        ) from error
    pixels = torch.from_numpy(data.data)
    labels = getattr(data, "targets", None)  # STL10 calls them labels, and has channels first
    if labels is None:
        return Split(pixels.contiguous(), torch.from_numpy(data.labels).long())
    return Split(pixels.permute(0, 3, 1, 2).contiguous(), torch.tensor(labels))
