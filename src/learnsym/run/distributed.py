"""Set up lightning Fabric, and keep the ranks of a run in step."""

import logging
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from omegaconf import DictConfig

from learnsym.errors import ConfigError, LearnSymError
from learnsym.run.directory import RunDirectory
from learnsym.run.launch_env import cluster_environment, launch_env
from learnsym.schema import PlainDict

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")


def make_fabric(trainer: DictConfig, devices: int | list[int]) -> "Fabric":
    """Return Fabric for one process, for several that it starts, or for those of torchrun or srun.

    Args:
        trainer: the node of the configuration.
        devices: how many, or the number of the GPU.

    Raises:
        ConfigError: the machine has no such devices.
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


def join_processes(trainer: DictConfig) -> "Fabric | None":
    """Join the processes that torchrun or srun has started; None where this one is alone."""
    if not launch_env().is_distributed:
        return None
    fabric = make_fabric(trainer, trainer.devices)
    fabric.launch()
    return fabric


def broadcast_from_rank_zero(fabric: "Fabric | None", work: Callable[[], T]) -> T:
    """Do some work on rank 0, and return its result on every rank.

    Raises:
        LearnSymError: of rank 0, on all ranks, so that none waits for it.
    """
    if fabric is None:
        return work()
    answer: Any = (None, None)
    if fabric.is_global_zero:
        try:
            answer = (work(), None)
        except LearnSymError as error:
            answer = (None, error)
    result, failure = fabric.broadcast(answer)
    if failure is not None:
        raise failure
    return result


@contextmanager
def held_directory(
    fabric: "Fabric | None", path: Path, fresh: bool, debug: bool
) -> Iterator[tuple[RunDirectory, PlainDict | None]]:
    """Yield the run's directory, held by rank 0, and the result that is there already.

    Args:
        fabric: of processes that torchrun or srun has started.
        path: of the directory.
        fresh: empty it first.
        debug: take a temporary folder in its place.
    """
    with ExitStack() as stack:

        def hold() -> tuple[RunDirectory, PlainDict | None]:
            if debug:
                return RunDirectory(Path(stack.enter_context(tempfile.TemporaryDirectory()))), None
            directory = RunDirectory(path)
            stack.enter_context(directory.locked())
            if fresh:
                directory.clear()
            return directory, directory.result()

        yield broadcast_from_rank_zero(fabric, hold)


@contextmanager
def record_failure(directory: RunDirectory) -> Iterator[None]:
    """Leave what goes wrong within in error.txt, if this is rank 0."""
    try:
        yield
    except Exception as error:
        if launch_env().is_rank_zero:
            known = isinstance(error, LearnSymError)
            directory.fail(f"{error}\n" if known else traceback.format_exc())
            error.directory = str(directory.path)  # type: ignore[attr-defined]
        raise


def shutdown(fabric: "Fabric") -> None:
    """Leave the group of processes together.

    A process that exits by itself may find threads of the group still running, which aborts it.
    """
    if fabric.world_size > 1:
        fabric.barrier()
        torch.distributed.destroy_process_group()


def check_processes(devices: int, nodes: int, in_a_sweep: bool) -> None:
    """Check `trainer.devices` and `trainer.nodes` against the processes that there are.

    Raises:
        ConfigError: others have been started than the configuration says, or none for several
            nodes.
    """
    env = launch_env()
    asked = f"trainer.devices={devices} trainer.nodes={nodes}"
    if env.is_distributed and in_a_sweep:
        raise ConfigError(
            f"-m: {env.launcher} starts the processes of a single run; a sweep is started without "
            "it."
        )
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
    each, rest = divmod(env.processes, env.nodes)
    started = f"{env.launcher} has started {env.processes} processes on {env.nodes} node"
    started += "s" * (env.nodes > 1)
    if rest:
        raise ConfigError(f"{started}; expected as many on each.")
    if (devices, nodes) != (each, env.nodes):
        raise ConfigError(
            f"{asked}: {started}. Try trainer.devices={each} trainer.nodes={env.nodes}."
        )
