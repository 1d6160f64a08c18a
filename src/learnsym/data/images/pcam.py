"""PatchCamelyon (Veeling et al. 2018): is there tumour tissue in the middle of a patch? Read batch
by batch from its files.
"""

import gzip
import os
import shutil
import tempfile
import zlib
from pathlib import Path

import torch
from torch import Tensor

from learnsym.data.augment import AugmentName
from learnsym.data.base import Form, ImageData, Split
from learnsym.data.download import download, find
from learnsym.data.readers.hdf5 import Hdf5Images, open_array
from learnsym.data.splits import classification_info, generator
from learnsym.errors import DataError
from learnsym.schema import Count, Size

SHAPE = (3, 96, 96)
SIZES = {"train": 262_144, "val": 32_768, "test": 32_768}
CLASSES = ("no tumour", "tumour")
MEAN, STD = (0.701, 0.538, 0.692), (0.235, 0.277, 0.213)
SUBFOLDERS = ("pcam", "")
FILE_NAME = "camelyonpatch_level_2_split_{}_{}.h5"
PUBLISHED = {"train": "train", "val": "valid", "test": "test"}
URL = "https://zenodo.org/records/2546921/files/{}"
HINT = "its six files, camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5.gz (8 GB), are on the page zenodo.org/records/2546921"
# md5 of the gzipped files, those of torchvision's PCAM (its authors' page names those of "valid"
# and "test" the other way round, from before the files were exchanged). We had no copy to compute
# them from ourselves.
CHECKSUMS = {
    ("train", "x"): "md5:1571f514728f59376b705fc836ff4b63",
    ("train", "y"): "md5:35c2d7259d906cfc8143347bb8e05be7",
    ("val", "x"): "md5:d5b63470df7cfa627aeec8b9dc0c066e",
    ("val", "y"): "md5:2b85f58b927af9964a4c15b8f7e8f179",
    ("test", "x"): "md5:d8c2d60d490dbd479f8199bdfa0cf6ec",
    ("test", "y"): "md5:60a7035772fbdb7f34eb86d4420cf66a",
}


class PCam(ImageData):
    """Patches of slides, 3 x 96 x 96, without (0) or with (1) tumour: 262 144 for training, 32 768
    each to validate and test.

    The pictures stay in their files and are read batch by batch (`learnsym.data.readers.hdf5`).
    """

    form = Form(SHAPE, 2)

    def __init__(
        self,
        data_dir: str = "data",
        train_size: Size | None = None,
        val_size: Count | None = None,
        test_size: Size | None = None,
        augment: AugmentName = "none",
        seed: Count = 0,
    ) -> None:
        """Args:
            data_dir: folder where the HDF5 files (gzipped or not; also in pcam) are looked for
                first and downloaded to otherwise.
            train_size, val_size, test_size: at most so many of the published splits, drawn at
                random; None takes all, and val_size=0 leaves out the validation set.
            augment: fixed augmentation of the training images.
            seed: of the subsets.

        Raises:
            DataError: a file is missing or is not what it should be, or has fewer pictures than are
                asked for.
        """
        sizes = {"train": train_size, "val": val_size, "test": test_size}
        splits, source = {}, []
        for part, size in sizes.items():
            if size == 0:
                continue
            images, labels = load(part, data_dir)
            found = "all" if len(images) == SIZES[part] else f"only {len(images)} of"
            source.append(f"{part} images: {found} {SIZES[part]}")
            splits[part] = subset(part, images, labels, size, seed)
            folder = images.path.parent
        provenance = f"Published splits in {folder}, read from the files as they are needed; {'; '.join(source)}."
        super().__init__(
            classification_info("pcam", splits, CLASSES, MEAN, STD, provenance), splits, augment
        )


def load(part: str, data_dir: str) -> tuple[Hdf5Images, Tensor]:
    """All images, in their file, and labels [N] (int64) of a part, "train", "val" or "test"."""
    images = Hdf5Images(locate(part, "x", data_dir), "x")
    if images.shape[1:] != SHAPE or images.dtype != torch.uint8:
        raise DataError(
            f"{images.path}: images of shape {list(images.shape[1:])}, {images.dtype}; "
            f"{list(SHAPE)}, torch.uint8, would be right (in the file itself the channels come last)."
        )
    path = locate(part, "y", data_dir)
    labels = torch.from_numpy(open_array(path, "y")[()]).long().flatten()
    if len(labels) != len(images) or not ((labels == 0) | (labels == 1)).all():
        raise DataError(
            f"{path}: {len(labels)} labels up to {int(labels.max())}; {len(images)} of 0 or 1 would be right."
        )
    return images, labels


def subset(part: str, images: Hdf5Images, labels: Tensor, size: int | None, seed: int) -> Split:
    """`size` of the images, drawn at random, in their order (a smaller subset is part of a larger
    one); nothing is read.
    """
    if size is None:
        return Split(images, labels)
    if size > len(images):
        raise DataError(
            f"dataset.{part}_size={size} asks for more {part} images than there are; at most {len(images)} is valid."
        )
    rows = torch.randperm(len(images), generator=generator(seed, part))[:size].sort().values
    return Split(images.select(rows), labels[rows])


def locate(part: str, what: str, data_dir: str) -> Path:
    """The HDF5 file of images ("x") or labels ("y"), unpacked beside its .gz, or downloaded, if it
    has not been.
    """
    name = FILE_NAME.format(PUBLISHED[part], what)
    path = find(data_dir, SUBFOLDERS, (name,))
    if path is not None:
        return path
    lying = find(data_dir, SUBFOLDERS, (f"{name}.gz",))
    folder = lying.parent if lying else Path(data_dir).expanduser() / SUBFOLDERS[0]
    try:
        archive = download(
            "pcam", f"{name}.gz", folder, [URL.format(f"{name}.gz")], CHECKSUMS[part, what]
        )
    except DataError as error:
        raise DataError(f"{str(error).rstrip('.')}; {HINT}.") from error
    return unzip(archive)


def unzip(archive: Path) -> Path:
    """What is in a .gz file, beside it; moved into place at once, so that a run killed half-way
    leaves no half file.
    """
    path = archive.with_suffix("")
    try:
        with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
            with gzip.open(archive) as packed, (Path(scratch) / path.name).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 2**20)
            os.replace(Path(scratch) / path.name, path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}); unpack it by hand (gunzip) and set paths.data to that folder."
        ) from error
    return path
