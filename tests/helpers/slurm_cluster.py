"""A Slurm of one machine, for a test: `with cluster(folder)`, or `python slurm_cluster.py FOLDER
COMMAND...` for a command.

Everything is in the folder (keys, sockets, state, logs) and ends with the block. Debian: apt-get
install slurm-wlm munge.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from getpass import getuser
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
SEARCHED = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
CONFIG = """
ClusterName=learnsym
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=2
MinJobAge=300
SchedulerParameters=batch_sched_delay=0,sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
# Without accounting, as on many a small cluster: sacct knows nothing. A job that is queued again
# waits until its old credential is expired: two minutes, unless it is said otherwise.


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody uses."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for unused in sockets:
            unused.bind(("127.0.0.1", 0))
        return [unused.getsockname()[1] for unused in sockets]


@contextmanager
def cluster(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Start the daemons; yield the environment that Slurm's commands need."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    config.write_text(
        CONFIG.format(host=host, user=getuser(), ports=free_ports(2), folder=folder, cpus=cpus)
    )
    environment = {"SLURM_CONF": str(config), "PATH": SEARCHED}
    munge = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
    daemons = []
    try:
        daemons.append(
            start(
                folder,
                environment,
                "munged",
                "--foreground",
                "--force",
                f"--socket={folder}/munge.socket",
                *munge,
            )
        )
        wait_for(lambda: (folder / "munge.socket").exists(), folder, "munge.log")
        daemons.append(start(folder, environment, "slurmctld", "-D"))
        daemons.append(start(folder, environment, "slurmd", "-D", "-N", host))
        wait_for(
            lambda: "idle" in output(environment, "sinfo", "--noheader", "--format=%T"),
            folder,
            "slurmctld.log",
            "slurmd.log",
        )
        yield environment
    finally:
        output(environment, "scancel", "--signal=KILL", "--full", f"--user={getuser()}")
        output(environment, "scancel", f"--user={getuser()}")
        with suppress(RuntimeError):  # what is left of the jobs ends before the daemons
            wait_for(lambda: not output(environment, "squeue", "--noheader"), folder, seconds=15)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()


def start(folder: Path, environment: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    """Start a daemon in the foreground."""
    with (folder / f"{command[0]}.out").open("wb") as log:
        return subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def output(environment: dict[str, str], *command: str) -> str:
    """Return what a command of Slurm's prints; nothing if it fails."""
    done = subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout if done.returncode == 0 else ""


def wait_for(ready, folder: Path, *logs: str, seconds: float = 30) -> None:
    """Wait until a condition holds; raise an error with the logs if it never does."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(
                "\n".join(
                    (folder / log).read_text()[-2000:] for log in logs if (folder / log).exists()
                )
            )
        time.sleep(0.2)


if __name__ == "__main__":
    with cluster(Path(sys.argv[1]).absolute()) as settings:
        sys.exit(subprocess.run(sys.argv[2:], env=os.environ | settings, check=False).returncode)
