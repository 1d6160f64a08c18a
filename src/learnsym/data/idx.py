"""The idx format of MNIST and its kin: magic number, sizes (big-endian), then bytes; gzipped or not."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learnsym.errors import DataError


def read_idx(path: Path, dimensions: int) -> Tensor:
    """An array of bytes with so many dimensions: uint8. A DataError names a file that is not of that form."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({error}); an idx file, gzipped if its name ends in .gz, would be right."
        ) from error
    header = 4 + 4 * dimensions
    right = f"an idx file of bytes in {dimensions} dimensions would be right"
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(f"{path} begins with {content[:4].hex(' ') or 'nothing'}; {right}.")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise DataError(f"{path} has {len(content) - header} bytes of data where its header says {list(shape)}; {right}.")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())
