"""The text files of MNIST-rot: one picture per line, 784 pixels in [0, 1] row by row, then the
digit.
"""

import os
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch

from learnsym.data.base import Split
from learnsym.data.download import download, find
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
# to compute it from ourselves; what is unpacked is therefore also checked by its contents, in
# `parse`.
CHECKSUM = "md5:0f9a947ff3d30e95cd685462cbf3b847"


def official_part(part: str, rows: int, data_dir: str) -> Split:
    """The official part "train" (which includes validation) or "test", `rows` examples: inputs [N,
    1, 28, 28], float32 in [0, 1].

    Parsing text takes seconds, so the arrays are kept as a .npz file beside it where that can be
    written.
    """
    name = FILES[part]
    text = find(data_dir, SUBFOLDERS, (name,))
    cache = (
        text.with_suffix(".npz")
        if text
        else find(data_dir, SUBFOLDERS, (Path(name).with_suffix(".npz").name,))
    )
    if text is None and cache is None:
        text = fetch(name, Path(data_dir).expanduser() / SUBFOLDERS[0])
        cache = text.with_suffix(".npz")
    stamp = [text.stat().st_size, text.stat().st_mtime_ns] if text else None
    table = read_cache(cache, stamp)
    if table is None:
        table = parse(text)
        write_cache(cache, table, stamp)
    return as_split(table, rows, text or cache)


def fetch(name: str, folder: Path) -> Path:
    """The text file `name` in `folder`, out of the official archive, which is downloaded unless it
    lies there.
    """
    archive = download("rotmnist", ARCHIVE, folder, URLS, CHECKSUM)
    try:
        with (
            zipfile.ZipFile(archive) as contents,
            tempfile.TemporaryDirectory(dir=folder) as scratch,
        ):
            member = next(entry for entry in contents.namelist() if Path(entry).name == name)
            Path(contents.extract(member, scratch)).replace(folder / name)
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}); {name} from it would be right in {folder}."
        ) from error
    return folder / name


def parse(path: Path) -> np.ndarray:
    """The numbers of a text file: [N, 785], float32."""
    columns = SIDE * SIDE + 1
    right = f"lines of {columns} numbers would be right"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns of something that is not a number
            numbers = np.fromfile(path, dtype=np.float32, sep=" ")
    except (OSError, ValueError, Warning) as error:
        raise DataError(f"{path} cannot be read as numbers ({error}); {right}.") from error
    if len(numbers) % columns or not len(numbers):
        raise DataError(f"{path} has {len(numbers)} numbers; {right}.")
    return numbers.reshape(-1, columns)


def as_split(table: np.ndarray, rows: int, path: Path) -> Split:
    """Pixels and labels of a table [N, 785], after a check that it is what it should be.

    Pixels run row by row: of Larochelle's sets only those with backgrounds were saved sideways.
    """
    pixels, labels = table[:, :-1], table[:, -1]
    if len(table) != rows:
        raise DataError(f"{path} has {len(table)} examples; {rows} would be right.")
    if not (pixels.min() >= 0 and pixels.max() <= 1 and np.isin(labels, np.arange(10)).all()):
        raise DataError(
            f"{path} has pixels outside [0, 1] or labels that are not digits; 784 pixels and a digit per line would be right."
        )
    images = torch.from_numpy(np.ascontiguousarray(pixels)).view(-1, 1, SIDE, SIDE)
    return Split(images, torch.from_numpy(labels.astype(np.int64)))


def read_cache(cache: Path, stamp: list[int] | None) -> np.ndarray | None:
    """The table kept in `cache`; None if there is none, or not of the text file with this `stamp`
    (size and time of change).
    """
    if not cache.is_file():
        return None
    try:
        arrays = read_npz(cache, ("table", "stamp"))
    except DataError:
        if stamp is None:
            raise
        return None  # the text file is at hand, and is read again
    return arrays["table"] if stamp is None or arrays["stamp"].tolist() == stamp else None


def write_cache(cache: Path, table: np.ndarray, stamp: list[int] | None) -> None:
    """Keep the table, all or nothing. A folder that cannot be written to only means parsing again
    the next time.
    """
    try:
        with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
            part = Path(scratch) / "table.npz"
            np.savez(part, table=table, stamp=np.array(stamp))
            os.replace(part, cache)
    except OSError:
        return
