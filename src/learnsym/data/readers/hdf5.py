"""Images that stay in an HDF5 file: what is asked for is read, nothing else is held."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnsym.data.readers.idx import MOST_DEFLATED
from learnsym.data.splits import AT_A_TIME
from learnsym.errors import DataError


class Hdf5Images:
    """Images [N, H, W, C] of an HDF5 file, seen as a tensor [N, C, H, W] that is read only where it
    is indexed.

    Of a tensor it has what a `Split` needs: `len`, `shape`, `dtype`, `device`, `nbytes`, indexing
    of the first axis, and `to`. The file is opened by each process when it first reads; an instance
    can be pickled, and survives a fork.

    A random batch costs one read per image, whatever the batch: files that are not chunked, or in
    chunks of whole images, are fast. One whose chunks cut through images has to be repacked
    (h5repack) to be of use.
    """

    device = torch.device("cpu")

    def __init__(self, path: Path, key: str, rows: Tensor | None = None) -> None:
        """Args:
            path: the file.
            key: name of the array in it, [N, H, W, C].
            rows: indices [M] of the images that this is to hold, in this order; None for all.

        Raises:
            DataError: it is not an HDF5 file, or has no such array.
        """
        self.path, self.key = path, key
        self._open: tuple[int, Any] | None = None
        array = open_array(path, key)
        if array.ndim != 4:
            raise DataError(
                f"{path}: array {key!r} has shape {list(array.shape)}; [N, H, W, C] would be right."
            )
        stored, height, width, channels = array.shape
        self.rows = torch.arange(stored) if rows is None else torch.arange(stored)[rows]
        self.shape = torch.Size((len(self.rows), channels, height, width))
        self.dtype: torch.dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes that all the images would take in memory."""
        return self.shape.numel() * self.dtype.itemsize

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        """The images at `index`, as a tensor of the same shape would give them: [C, H, W] for a
        number, [B, C, H, W] else.
        """
        rows = self.rows[index]
        return self._read(rows.reshape(-1)).view(*rows.shape, *self.shape[1:])

    def select(self, rows: Tensor) -> "Hdf5Images":
        """The images at indices [M], still in the file."""
        return Hdf5Images(self.path, self.key, self.rows[rows])

    def to(self, device: torch.device | str) -> Tensor:
        """All of the images as a tensor on a device, read there piece by piece."""
        whole = torch.empty(self.shape, dtype=self.dtype, device=device)
        for start in range(0, len(self), AT_A_TIME):
            whole[start : start + AT_A_TIME] = self[start : start + AT_A_TIME]
        return whole

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_open": None}

    def __repr__(self) -> str:
        return f"Hdf5Images({str(self.path)!r}, {self.key!r}): {list(self.shape)}, {self.dtype}"

    def _read(self, rows: Tensor) -> Tensor:
        """The images in these rows of the file: [B, C, H, W].

        Rows are read in their order in the file, neighbours at once. h5py's own reading of a list
        of rows is a hundred times slower where an array is chunked.
        """
        if self._open is None or self._open[0] != os.getpid():
            self._open = os.getpid(), open_array(self.path, self.key)
        array = self._open[1]
        wanted, back = rows.unique(return_inverse=True)
        read = np.empty((len(wanted), *array.shape[1:]), array.dtype)
        gaps = (wanted.diff() != 1).nonzero()[:, 0] + 1
        ends = [0, *gaps.tolist(), len(wanted)] if len(wanted) else []
        try:
            for start, stop in pairwise(ends):
                first = int(wanted[start])
                read[start:stop] = array[first : first + stop - start]
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be read ({error}); a whole copy of it would be right."
            ) from error
        return torch.from_numpy(read).permute(0, 3, 1, 2)[back].contiguous()


def open_array(path: Path, key: str) -> Any:
    """The array `key` of an HDF5 file, open for reading; it keeps its file open as long as it is
    referred to.

    Raises:
        DataError: there is none.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            f"{path} cannot be opened ({error}); a whole HDF5 file would be right."
        ) from error
    if not isinstance(file.get(key), h5py.Dataset):
        has = ", ".join(file) or "nothing"
        raise DataError(
            f"{path} has {has} but no array {key!r}; an HDF5 file with that array would be right."
        )
    array = file[key]
    stored = array.id.get_storage_size()
    if array.external or array.is_virtual or array.nbytes > MOST_DEFLATED * stored:
        where = "in other files" if array.external or array.is_virtual else f"{stored} bytes of it"
        raise DataError(
            f"{path}: array {key!r} says that it is {array.dtype} of shape {list(array.shape)}, but is stored {where}; a whole "
            "HDF5 file would be right."
        )
    return array
