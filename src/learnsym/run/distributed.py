"""Set up lightning Fabric, and keep the ranks of a run, and the jobs of a sweep, in step."""

import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch.cuda import device_count

from learnsym.errors import ConfigError, LearnSymError
from learnsym.run.directory import RunDirectory, lock_folder
from learnsym.run.launch_env import cluster_environment, in_a_sweep, launch_env
from learnsym.schema import PlainDict

if TYPE_CHECKING:
    from lightning_fabric import Fabric

USER = os.getuid() if hasattr(os, "getuid") else "all"
LOCKS = Path(tempfile.gettempdir()) / f"learnsym-gpus-{USER}"
"""The folder of the locks of GPUs, one file a GPU."""
SECONDS_BETWEEN_LOOKS = 1.0


def make_fabric(trainer: DictConfig, devices: int | list[int]) -> "Fabric":
    """Return Fabric for one process, for several that it starts, or for those of torchrun or srun.

    Devices are so many, or the GPU of this number; a ConfigError if the machine has none such.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from learnsym.training.precision import Double

    double = trainer.precision == "64-true"
    ddp = "ddp" if launch_env().is_distributed else "ddp_spawn"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # ranks would say they joined
    try:
        return Fabric(
            accelerator=trainer.accelerator,
            devices=devices,
            num_nodes=trainer.nodes,
            strategy=ddp if trainer.devices * trainer.nodes > 1 else "auto",
            precision=None if double else trainer.precision,
            plugins=[cluster_environment(), *([Double()] if double else [])],
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        asked = f"trainer.accelerator={trainer.accelerator}, devices={trainer.devices}"
        raise ConfigError(f"{asked}: {error}".splitlines()[0]) from error


@contextmanager
def devices_for(trainer: DictConfig) -> Iterator[int | list[int]]:
    """Yield the devices of a run: a GPU of its own for a job of a sweep, where there are several.

    (Slurm and Ray show each job the GPUs that are its own.)
    """
    wants_one_gpu = trainer.devices == 1 and trainer.accelerator in ("auto", "cuda")
    if wants_one_gpu and in_a_sweep() and device_count() > 1:
        launcher = HydraConfig.get().runtime.choices.get("launcher")
        if launcher not in ("slurm", "ray"):
            with exclusive_gpu(device_count()) as number:
                yield [number]
            return
    yield trainer.devices


@contextmanager
def exclusive_gpu(count: int, folder: Path = LOCKS) -> Iterator[int]:
    """Yield the number of a GPU that no other job has until the context ends; wait for one.

    Jobs of all sweeps of a person on this machine share the locks, which end with a process that is
    killed. Numbers are those of the `count` GPUs that this process sees (CUDA_VISIBLE_DEVICES).
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


@contextmanager
def held_directory(
    fabric: "Fabric | None", locate: Callable[[], Path], fresh: bool, debug: bool
) -> Iterator[tuple[RunDirectory, PlainDict | None]]:
    """Yield the run's directory, held by rank 0, and the result that is there already.

    What rank 0 refuses, all ranks of `fabric` (of torchrun or srun) do, so that none waits for it.
    A fresh run's directory is emptied first; a temporary one stands for that of a debug run.
    """
    with ExitStack() as stack:

        def hold() -> tuple[RunDirectory, PlainDict | None]:
            if debug:
                return RunDirectory(Path(stack.enter_context(tempfile.TemporaryDirectory()))), None
            path = locate()
            stack.callback(lock_folder(path, "run").release)
            directory = RunDirectory(path)
            if fresh:
                directory.clear()
            return directory, directory.result()

        answer: Any = None
        if fabric is None or fabric.is_global_zero:
            try:
                answer = hold()
            except LearnSymError as error:
                answer = error
        if fabric is not None:
            answer = fabric.broadcast(answer)
        if isinstance(answer, LearnSymError):
            raise answer
        yield answer


def shutdown(fabric: "Fabric") -> None:
    """Leave the group of processes together: threads of the group would abort a lone exit."""
    if fabric.world_size > 1:
        fabric.barrier()
        torch.distributed.destroy_process_group()


def check_processes(devices: int, nodes: int, is_sweep: bool) -> None:
    """Check `trainer.devices` and `trainer.nodes` against the processes that there are."""
    env = launch_env()
    asked = f"trainer.devices={devices} trainer.nodes={nodes}"
    if not env.is_distributed:
        if nodes > 1:
            raise ConfigError(
                f"trainer.nodes={nodes}: the processes of several nodes are started by torchrun "
                f"--nnodes={nodes} or srun --nodes={nodes}, and this one is alone. Try "
                "trainer.nodes=1."
            )
        if env.launcher == "torchrun" and devices > 1:
            raise ConfigError(
                f"{asked}: torchrun has started one process. Try torchrun "
                f"--nproc-per-node={devices}, or no torchrun."
            )
        return
    if is_sweep:
        raise ConfigError(env.no_sweep)
    each, rest = divmod(env.processes, env.nodes)
    started = f"{env.launcher} has started {env.processes} processes on {env.nodes} node"
    started += "s" * (env.nodes > 1)
    if rest:
        raise ConfigError(f"{started}; expected as many on each.")
    if (devices, nodes) != (each, env.nodes):
        raise ConfigError(
            f"{asked}: {started}. Try trainer.devices={each} trainer.nodes={env.nodes}."
        )
