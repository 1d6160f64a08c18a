"""The idx format of MNIST and its kin: magic number, sizes (big-endian), then bytes; gzipped or
not.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learnsym.errors import DataError

MOST_DEFLATED = 1032
"""Bytes that one byte of a gzip file can stand for."""


def read_idx(path: Path, dimensions: int) -> Tensor:
    """An array of bytes with so many dimensions: uint8. A DataError names a file that is not of
    that form.
    """
    header = 4 + 4 * dimensions
    right = f"an idx file of bytes in {dimensions} dimensions would be right"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(header)
            if len(head) < header or head[:4] != bytes((0, 0, 8, dimensions)):
                raise DataError(f"{path} begins with {head[:4].hex(' ') or 'nothing'}; {right}.")
            shape = struct.unpack(f">{dimensions}I", head[4:])
            size, most = math.prod(shape), path.stat().st_size * MOST_DEFLATED
            content = (
                file.read(size + 1) if size <= most else b""
            )  # nothing is allocated for a size that is a lie
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({error}); an idx file, gzipped if its name ends in .gz, would be right."
        ) from error
    if len(content) != size:
        held = (
            "more" if len(content) > size else len(content) if size <= most else f"at most {most}"
        )
        raise DataError(
            f"{path} has {held} bytes of data where its header says {list(shape)}; {right}."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(shape).copy())
