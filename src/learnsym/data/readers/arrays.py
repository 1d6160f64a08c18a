"""Reading plain .npz files safely: no pickles, and one sentence about whatever is wrong with a
file.
"""

import glob
import math
import os
import pickle
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.errors import DataError

Labels = Literal["classification", "regression"]
"""What the labels in a file of one's own can be; masks are not among them."""
UNREADABLE = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
    KeyError,
    AttributeError,
    RuntimeError,
)
"""What an archive that is damaged, encrypted or packed in a strange way makes of its reader."""
FORM = "images (or images_train and images_test) and labels (or labels_train and labels_test)"


def read_npz(path: Path, needed: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """All arrays of a .npz file; a DataError names the file and what is wrong: unreadable, holding
    objects, lacking `needed`.
    """
    right = (
        f"a .npz file with arrays {', '.join(needed)}" if needed else "a .npz file of plain arrays"
    )
    try:
        # numpy leaves a file open that it opened itself and cannot read.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds a single array (.npy); {right} would be right.")
            with archive:
                refuse_bombs(archive.zip, path, right)
                arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"There is no file {path}; {right} would be right.") from None
    except ValueError as error:
        kind = (
            "holds pickled objects, which are never loaded"
            if "allow_pickle" in str(error)
            else "is corrupt or not a .npz file"
        )
        raise DataError(f"{path} {kind}; {right} would be right.") from error
    except UNREADABLE as error:
        raise DataError(
            f"{path} is corrupt or not a .npz file ({type(error).__name__}); {right} would be right."
        ) from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise DataError(
            f"{path} has the arrays {', '.join(arrays) or 'none'} but not {', '.join(missing)}; {right} would be right."
        )
    return arrays


def refuse_bombs(archive: zipfile.ZipFile, path: Path, right: str) -> None:
    """Refuse a header that promises more than the file holds, and a file that holds more than this
    machine, before allocating.
    """
    members = archive.infolist()
    if (total := sum(member.file_size for member in members)) > memory():
        raise DataError(
            f"{path} unpacks to {total:,} bytes, more than the memory of this machine; {right} would be right."
        )
    for member in members:
        with archive.open(member) as file:
            if file.read(6) != b"\x93NUMPY":
                continue
            version = tuple(file.read(2))
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if header is None:
                raise DataError(
                    f"{path}: {member.filename} is of version {version} of the format; {right} would be right."
                )
            shape, _, dtype = header(file)
            held = member.file_size - file.tell()
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize != held:
            raise DataError(
                f"{path}: {member.filename} says that it is {dtype} of shape {list(shape)}, but holds {held} bytes; "
                f"{right} would be right."
            )


def memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def as_images(array: np.ndarray, path: Path, name: str = "images") -> Tensor:
    """Images [N, H, W], [N, C, H, W] or [N, H, W, C] (C = 1 or 3), uint8 or floating point in [0,
    1] -> Tensor [N, C, H, W].

    uint8 stays uint8, floating point becomes float32.
    """
    here = f"{path}: array {name!r} is {array.dtype} of shape {list(array.shape)}"
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        raise DataError(
            f"{here}; [N, H, W], [N, C, H, W] or [N, H, W, C] with one or three channels would be right."
        )
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    if array.dtype.kind != "f":
        raise DataError(f"{here}; uint8, or floating point in [0, 1], would be right.")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"{here} with values from {low:g} to {high:g}; uint8, or floating point in [0, 1], would be right."
        )
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def as_targets(
    array: np.ndarray, task: Labels, count: int, path: Path, name: str = "labels"
) -> Tensor:
    """Classes [N], whole numbers from 0 -> int64 [N]; regression targets [N] or [N, K] -> float32
    [N, K].
    """
    here = f"{path}: array {name!r} is {array.dtype} of shape {list(array.shape)}"
    if task == "classification":
        if (
            array.dtype.kind not in "iu"
            or array.shape != (count,)
            or (array.size and array.min() < 0)
        ):
            raise DataError(
                f"{here}; {count} whole numbers from 0 on, one per image, would be right."
            )
        return torch.from_numpy(array.astype(np.int64))
    if (
        array.dtype.kind not in "iuf"
        or array.ndim not in (1, 2)
        or len(array) != count
        or not np.isfinite(array).all()
    ):
        raise DataError(
            f"{here}; finite numbers of shape [{count}] or [{count}, K] would be right."
        )
    return torch.from_numpy(array.astype(np.float32).reshape(count, -1))


def read_files(
    file: str | Sequence[str], data_dir: str, task: Labels
) -> tuple[Split, Split | None, list[Path]]:
    """The user's own .npz files, several of them one after the other: training part, test part if
    there is one, their paths.
    """
    paths = find_named(file, data_dir)
    train: list[Split] = []
    test: list[Split] = []
    for path in paths:
        arrays = read_npz(path)
        for part, suffix in (
            (train, "_train" if "images_train" in arrays else ""),
            (test, "_test"),
        ):
            if suffix != "_test" or "images_test" in arrays:
                part.append(_read_pair(arrays, suffix, task, path))
    return _concatenate(train, paths), _concatenate(test, paths) if test else None, paths


def find_named(file: str | Sequence[str], data_dir: str) -> list[Path]:
    """The files of a name, a list of names or a pattern with * (then in alphabetical order), here
    or in `data_dir`.
    """
    paths: list[Path] = []
    for name in [file] if isinstance(file, str) else file:
        candidates = (Path(name).expanduser(), Path(data_dir).expanduser() / name)
        found = [
            Path(p)
            for c in candidates
            for p in ([str(c)] if c.is_file() else sorted(glob.glob(str(c))))
        ]
        if not found:
            raise DataError(
                f"dataset.file: there is no file {name}, neither from here nor in {data_dir}."
            )
        paths += dict.fromkeys(path for path in found if path.parent == found[0].parent)
    if not paths:
        raise DataError("dataset.file is an empty list; the name of a .npz file would be right.")
    return paths


def _read_pair(arrays: dict[str, np.ndarray], suffix: str, task: Labels, path: Path) -> Split:
    names = f"images{suffix}", f"labels{suffix}"
    missing = [name for name in names if name not in arrays]
    if missing:
        has = ", ".join(arrays) or "none"
        raise DataError(
            f"{path} has the arrays {has} but not {' and '.join(missing)}; a .npz file with {FORM} would be right."
        )
    images = as_images(arrays[names[0]], path, names[0])
    return Split(images, as_targets(arrays[names[1]], task, len(images), path, names[1]))


def _concatenate(parts: list[Split], paths: list[Path]) -> Split:
    if len(parts) == 1:
        return parts[0]
    kinds = {(part.inputs.shape[1:], part.inputs.dtype, part.targets.shape[1:]) for part in parts}
    if len(kinds) > 1:
        found = " and ".join(sorted(f"{list(shape)} {dtype}" for shape, dtype, _ in kinds))
        raise DataError(
            f"{', '.join(map(str, paths))} hold images of different kinds ({found}); one shape and dtype would be right."
        )
    return Split(
        torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts])
    )
