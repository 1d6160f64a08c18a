"""Draw random numbers that belong to examples, whichever process computes them.

With several processes each one holds some rows of a global batch. All keep the same generator
state, draw for the whole global batch and keep the rows that are theirs, so that a run gives the
same numbers for any number of processes.
"""

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return a generator for one purpose, so that a split, say, depends on no other draws."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


class BatchRows(NamedTuple):
    """Rows `start:stop` of a global batch of `total` examples, those that a process holds."""

    start: int
    stop: int
    total: int


def batch_uniform(
    count: int,
    *shape: int,
    rows: BatchRows | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Draw uniform numbers [count, *shape] in [0, 1).

    The count is that of the rows of a global batch (None: all of it), or a multiple of it: several
    copies of each example, those of one side by side.

    >>> one, two = torch.manual_seed(0).get_state(), batch_uniform(4)
    >>> torch.set_rng_state(one)
    >>> bool((batch_uniform(2, rows=BatchRows(1, 3, 4)) == two[1:3]).all())
    True
    """
    if rows is None:
        return torch.rand(count, *shape, device=device, dtype=dtype)
    start, stop, total = rows
    if not 0 <= start < stop <= total:
        raise ValueError(f"Expected rows of a batch of {total}, got {start}:{stop}.")
    copies, rest = divmod(count, stop - start)
    if rest:
        raise ValueError(f"Expected draws for a multiple of {stop - start} examples, got {count}.")
    drawn = torch.rand(total * copies, *shape, device=device, dtype=dtype)
    return drawn[start * copies : stop * copies]
