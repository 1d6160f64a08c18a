"""Text files of MNIST-rot: 784 pixels in [0, 1] and a digit per line."""

import contextlib
import os
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch

from learnsym.data.base import Split
from learnsym.data.download import download, find, unpack_atomically
from learnsym.data.readers.arrays import read_npz
from learnsym.errors import DataError

SIDE = 28
FILES = {
    "train": "mnist_all_rotation_normalized_float_train_valid.amat",
    "test": "mnist_all_rotation_normalized_float_test.amat",
}
SUBFOLDERS = ("rotmnist", "mnist_rotation_new", "")
ARCHIVE = "mnist_rotation_new.zip"
URLS = (
    "http://www.iro.umontreal.ca/~lisa/icml2007data/mnist_rotation_new.zip",
    "https://www.iro.umontreal.ca/~lisa/icml2007data/mnist_rotation_new.zip",
)
# The md5 that several independent public projects check this archive against. We had no copy of it
# to compute it from ourselves; what is unpacked is therefore also checked by its contents.
CHECKSUM = "md5:0f9a947ff3d30e95cd685462cbf3b847"


def official_part(part: str, rows: int, data_dir: str) -> Split:
    """Return the official part "train" (which includes validation) or "test".

    Parsing text takes seconds, so the arrays are kept as a .npz file beside it where that can be
    written.

    Args:
        part: its name.
        rows: number of examples that it has to have.
        data_dir: folder where the files are looked for first and downloaded to otherwise.

    Returns:
        Inputs [N, 1, 28, 28], float32 in [0, 1].
    """
    name = FILES[part]
    text = find(data_dir, SUBFOLDERS, (name,))
    cache = text or find(data_dir, SUBFOLDERS, (Path(name).with_suffix(".npz").name,))
    if cache is None:
        cache = text = _fetch(name, Path(data_dir).expanduser() / SUBFOLDERS[0])
    cache = cache.with_suffix(".npz")
    if text is None:
        return _as_split(read_npz(cache, ("table", "stamp"))["table"], rows, cache)
    stamp = [text.stat().st_size, text.stat().st_mtime_ns]
    with contextlib.suppress(DataError):
        arrays = read_npz(cache, ("table", "stamp"))
        if arrays["stamp"].tolist() == stamp:
            return _as_split(arrays["table"], rows, text)
    table = parse(text)
    _write_cache(cache, table, stamp)
    return _as_split(table, rows, text)


def parse(path: Path) -> np.ndarray:
    """Return the numbers of a text file: [N, 785], float32."""
    columns = SIDE * SIDE + 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns of something that is not a number
            numbers = np.fromfile(path, dtype=np.float32, sep=" ")
    except (OSError, ValueError, Warning) as error:
        raise DataError(f"{path} cannot be read as numbers ({error}).") from error
    if len(numbers) % columns or not len(numbers):
        raise DataError(
            f"{path}: Expected lines of {columns} numbers, got {len(numbers)} numbers in all."
        )
    return numbers.reshape(-1, columns)


def _fetch(name: str, folder: Path) -> Path:
    """Unpack the text file from the official archive, downloaded if need be."""
    archive = download("rotmnist", ARCHIVE, folder, URLS, CHECKSUM)

    def extract(scratch: Path) -> Path:
        with zipfile.ZipFile(archive) as contents:
            members = {Path(member).name: member for member in contents.namelist()}
            return Path(contents.extract(members[name], scratch))

    unpack_atomically(archive, folder / name, extract)
    return folder / name


def _as_split(table: np.ndarray, rows: int, path: Path) -> Split:
    """Check a table [N, 785] and return its pixels and labels.

    Pixels run row by row: of Larochelle's sets only those with backgrounds were saved sideways.
    """
    pixels, labels = table[:, :-1], table[:, -1]
    if len(table) != rows:
        raise DataError(f"{path}: Expected {rows} examples, got {len(table)}.")
    if not (pixels.min() >= 0 and pixels.max() <= 1 and np.isin(labels, np.arange(10)).all()):
        raise DataError(
            f"{path}: Expected 784 pixels in [0, 1] and a digit per line, got other numbers."
        )
    images = torch.from_numpy(np.ascontiguousarray(pixels)).view(-1, 1, SIDE, SIDE)
    return Split(images, torch.from_numpy(labels.astype(np.int64)))


def _write_cache(cache: Path, table: np.ndarray, stamp: list[int]) -> None:
    """Keep the table, all or nothing, unless the folder is read-only."""
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        np.savez(Path(scratch) / "table.npz", table=table, stamp=np.array(stamp))
        os.replace(Path(scratch) / "table.npz", cache)
