"""launcher=slurm: jobs of a Slurm cluster, with submitit."""

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore

from hydra_plugins.learnsym_launchers._jobs import Job, SweepLauncher
from learnsym.errors import ConfigError
from learnsym.schema import PlainDict
from learnsym.utils.files import write_atomically

if TYPE_CHECKING:
    import submitit


@dataclass
class SlurmConf:
    """What one job asks of Slurm, by submitit's names; None: as the cluster has it."""

    _target_: str = "hydra_plugins.learnsym_launchers.slurm.SlurmLauncher"
    cluster: str = "slurm"
    name: str = "learnsym"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    gpus_per_node: int | None = None
    gres: str | None = None
    cpus_per_task: int = 2
    mem_gb: float | None = None
    timeout_min: int = 240
    signal_delay_s: int = 60
    max_num_timeout: int = 20
    array_parallelism: int = 256
    setup: list[str] = field(
        # srun does not hand on sbatch's number of cores (since Slurm 22.05), and libraries take all
        # cores of a machine for theirs.
        default_factory=lambda: [
            "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",
            "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK",
        ]
    )
    additional_parameters: PlainDict = field(default_factory=lambda: {"requeue": True})


ConfigStore.instance().store(
    group="hydra/launcher", name="learnsym_slurm", node=SlurmConf, provider="learnsym"
)
_GENERAL = ("name", "timeout_min", "gpus_per_node", "cpus_per_task", "mem_gb")
"""Settings that submitit has for all kinds of clusters."""


class SlurmLauncher(SweepLauncher):
    """Run jobs as an array of Slurm jobs, which outlive this process.

    The same command again waits for those that are still queued.
    """

    package = ("submitit", "slurm")

    def check_available(self) -> None:
        """Raise a ConfigError if submitit is not installed, or this machine has no Slurm."""
        super().check_available()
        cluster = self.settings["cluster"]
        if cluster not in ("slurm", "local", "debug"):
            raise ConfigError(
                f"hydra.launcher.cluster: expected slurm, local or debug, got {cluster}."
            )
        if self._on_slurm and not (shutil.which("sbatch") and shutil.which("srun")):
            raise ConfigError(
                "launcher=slurm: this machine has no sbatch and srun. Try launcher=joblib, which "
                "runs the jobs here."
            )

    @property
    def _on_slurm(self) -> bool:
        return bool(self.settings["cluster"] == "slurm")

    @property
    def _logs(self) -> Path:
        return self.folder / "slurm"

    def parameters(self) -> PlainDict:
        """Return the settings by the names that submitit has for them."""
        not_submitit = ("cluster", "max_num_timeout")
        settings = {
            k: v for k, v in self.settings.items() if v is not None and k not in not_submitit
        }
        if "setup" in settings:
            settings["setup"] = list(settings["setup"])  # submitit takes no ListConfig
        return {k if k in _GENERAL else f"slurm_{k}": v for k, v in settings.items()}

    def start(self, jobs: list[Job]) -> None:
        """Queue those that are not queued yet, and wait for all."""
        path = self._logs / "ids.json"
        queued = json.loads(path.read_text()) if self._on_slurm and path.exists() else {}
        active = _active(set(queued.values()))
        ids = {job: queued[_key(job)] for job in jobs if queued.get(_key(job)) in active}
        new = [job for job in jobs if job not in ids]
        handles = self._submit(new) if new else []
        ids |= {job: handle.job_id for job, handle in zip(new, handles, strict=True)}
        write_atomically(path, json.dumps(queued | {_key(j): ids[j] for j in new}, indent=2))
        numbers = f"{len(ids)} jobs, {len(new)} of them new: {', '.join(ids.values())}"
        print(f"Slurm has {numbers}; they print to {self._logs}", flush=True)
        try:
            self._wait(ids, handles)
        except KeyboardInterrupt:
            print(
                "The jobs stay queued: the same command waits for them again, scancel "
                f"{' '.join(ids.values())} ends them."
            )
            raise

    def _submit(self, jobs: list[Job]) -> "list[submitit.Job[None]]":
        import submitit
        from submitit.core.utils import FailedJobError

        cluster, times = self.settings["cluster"], self.settings["max_num_timeout"]
        limit = {} if cluster == "debug" else {f"{cluster}_max_num_timeout": times}
        executor = submitit.AutoExecutor(self._logs / "%j", cluster=cluster, **limit)
        executor.update_parameters(**self.parameters())
        try:
            return executor.map_array(self.task, jobs)
        except FailedJobError as error:
            reasons = re.findall(r"error: (.*)", str(error)) or [str(error)]
            reason = reasons[0].strip().rstrip(".")
            raise ConfigError(f"Slurm refuses the jobs: {reason}.") from error

    def _wait(self, ids: dict[Job, str], handles: "list[submitit.Job[None]]") -> None:
        """Wait until all have left the queue; a job that is queued again has not."""
        pending, start = dict(ids), time.monotonic()
        while pending:
            if self._on_slurm:
                active = _active(set(pending.values()))
            else:
                active = {handle.job_id for handle in handles if not handle.done()}
            for job in [job for job, number in pending.items() if number not in active]:
                self._check_record(job, pending.pop(job))
            if pending:
                time.sleep(min(2 + (time.monotonic() - start) / 20, 30))

    def _check_record(self, job: Job, number: str) -> None:
        """Wait for the record of a job that has ended; without one, record what Slurm knows."""
        deadline = time.monotonic() + 10  # by then a record has reached this machine
        while self.is_missing(job) and time.monotonic() < deadline:
            time.sleep(0.5)
        if not self.is_missing(job):
            return
        reason = "its process is gone"
        text = _output("scontrol", "--oneliner", "show", "job", number) if self._on_slurm else None
        if state := re.search(r"JobState=(\w+)", text or ""):
            reason = f"Slurm ended it ({state[1].lower().replace('_', ' ')})"
        log = self._logs / number / f"{number}_0_log.err"
        self.record(job, error=f"job {number}: {reason}, and it left no record; see {log}")


def _active(numbers: set[str]) -> set[str]:
    """Return which jobs are queued or at work; all of them while Slurm does not answer."""
    if not numbers:
        return set()
    text = _output("squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}")
    return numbers if text is None else numbers & set(text.split())


def _key(job: Job) -> str:
    return " ".join((str(job.number), *job.overrides))


def _output(*command: str) -> str | None:
    """Return what a command prints, or None if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout if result.returncode == 0 else None
