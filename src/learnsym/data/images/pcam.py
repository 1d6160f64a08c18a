"""PatchCamelyon (Veeling et al. 2018): tumour tissue in patches of slides."""

from pathlib import Path

import torch

from learnsym.data.augment import AugmentName
from learnsym.data.base import DataInfo, ExampleSpec, ImageData, Split
from learnsym.data.download import download, find, gunzip
from learnsym.data.readers.hdf5 import Hdf5Images, open_array
from learnsym.data.splits import draw_rows
from learnsym.errors import DataError
from learnsym.schema import Count, Size

SHAPE = (3, 96, 96)
SIZES = {"train": 262_144, "val": 32_768, "test": 32_768}
CLASSES = ("no tumour", "tumour")
MEAN, STD = (0.701, 0.538, 0.692), (0.235, 0.277, 0.213)
SUBFOLDERS = ("pcam", "")
FILE_NAME = "camelyonpatch_level_2_split_{}_{}.h5"
PUBLISHED = {"train": "train", "val": "valid", "test": "test"}
# Of the gzipped files, as in torchvision's PCAM, not computed by us (the authors' page exchanges
# those of "valid" and "test", as the files were once).
CHECKSUMS = {
    ("train", "x"): "md5:1571f514728f59376b705fc836ff4b63",
    ("train", "y"): "md5:35c2d7259d906cfc8143347bb8e05be7",
    ("val", "x"): "md5:d5b63470df7cfa627aeec8b9dc0c066e",
    ("val", "y"): "md5:2b85f58b927af9964a4c15b8f7e8f179",
    ("test", "x"): "md5:d8c2d60d490dbd479f8199bdfa0cf6ec",
    ("test", "y"): "md5:60a7035772fbdb7f34eb86d4420cf66a",
}


class PCam(ImageData):
    """Patches of slides, 3 x 96 x 96, without (0) or with (1) tumour.

    262 144 for training, 32 768 each to validate and test. The pictures stay in their files and are
    read batch by batch (`learnsym.data.readers.hdf5`). `val_size`=0 leaves out the validation set.
    """

    spec = ExampleSpec(SHAPE, 2)

    def __init__(
        self,
        data_dir: str = "data",
        train_size: Size | None = None,
        val_size: Count | None = None,
        test_size: Size | None = None,
        augment: AugmentName = "none",
        seed: Count = 0,
    ) -> None:
        splits, counts = {}, []
        for name, size in (("train", train_size), ("val", val_size), ("test", test_size)):
            if size == 0:
                continue
            images = Hdf5Images(_locate(name, "x", data_dir), "x")
            if images.shape[1:] != SHAPE or images.dtype != torch.uint8:
                raise DataError(
                    f"{images.path}: Expected images of shape {list(SHAPE)}, torch.uint8, got "
                    f"{list(images.shape[1:])}, {images.dtype} (channels come last in the file)."
                )
            path = _locate(name, "y", data_dir)
            labels = torch.from_numpy(open_array(path, "y")[()]).long().flatten()
            if len(labels) != len(images) or not ((labels == 0) | (labels == 1)).all():
                raise DataError(
                    f"{path}: Expected {len(images)} labels of 0 or 1, got {len(labels)} labels up "
                    f"to {int(labels.max())}."
                )
            complete = len(images) == SIZES[name]
            some = "all" if complete else f"only {len(images)} of"
            counts.append(f"{name} images: {some} {SIZES[name]}")
            rows = draw_rows(len(images), size, seed, name, f"dataset.{name}_size")
            splits[name] = Split(images.select(rows), labels[rows])
        provenance = (
            f"Published splits in {images.path.parent}, read from the files as they are needed; "
            f"{'; '.join(counts)}."
        )
        info = DataInfo.of("pcam", splits, provenance, class_names=CLASSES, mean=MEAN, std=STD)
        super().__init__(info, splits, augment)


def _locate(name: str, axis: str, data_dir: str) -> Path:
    """Return the file of images ("x") or labels ("y"), downloaded if need be."""
    file = FILE_NAME.format(PUBLISHED[name], axis)
    if path := find(data_dir, SUBFOLDERS, (file,)):
        return path
    packed = find(data_dir, SUBFOLDERS, (f"{file}.gz",))
    folder = packed.parent if packed else Path(data_dir).expanduser() / SUBFOLDERS[0]
    urls = [f"https://zenodo.org/records/2546921/files/{file}.gz"]
    try:
        return gunzip(download("pcam", f"{file}.gz", folder, urls, CHECKSUMS[name, axis]))
    except DataError as error:
        raise DataError(
            f"{str(error).rstrip('.')}; its six files, camelyonpatch_level_2_split_"
            "{train,valid,test}_{x,y}.h5.gz (8 GB), are on the page zenodo.org/records/2546921."
        ) from error
