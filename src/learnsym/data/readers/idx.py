"""The idx format of MNIST: magic number, sizes (big-endian), then bytes; gzipped or not."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learnsym.errors import DataError

MAX_DEFLATED = 1032
"""Bytes that one byte of a gzip file can stand for."""


def read_idx(path: Path, dimensions: int) -> Tensor:
    """Return an array of bytes, uint8.

    torchvision's reader takes no .gz and trusts the header.

    Raises:
        DataError: the file does not have so many dimensions, or not as many bytes as it claims.
    """
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
