"""Plain .npz files and idx files, read safely: no pickles, no bombs."""

import glob
import gzip
import math
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from learnsym.data.base import Split
from learnsym.errors import DataError

Labels = Literal["classification", "regression"]
"""Tasks of the labels in a user's file; masks are not among them."""
MAX_DEFLATED = 1032  # bytes that one byte of a gzip file can stand for
MAX_TARGET = 1e15  # its square, summed over a data set, is a number of float32
# Raised for archives that are damaged, encrypted or packed in a strange way.
_UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, zipfile.BadZipFile, zlib.error)
_UNREADABLE += (pickle.UnpicklingError, KeyError, AttributeError, RuntimeError, ValueError)


def read_npz(path: Path, needed: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Return all arrays of a .npz file; raise a DataError if one of the `needed` is missing."""
    names = f"arrays {', '.join(needed)}" if needed else "plain arrays"
    expected = f"Expected a .npz file with {names}"
    try:
        with path.open("rb") as file:  # numpy leaves a file open that it cannot read
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds a single array (.npy). {expected}.")
            with archive:
                if problem := _oversized(zipfile.ZipFile(file)):
                    raise DataError(f"{path}{problem}. {expected}.")
                arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"There is no file {path}. {expected}.") from None
    except _UNREADABLE as error:
        pickled = "allow_pickle" in str(error)
        problem = "holds pickled objects, which are never loaded" if pickled else "is corrupt"
        raise DataError(f"{path} {problem} ({type(error).__name__}). {expected}.") from error
    if missing := [name for name in needed if name not in arrays]:
        has = ", ".join(arrays) or "none"
        raise DataError(f"{path} has the arrays {has} but not {', '.join(missing)}. {expected}.")
    return arrays


def _oversized(archive: zipfile.ZipFile) -> str | None:
    """Describe an array that claims more than file or machine can hold."""
    members = archive.infolist()
    if (total := sum(member.file_size for member in members)) > memory():
        return f" unpacks to {total:,} bytes, more than the memory of this machine"
    for member in members:
        with archive.open(member) as file:
            old = npy.read_magic(file) == (1, 0)
            read = npy.read_array_header_1_0 if old else npy.read_array_header_2_0
            shape, _, dtype = read(file)
            held = member.file_size - file.tell()
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize != held:
            claim = f"{member.filename} says that it is {dtype} of shape {list(shape)}"
            return f": {claim}, but holds {held} bytes"
    return None


def memory() -> int:
    """Return the bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def read_idx(path: Path, dimensions: int) -> Tensor:
    """Return an array of bytes in MNIST's format; torchvision's reader trusts the header."""
    expected = f"Expected an idx file of bytes in {dimensions} dimensions"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            if len(header) < 4 + 4 * dimensions or header[:4] != bytes((0, 0, 8, dimensions)):
                start = header[:4].hex(" ") or "nothing"
                raise DataError(f"{path}: {expected}, got one that begins with {start}.")
            shape = struct.unpack(f">{dimensions}I", header[4:])
            size, limit = math.prod(shape), path.stat().st_size * MAX_DEFLATED
            content = file.read(size + 1) if size <= limit else b""
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({error}). {expected}, gzipped if its name ends in .gz."
        ) from error
    if len(content) != size:
        held = f"at most {limit}" if size > limit else len(content)
        raise DataError(
            f"{path} has {'more' if len(content) > size else held} bytes of data where its header "
            f"says {list(shape)}. {expected}."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(shape).copy())


def as_images(array: np.ndarray, path: Path, name: str = "images") -> Tensor:
    """Return images as [N, C, H, W]: uint8 stays uint8, floating point becomes float32.

    Given are [N, H, W], [N, C, H, W] or [N, H, W, C] (C = 1 or 3), uint8 or floating point in
    [0, 1]; `path` and `name` are for messages.
    """
    got = f"{path}: array {name!r} is {describe(array)}"
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        shapes = "[N, H, W], [N, C, H, W] or [N, H, W, C]"
        raise DataError(f"{got}. Expected {shapes} with one or three channels.")
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    if array.dtype.kind == "f":
        low, high = array.min(), array.max()
        if low >= 0 and high <= 1:
            return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        got = f"{got} with values from {low:g} to {high:g}"
    raise DataError(f"{got}. Expected uint8, or floating point in [0, 1].")


def as_targets(array: np.ndarray, task: Labels, count: int, path: Path, name: str) -> Tensor:
    """Return classes as int64 [N], or regression targets as float64 [N, K]."""
    got = f"{path}: array {name!r} is {describe(array)}"
    if task == "classification":
        whole = array.dtype.kind in "iu" and array.shape == (count,)
        if not whole or (array.size and (array.min() < 0 or array.max() > 2**31)):
            raise DataError(f"{got}. Expected {count} whole numbers from 0 on, one per image.")
        return torch.from_numpy(array.astype(np.int64))
    numbers = array.dtype.kind in "iuf" and array.ndim in (1, 2) and len(array) == count
    if not numbers or not np.isfinite(array).all():
        raise DataError(f"{got}. Expected finite numbers of shape [{count}] or [{count}, K].")
    if array.size and (largest := np.abs(array).max()) > MAX_TARGET:
        row = int(np.abs(array.reshape(count, -1)).max(1).argmax())
        raise DataError(
            f"{path}: array {name!r} holds {largest:g} in row {row}. Expected numbers up to "
            f"{MAX_TARGET:g}: try another unit."
        )
    return torch.from_numpy(array.astype(np.float64).reshape(count, -1))


def describe(array: np.ndarray) -> str:
    """Return dtype and shape of an array, for messages."""
    return f"{array.dtype} of shape {list(array.shape)}"


def is_binary(array: np.ndarray) -> bool:
    """Tell whether an array holds numbers, all of them 0 or 1."""
    return array.dtype.kind in "biuf" and bool(np.isin(array, (0, 1)).all())


def read_files(file: str | Sequence[str], data_dir: str, task: Labels) -> tuple[list[Split], str]:
    """Read .npz files: the training part, the test part if there is one; and their names."""
    paths = find_named(file, data_dir)
    names = ", ".join(map(str, paths))
    train, test = [], []
    for path in paths:
        arrays = read_npz(path)
        train.append(_read_pair(arrays, "_train" if "images_train" in arrays else "", task, path))
        if "images_test" in arrays:
            test.append(_read_pair(arrays, "_test", task, path))
    return [_concatenate(pieces, names) for pieces in (train, test) if pieces], names


def find_named(file: str | Sequence[str], data_dir: str) -> list[Path]:
    """Find files by names or a pattern with *, here or in `data_dir`."""
    paths: list[Path] = []
    for name in [file] if isinstance(file, str) else file:
        matches: list[Path] = []
        for path in (Path(name).expanduser(), Path(data_dir).expanduser() / name):
            matches += [path] if path.is_file() else map(Path, sorted(glob.glob(str(path))))
        if not matches:
            raise DataError(f"dataset.file: there is no file {name} here or in {data_dir}.")
        paths += [path for path in matches if path.parent == matches[0].parent]
    if not paths:
        raise DataError("dataset.file is an empty list. Expected the name of a file.")
    return list({path.resolve(): path for path in reversed(paths)}.values())[::-1]  # each once


def _read_pair(arrays: dict[str, np.ndarray], suffix: str, task: Labels, path: Path) -> Split:
    images_name, labels_name = f"images{suffix}", f"labels{suffix}"
    if missing := [name for name in (images_name, labels_name) if name not in arrays]:
        raise DataError(
            f"{path} has the arrays {', '.join(arrays) or 'none'} but not {' and '.join(missing)}. "
            "Expected images (or images_train and images_test) and labels (or labels_train and "
            "labels_test)."
        )
    images = as_images(arrays[images_name], path, images_name)
    return Split(images, as_targets(arrays[labels_name], task, len(images), path, labels_name))


def _concatenate(parts: list[Split], names: str) -> Split:
    if len(parts) == 1:
        return parts[0]
    forms = {(part.inputs.shape[1:], part.inputs.dtype, part.targets.shape[1:]) for part in parts}
    if len(forms) > 1:
        got = " and ".join(sorted(f"{list(shape)} {dtype}" for shape, dtype, _ in forms))
        raise DataError(f"{names}: Expected one shape and dtype, got different kinds ({got}).")
    images = torch.cat([part.tensor for part in parts])
    return Split(images, torch.cat([part.targets for part in parts]))
