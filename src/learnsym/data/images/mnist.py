"""MNIST and Fashion-MNIST, from the canonical idx files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.data.base import CHUNK, DataInfo, ExampleSpec, Split, Splits
from learnsym.data.download import download, find
from learnsym.data.images.base import Chosen, Counts, Parts, PublishedImages, RotatedImages
from learnsym.data.readers.arrays import read_idx
from learnsym.errors import DataError
from learnsym.schema import Positive, Size

DIGITS = tuple(map(str, range(10)))
CLOTHES: tuple[str, ...] = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal")
CLOTHES += ("shirt", "sneaker", "bag", "ankle boot")
SHAPE = (1, 28, 28)


@dataclass(eq=False)
class IdxImages(PublishedImages):
    """Images [1, 28, 28] in idx files, gzipped or not."""

    spec = ExampleSpec(SHAPE, 10)
    stored_classes = 10
    torchvision_class: ClassVar[str] = "MNIST"
    subfolders: ClassVar[tuple[str, ...]] = ("MNIST/raw", "mnist", "")

    def load_published(self) -> Parts:
        """Return both parts from the canonical files."""
        parts = []
        for part in ("train", "t10k"):
            images_path = self._locate(f"{part}-images-idx3-ubyte")
            labels_path = self._locate(f"{part}-labels-idx1-ubyte")
            images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
            if len(images) != len(labels):
                raise DataError(
                    f"{images_path} has {len(images)} images but {labels_path} has {len(labels)} "
                    "labels. Expected as many."
                )
            parts.append(Split(images[:, None], labels.long()))
            self.check(str(images_path.parent), parts[-1])
        return parts[0], parts[1], f"Canonical idx files in {images_path.parent}."

    def _locate(self, name: str) -> Path:
        """Find the file, or download it from torchvision's mirrors."""
        if path := find(self.data_dir, self.subfolders, (name, f"{name}.gz")):
            return path
        import torchvision.datasets

        canonical = getattr(torchvision.datasets, self.torchvision_class)
        urls = [mirror + f"{name}.gz" for mirror in canonical.mirrors]
        checksum = f"md5:{dict(canonical.resources)[f'{name}.gz']}"
        folder = Path(self.data_dir).expanduser() / self.subfolders[0]
        return download(self.name, f"{name}.gz", folder, urls, checksum)


@dataclass(eq=False, kw_only=True)
class MNIST(IdxImages, RotatedImages):
    """Handwritten digits, 1 x 28 x 28, 60 000 for training and 10 000 for testing.

    They are rotated first, then resized to `side`. `train_part`="test" swaps the two parts.
    """

    side: Size = 28
    train_part: Literal["train", "test"] = "train"
    mean: float | None = None
    std: Positive | None = None
    name = "mnist"
    class_names = DIGITS
    channel_mean, channel_std = (0.1307,), (0.3081,)

    def load(self) -> Parts:
        """Return both parts, swapped if they are to be."""
        train, test, source = super().load()
        if self.train_part == "train":
            return train, test, source
        swapped = "The parts are swapped: trained on the test part, tested on the training part."
        return test, train, f"{source} {swapped}"

    def transform(self, splits: Splits, chosen: Chosen, counts: Counts) -> Splits:
        """Rotate and resize the images."""
        rotated = super().transform(splits, chosen, counts).items()
        return {name: Split(resize(part.tensor, self.side), part.targets) for name, part in rotated}

    def describe(self, splits: Splits, source: str) -> DataInfo:
        """Add the size, and take the statistics that were asked for."""
        info = super().describe(splits, source)
        resized = f" Images are resized to {self.side} x {self.side} (bilinear, antialiased)."
        return replace(
            info,
            provenance=info.provenance + (resized if self.side != SHAPE[-1] else ""),
            mean=info.mean if self.mean is None else (self.mean,),
            std=info.std if self.std is None else (self.std,),
        )


@dataclass(eq=False, kw_only=True)
class FashionMNIST(MNIST):
    """Pictures of clothes in the form of MNIST, 1 x 28 x 28."""

    name = "fashion_mnist"
    class_names = CLOTHES
    channel_mean, channel_std = (0.2860,), (0.3530,)
    torchvision_class = "FashionMNIST"
    # Not the folder itself: the files have the same names as MNIST's.
    subfolders = ("FashionMNIST/raw", "fashion_mnist")


def resize(images: Tensor, side: int) -> Tensor:
    """Resize images [N, C, H, W] to float32 in [0, 1], [N, C, side, side]; of that size: unchanged.

    Bilinear with antialiasing, whose weights are symmetric: quarter turns of a square commute with
    it, up to rounding.
    """
    if tuple(images.shape[-2:]) == (side, side):
        return images
    peak = 255.0 if images.dtype == torch.uint8 else 1.0
    resized = [
        F.interpolate(chunk.float() / peak, (side, side), mode="bilinear", antialias=True)
        for chunk in images.split(CHUNK)
    ]
    return torch.cat(resized).clamp_(0, 1)
