"""MNIST-rot (Larochelle et al. 2007): digits rotated by any angle."""

import contextlib
import math
import os
import tempfile
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from learnsym.data.base import DataInfo, ExampleSpec, Split, Splits
from learnsym.data.download import download, find, unpacking
from learnsym.data.images.base import Parts
from learnsym.data.images.mnist import DIGITS, SHAPE, IdxImages
from learnsym.data.readers.arrays import read_npz
from learnsym.data.rotation import random_angles, rotate_pixels
from learnsym.errors import DataError
from learnsym.schema import Count
from learnsym.utils.rng import generator

SIZES = {"train": 12_000, "test": 50_000}
"""Examples of the official files; the last 2 000 of the training part are the published validation
set."""
_NAMES = {"train": "train_valid", "test": "test"}
FILES = {part: f"mnist_all_rotation_normalized_float_{_NAMES[part]}.amat" for part in SIZES}
SUBFOLDERS = ("rotmnist", "mnist_rotation_new", "")
ARCHIVE = "mnist_rotation_new.zip"
URLS = [f"{way}://www.iro.umontreal.ca/~lisa/icml2007data/{ARCHIVE}" for way in ("http", "https")]
# As in several independent public projects, not computed by us; so the contents are checked too.
CHECKSUM = "md5:0f9a947ff3d30e95cd685462cbf3b847"


@dataclass(eq=False, kw_only=True)
class RotMNIST(IdxImages):
    """Rotated digits, 1 x 28 x 28: 10 000 for training, 2 000 for validation, 50 000 for testing.

    The validation examples are the last of the training part, as published. `source`="mnist" makes
    a stand-in of the same sizes from MNIST, whose results are not comparable with published ones.
    """

    source: Literal["official", "mnist"] = "official"
    val_size: Count = 2000
    val_last = True
    name = "rotmnist"
    spec = ExampleSpec(SHAPE, 10)
    class_names = DIGITS
    channel_mean, channel_std = (0.130,), (0.297,)  # of the official images

    def describe(self, splits: Splits, source: str) -> DataInfo:
        """Add the full circle."""
        return replace(super().describe(splits, source), true_widths={"rotation": 2 * math.pi})

    def load_published(self) -> Parts:
        """Return the official parts, or those of the stand-in."""
        if self.source == "mnist":
            return self._make_stand_in()
        try:
            train, test = (_official_part(part, self.data_dir) for part in SIZES)
        except DataError as error:
            raise DataError(
                f"{str(error).rstrip('.')}; dataset.source=mnist makes a stand-in from MNIST, not "
                "comparable with published results."
            ) from error
        return train, test, "Official MNIST-rot files (Larochelle et al. 2007)."

    def _make_stand_in(self) -> Parts:
        """Rotate disjoint digits of MNIST's 70 000, as many as the official parts have."""
        first, second, _ = super().load_published()
        inputs = torch.cat([first.tensor, second.tensor])
        targets = torch.cat([first.targets, second.targets])
        count = sum(SIZES.values())
        if len(inputs) < count:
            raise DataError(
                f"{self.data_dir}: the stand-in for MNIST-rot needs {count} digits of MNIST, but "
                f"there are {len(inputs)}."
            )
        order = torch.randperm(len(inputs), generator=generator(self.seed, "stand-in"))[:count]
        angles = random_angles(count, 180.0, self.seed, "stand-in rotation")
        images, sizes = rotate_pixels(inputs[order], angles), list(SIZES.values())
        train, test = map(Split, images.split(sizes), targets[order].split(sizes))
        provenance = (
            f"STAND-IN for MNIST-rot made from MNIST (seed {self.seed}): same sizes, results not "
            "comparable with published ones."
        )
        return train, test, provenance


def _official_part(part: str, data_dir: str) -> Split:
    """Return the official part "train" (which includes validation) or "test", float32.

    Parsing text takes seconds, so the numbers are kept as a .npz file beside it where that can be
    written, and read from there if there is no text.
    """
    name = FILES[part]
    text = find(data_dir, SUBFOLDERS, (name,))
    cache = find(data_dir, SUBFOLDERS, (name.replace(".amat", ".npz"),))
    if cache and not text:
        return _as_split(read_npz(cache, ("table", "stamp"))["table"], part, cache)
    if not text:
        text = Path(data_dir).expanduser() / SUBFOLDERS[0] / name
        archive = download("rotmnist", ARCHIVE, text.parent, URLS, CHECKSUM)
        with unpacking(archive, text) as scratch, zipfile.ZipFile(archive) as contents:
            members = {Path(member).name: member for member in contents.namelist()}
            os.replace(contents.extract(members[name], scratch), text)
    cache = text.with_suffix(".npz")
    stamp = [text.stat().st_size, text.stat().st_mtime_ns]
    with contextlib.suppress(DataError):
        arrays = read_npz(cache, ("table", "stamp"))
        if arrays["stamp"].tolist() == stamp:
            return _as_split(arrays["table"], part, text)
    table = parse(text)
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        np.savez(Path(scratch) / "table.npz", table=table, stamp=np.array(stamp))
        os.replace(Path(scratch) / "table.npz", cache)
    return _as_split(table, part, text)


def parse(path: Path) -> np.ndarray:
    """Return the numbers of a text file, 784 pixels and a digit per line: [N, 785], float32."""
    columns = math.prod(SHAPE) + 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns of something that is not a number
            numbers = np.fromfile(path, dtype=np.float32, sep=" ")
    except (OSError, ValueError, Warning) as error:
        raise DataError(f"{path} cannot be read as numbers ({error}).") from error
    if len(numbers) % columns or not len(numbers):
        raise DataError(f"{path}: Expected lines of {columns} numbers, got {len(numbers)} numbers.")
    return numbers.reshape(-1, columns)


def _as_split(table: np.ndarray, part: str, path: Path) -> Split:
    """Check a table [N, 785] and return its pixels and labels."""
    # Row by row: of Larochelle's sets only those with backgrounds were saved sideways.
    pixels, labels = table[:, :-1], table[:, -1]
    if len(table) != SIZES[part]:
        raise DataError(f"{path}: Expected {SIZES[part]} examples, got {len(table)}.")
    if not (pixels.min() >= 0 and pixels.max() <= 1 and np.isin(labels, np.arange(10)).all()):
        raise DataError(f"{path}: Expected 784 pixels in [0, 1] and a digit per line, got others.")
    images = torch.from_numpy(np.ascontiguousarray(pixels)).view(-1, *SHAPE)
    return Split(images, torch.from_numpy(labels.astype(np.int64)))
