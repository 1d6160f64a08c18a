"""One GPU for each job of a sweep, on a machine that has several."""

import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

FOLDER = (
    Path(tempfile.gettempdir()) / f"learnsym-gpus-{os.getuid() if hasattr(os, 'getuid') else 'all'}"
)
SECONDS_BETWEEN_LOOKS = 1.0


def visible_gpus() -> int:
    """How many GPUs this process sees."""
    return torch.cuda.device_count()


@contextmanager
def exclusive_gpu(count: int, folder: Path = FOLDER) -> Iterator[int]:
    """The number of a GPU that no other job has until the context ends; waits while all are taken.

    Jobs of all sweeps of a person on this machine share the locks; a process that is killed loses
    its own. The numbers are those of this process: with CUDA_VISIBLE_DEVICES, of the GPUs that it
    names.

    Args:
        count: how many GPUs this process sees.
        folder: of the locks, one file a GPU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if len(names) != count:
        names = [str(number) for number in range(count)]
    for number in itertools.cycle(range(count)):
        lock = FileLock(folder / f"{names[number].strip()}.lock")
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            if number == count - 1:
                time.sleep(SECONDS_BETWEEN_LOOKS)
    try:
        yield number
    finally:
        lock.release()
