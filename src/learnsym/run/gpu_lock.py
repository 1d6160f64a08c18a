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
from omegaconf import DictConfig

from learnsym.run.launch_env import in_a_sweep, launcher

USER = os.getuid() if hasattr(os, "getuid") else "all"
FOLDER = Path(tempfile.gettempdir()) / f"learnsym-gpus-{USER}"
SECONDS_BETWEEN_LOOKS = 1.0


def visible_gpus() -> int:
    """Return the number of GPUs that this process sees."""
    return torch.cuda.device_count()


@contextmanager
def devices_for(trainer: DictConfig) -> Iterator[int | list[int]]:
    """Yield the devices of a run, as lightning Fabric takes them.

    A job of a sweep on this machine gets a GPU of its own where there are several. (Slurm and Ray
    show each job the GPUs that are its own.)
    """
    wants_one_gpu = trainer.devices == 1 and trainer.accelerator in ("auto", "cuda")
    if wants_one_gpu and in_a_sweep() and launcher() not in ("slurm", "ray"):
        gpus = visible_gpus()
        if gpus > 1:
            with exclusive_gpu(gpus) as number:
                yield [number]
            return
    yield trainer.devices


@contextmanager
def exclusive_gpu(count: int, folder: Path = FOLDER) -> Iterator[int]:
    """Yield the number of a GPU that no other job has until the context ends; wait for one.

    Jobs of all sweeps of a person on this machine share the locks. A process that is killed loses
    its own. The numbers are those of this process: with CUDA_VISIBLE_DEVICES, of the GPUs named
    there.

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
