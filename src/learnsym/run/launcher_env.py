"""One run of several commands: where this process stands among those that torchrun or srun has started. Needs no torch."""

import os
import signal
import socket
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

from learnsym.errors import ConfigError

SECONDS_FOR_THE_FIRST = 10.0
"""So long another process waits for the first one to say what went wrong."""
SECONDS_FOR_THE_OTHERS = 3.0
"""So long the first one waits for the others under torchrun, which kills them when it ends: they come to the same mistake."""


@dataclass(frozen=True)
class Place:
    """Of a process.

    Attributes:
        starter: who has started the processes; None where this one is alone, or starts others itself.
        rank, processes: number of this process, of so many on all nodes together.
        nodes: machines.
    """

    starter: Literal["torchrun", "srun"] | None = None
    rank: int = 0
    processes: int = 1
    nodes: int = 1

    @property
    def is_first(self) -> bool:
        """The first process speaks and writes for all."""
        return self.rank == 0

    @property
    def shared(self) -> bool:
        """Whether other commands work on the same run."""
        return self.processes > 1


def place() -> Place:
    """As the environment says. A batch script of Slurm is no step of srun: what it starts is alone."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        processes = int(env["WORLD_SIZE"])
        return Place("torchrun", int(env["RANK"]), processes, processes // int(env["LOCAL_WORLD_SIZE"]))
    if "SLURM_STEP_ID" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        processes, nodes = int(env.get("SLURM_STEP_NUM_TASKS", "1")), int(env.get("SLURM_STEP_NUM_NODES", "1"))
        return Place("srun", int(env.get("SLURM_PROCID", "0")), processes, nodes)
    return Place()


def check_processes(devices: int, nodes: int, in_a_sweep: bool) -> None:
    """`trainer.devices` and `trainer.nodes` against the processes that there are.

    Raises:
        ConfigError: others have been started than the configuration says, or none for several nodes.
    """
    here = place()
    asked = f"trainer.devices={devices} trainer.nodes={nodes}"
    if here.shared and in_a_sweep:
        raise ConfigError(f"-m: {here.starter} starts the processes of a single run; a sweep is started without it.")
    if not here.shared:
        if nodes > 1:
            raise ConfigError(
                f"trainer.nodes={nodes}: the processes of several nodes are started by torchrun --nnodes={nodes} or srun "
                f"--nodes={nodes}, and this one is alone; trainer.nodes=1 would be right."
            )
        if here.starter == "torchrun" and devices > 1:
            raise ConfigError(
                f"{asked}: torchrun has started one process; torchrun --nproc-per-node={devices}, or no torchrun, would be right."
            )
        return
    each, rest = divmod(here.processes, here.nodes)
    if rest:
        raise ConfigError(
            f"{here.starter} has started {here.processes} processes on {here.nodes} nodes; as many on each would be right."
        )
    if (devices, nodes) != (each, here.nodes):
        raise ConfigError(
            f"{asked}: {here.starter} has started {here.processes} processes on {here.nodes} node{'s' * (here.nodes > 1)}; "
            f"trainer.devices={each} trainer.nodes={here.nodes} would be right."
        )


def environment() -> Any:
    """For lightning Fabric: whose variables say where the other processes are. Named, so that it does not guess."""
    from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment

    here = place()
    if not here.shared:
        return LightningEnvironment()
    if here.starter == "torchrun":
        return TorchElasticEnvironment()
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(here.processes // here.nodes))  # Fabric insists that it is said
    return SLURMEnvironment(auto_requeue=False)


def wait_for_the_first(code: int) -> bool:
    """Let the first process say why all of them end; whether it does not, so that this one has to.

    torchrun ends all processes as soon as one has, and the first must not be cut short. It has spoken once it is gone: its own
    torchrun with it, or the address at which it meets the others. If that still answers in the end, only this process has failed.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(code)

    signal.signal(signal.SIGTERM, leave)
    deadline = time.monotonic() + SECONDS_FOR_THE_FIRST
    seen = place().starter == "torchrun"  # it answers from the start
    answers = False
    while time.monotonic() < deadline:
        answers = _answers()
        if seen and not answers:
            return False
        seen |= answers
        time.sleep(0.1)
    return answers


def wait_for_the_others() -> None:
    """Let them end with an exit code of their own."""
    here = place()
    if here.shared and here.is_first and here.starter == "torchrun":
        time.sleep(SECONDS_FOR_THE_OTHERS)


def _answers() -> bool:
    """Whether somebody listens where the processes meet."""
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if address is None or port is None:
        here = environment()
        address, port = here.main_address, here.main_port
    try:
        socket.create_connection((address, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
