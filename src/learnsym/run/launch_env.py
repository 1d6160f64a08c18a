"""How this process was launched: alone, or by torchrun or srun with others. Needs no torch."""

import os
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments import ClusterEnvironment

SECONDS_FOR_RANK_ZERO = 10.0
"""How long another rank waits for rank 0 to report the error."""


@dataclass(frozen=True)
class LaunchEnv:
    """Rank of this process among those of a launcher (None: it is alone, or starts others)."""

    launcher: Literal["torchrun", "srun"] | None = None
    rank: int = 0
    processes: int = 1
    nodes: int = 1

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Whether other commands work on the same run."""
        return self.processes > 1

    @property
    def no_sweep(self) -> str:
        """Why several processes refuse a sweep."""
        return (
            f"-m: {self.launcher} starts the processes of a single run; a sweep is started without "
            "it."
        )


def launch_env() -> LaunchEnv:
    """Read the environment; what a batch script of Slurm starts without srun is alone."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        processes = int(env["WORLD_SIZE"])
        nodes = processes // int(env["LOCAL_WORLD_SIZE"])
        return LaunchEnv("torchrun", int(env["RANK"]), processes, nodes)
    if "SLURM_STEP_ID" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        names = {"SLURM_PROCID": 0, "SLURM_STEP_NUM_TASKS": 1, "SLURM_STEP_NUM_NODES": 1}
        return LaunchEnv("srun", *(int(env.get(k, default)) for k, default in names.items()))
    return LaunchEnv()


def in_a_sweep() -> bool:
    """Return whether this run is a job of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def cluster_environment() -> "ClusterEnvironment":
    """Return what tells lightning Fabric where the other processes are."""
    from lightning_fabric.plugins import environments

    env = launch_env()
    if not env.is_distributed:
        return environments.LightningEnvironment()
    if env.launcher == "torchrun":
        return environments.TorchElasticEnvironment()
    # Fabric insists on this variable.
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(env.processes // env.nodes))
    return environments.SLURMEnvironment(auto_requeue=False)


def wait_for_rank_zero(code: int) -> bool:
    """Wait for rank 0 to report the error; return True if it did not.

    torchrun ends all processes as soon as one has ended, and rank 0 must not be cut short. It has
    reported once it is gone, and its torchrun, or the address where ranks meet, answers no more.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(code))
    deadline = time.monotonic() + SECONDS_FOR_RANK_ZERO
    has_answered = launch_env().launcher == "torchrun"  # it answers from the start
    answers = False
    while time.monotonic() < deadline:
        answers = _rank_zero_answers()
        if has_answered and not answers:
            return False
        has_answered |= answers
        time.sleep(0.1)
    return answers


def _rank_zero_answers() -> bool:
    """Return whether a process listens where the ranks meet."""
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if address is None or port is None:
        env = cluster_environment()
        address, port = env.main_address, str(env.main_port)
    try:
        socket.create_connection((address, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
