"""One run of several commands: where this process stands among those that torchrun or srun has
started. Needs no torch.
"""

import os
import signal
import socket
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

SECONDS_FOR_THE_FIRST = 10.0
"""So long another process waits for the first one to say what went wrong."""
SECONDS_FOR_THE_OTHERS = 3.0
"""So long the first one waits for the others under torchrun, which kills them when it ends: they
come to the same mistake."""


@dataclass(frozen=True)
class LaunchEnv:
    """Of a process.

    Attributes:
        starter: who has started the processes; None where this one is alone, or starts others
            itself.
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


def launch_env() -> LaunchEnv:
    """As the environment says. A batch script of Slurm is no step of srun: what it starts is
    alone.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        processes = int(env["WORLD_SIZE"])
        return LaunchEnv(
            "torchrun", int(env["RANK"]), processes, processes // int(env["LOCAL_WORLD_SIZE"])
        )
    if "SLURM_STEP_ID" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        processes, nodes = (
            int(env.get("SLURM_STEP_NUM_TASKS", "1")),
            int(env.get("SLURM_STEP_NUM_NODES", "1")),
        )
        return LaunchEnv("srun", int(env.get("SLURM_PROCID", "0")), processes, nodes)
    return LaunchEnv()


def environment() -> Any:
    """For lightning Fabric: whose variables say where the other processes are. Named, so that it
    does not guess.
    """
    from lightning_fabric.plugins.environments import (
        LightningEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

    here = launch_env()
    if not here.shared:
        return LightningEnvironment()
    if here.starter == "torchrun":
        return TorchElasticEnvironment()
    os.environ.setdefault(
        "SLURM_NTASKS_PER_NODE", str(here.processes // here.nodes)
    )  # Fabric insists that it is said
    return SLURMEnvironment(auto_requeue=False)


def wait_for_the_first(code: int) -> bool:
    """Let the first process say why all of them end; whether it does not, so that this one has to.

    torchrun ends all processes as soon as one has, and the first must not be cut short. It has
    spoken once it is gone: its own torchrun with it, or the address at which it meets the others.
    If that still answers in the end, only this process has failed.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(code)

    signal.signal(signal.SIGTERM, leave)
    deadline = time.monotonic() + SECONDS_FOR_THE_FIRST
    seen = launch_env().starter == "torchrun"  # it answers from the start
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
    here = launch_env()
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
