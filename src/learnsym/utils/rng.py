"""Random numbers that belong to examples, whichever process computes them.

With several processes each one holds some rows of a global batch. All of them keep the same
generator state, draw for the whole global batch and keep the rows that are theirs, so that a run
gives the same numbers for any number of processes.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def generator(seed: int, purpose: str) -> torch.Generator:
    """A generator of its own for each purpose, so that the split, say, does not depend on how the
    rotations are drawn.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


_rows: tuple[int, int, int] | None = None


@contextmanager
def batch_shard(start: int, stop: int, total: int) -> Iterator[None]:
    """Within this context the examples at hand are rows `start:stop` of a global batch of
    `total`.
    """
    global _rows
    if not 0 <= start <= stop <= total:
        raise ValueError(f"rows {start}:{stop} do not lie in a batch of {total}")
    before, _rows = _rows, (start, stop, total)
    try:
        yield
    finally:
        _rows = before


def batch_uniform(
    count: int,
    *shape: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Uniform numbers in [0, 1) for `count` examples: [count, *shape].

    `count` may be a multiple of the rows at hand (several copies of each example, the copies of one
    example side by side).
    """
    if _rows is None:
        return torch.rand(count, *shape, device=device, dtype=dtype)
    start, stop, total = _rows
    copies, rest = divmod(count, stop - start) if stop > start else (0, count)
    if rest:
        raise ValueError(f"{count} draws for {stop - start} examples: not a whole number of copies")
    drawn = torch.rand(total * copies, *shape, device=device, dtype=dtype)
    return drawn[start * copies : stop * copies]
