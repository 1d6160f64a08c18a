"""What the processes of one run have to agree on, and lightning Fabric, which joins them."""

import logging
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnsym.errors import ConfigError, LearnSymError
from learnsym.run.directory import RunDirectory
from learnsym.run.launcher_env import environment, launch_env

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from learnsym.training.settings import TrainerSettings


def make_fabric(trainer: "TrainerSettings", devices: int | list[int]) -> "Fabric":
    """For one process; for several that it starts itself; or for those that torchrun or srun has
    started.

    Raises:
        ConfigError: the machine has no such devices.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from learnsym.training.precision import Double

    double = trainer.precision == "64-true"
    several = "ddp" if launch_env().shared else "ddp_spawn"
    logging.getLogger("lightning_fabric").setLevel(
        logging.WARNING
    )  # each process would say that it has joined
    try:
        return Fabric(
            accelerator=trainer.accelerator,
            devices=devices,
            num_nodes=trainer.nodes,
            strategy=several if trainer.devices * trainer.nodes > 1 else "auto",
            precision=None if double else trainer.precision,
            plugins=[environment(), *([Double()] if double else [])],
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"trainer.accelerator={trainer.accelerator}, devices={trainer.devices}: {error}".splitlines()[
                0
            ]
        ) from error


def broadcast_from_rank_zero(fabric: "Fabric", work: Callable[[], Any]) -> Any:
    """What the first process finds, in all of them.

    Raises:
        LearnSymError: what the first process met, in all of them too, so that none waits for it.
    """
    found, error = None, None
    if fabric.is_global_zero:
        try:
            found = work()
        except LearnSymError as met:
            error = met
    found, error = fabric.broadcast((found, error))
    if error is not None:
        raise error
    return found


@contextmanager
def locked_on_rank_zero(
    fabric: "Fabric", directory: RunDirectory, fresh: bool, debug: bool
) -> Iterator[tuple[RunDirectory, dict[str, Any] | None]]:
    """The run's directory for all processes, held by the first, and the result that is there
    already; a scratch folder of the first for `debug`.
    """
    with ExitStack() as held:

        def begin() -> tuple[RunDirectory, dict[str, Any] | None]:
            if debug:
                return RunDirectory(Path(held.enter_context(tempfile.TemporaryDirectory()))), None
            held.enter_context(directory.locked())
            if fresh:
                directory.clear()
            return directory, directory.result()

        yield broadcast_from_rank_zero(fabric, begin)


@contextmanager
def record_failure(directory: RunDirectory | None) -> Iterator[None]:
    """What goes wrong within is left in the directory's error.txt, if there is a directory."""
    try:
        yield
    except Exception as error:
        if directory is not None:
            directory.fail(
                f"{error}\n" if isinstance(error, LearnSymError) else traceback.format_exc()
            )
            error.directory = str(directory.path)  # type: ignore[attr-defined]
        raise


def shutdown(fabric: "Fabric") -> None:
    """All together: a process that exits by itself may find threads of the group still running,
    which aborts it.
    """
    import torch

    if fabric.world_size > 1:
        fabric.barrier()
        torch.distributed.destroy_process_group()
