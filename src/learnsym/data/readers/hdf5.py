"""Images that stay in an HDF5 file: only what is indexed is read."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnsym.data.base import CHUNK
from learnsym.data.readers.arrays import MAX_DEFLATED
from learnsym.errors import DataError
from learnsym.schema import PlainDict


class Hdf5Images:
    """Images [N, H, W, C] of an HDF5 file as a tensor [N, C, H, W] that is read where indexed.

    The file is opened by each process when it first reads; an instance can be pickled, and survives
    a fork. A random batch costs one read per image: files that are not chunked, or in chunks of
    whole images, are fast; others have to be repacked (h5repack). It holds the images in the given
    rows of the file, in their order.
    """

    def __init__(self, path: Path, key: str, rows: Tensor | None = None) -> None:
        self.path = path
        self.key = key
        self._open: tuple[int, Any] | None = None  # process, and its h5py.Dataset
        array = open_array(path, key)
        if array.ndim != 4:
            raise DataError(
                f"{path}: Expected array {key!r} of shape [N, H, W, C], got {list(array.shape)}."
            )
        stored, height, width, channels = array.shape
        self.rows = torch.arange(stored) if rows is None else torch.arange(stored)[rows]
        self.shape = torch.Size((len(self.rows), channels, height, width))
        self.dtype: torch.dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        self.nbytes = self.shape.numel() * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        """Read images: [C, H, W] for a number, otherwise [B, C, H, W]."""
        rows = self.rows[index]
        return self._read(rows.reshape(-1)).view(*rows.shape, *self.shape[1:])

    def select(self, rows: Tensor) -> "Hdf5Images":
        """Return the images at indices [M], still in the file."""
        return Hdf5Images(self.path, self.key, self.rows[rows])

    def to(self, device: torch.device | str) -> Tensor:
        """Read all images, piece by piece, onto a device."""
        whole = torch.empty(self.shape, dtype=self.dtype, device=device)
        for start in range(0, len(self), CHUNK):
            whole[start : start + CHUNK] = self[start : start + CHUNK]
        return whole

    def __getstate__(self) -> PlainDict:
        return vars(self) | {"_open": None}

    def _read(self, rows: Tensor) -> Tensor:
        """Return the images [B, C, H, W] in these rows of the file."""
        if self._open is None or self._open[0] != os.getpid():
            self._open = os.getpid(), open_array(self.path, self.key)
        array = self._open[1]
        sorted_rows, inverse = rows.unique(return_inverse=True)
        images = np.empty((len(sorted_rows), *array.shape[1:]), array.dtype)
        # Neighbours are read at once: h5py reads a list of rows slowly where an array is chunked.
        gaps = (sorted_rows.diff() != 1).nonzero()[:, 0] + 1
        ends = [0, *gaps.tolist(), len(sorted_rows)] if len(sorted_rows) else []
        try:
            for start, stop in pairwise(ends):
                first = int(sorted_rows[start])
                images[start:stop] = array[first : first + stop - start]
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error}). Try a fresh copy.") from error
        return torch.from_numpy(images).permute(0, 3, 1, 2)[inverse].contiguous()


def open_array(path: Path, key: str) -> Any:
    """Return an h5py.Dataset; raise a DataError if it claims more than the file holds."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error}). Expected an HDF5 file.") from error
    array = file.get(key)
    if not isinstance(array, h5py.Dataset):
        raise DataError(f"{path} has {', '.join(file) or 'nothing'} but no array {key!r}.")
    stored = array.id.get_storage_size()
    elsewhere = array.external or array.is_virtual
    if elsewhere or array.nbytes > MAX_DEFLATED * stored:
        raise DataError(
            f"{path}: array {key!r} says that it is {array.dtype} of shape {list(array.shape)}, "
            f"but is stored {'in other files' if elsewhere else f'{stored} bytes of it'}. "
            "Expected a whole HDF5 file."
        )
    return array
