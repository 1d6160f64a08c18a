"""launcher=slurm: jobs of a Slurm cluster, with submitit."""

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.learnsym_launchers._jobs import Job, SweepLauncher, Work
from learnsym.errors import ConfigError
from learnsym.utils.files import write_atomically

SECONDS_FOR_A_RECORD = 10.0
"""How long after a job's end its record may take to reach this machine."""


@dataclass
class SlurmConf:
    """What one job asks of Slurm. Names are submitit's; null: as the cluster has it."""

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
        # srun does not hand on what sbatch was told (since Slurm 22.05), and libraries take all of
        # a machine's cores for theirs.
        default_factory=lambda: [
            "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",
            "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK",
        ]
    )
    additional_parameters: dict[str, Any] = field(default_factory=lambda: {"requeue": True})


ConfigStore.instance().store(
    group="hydra/launcher", name="learnsym_slurm", node=SlurmConf, provider="learnsym"
)
GENERAL = ("name", "timeout_min", "gpus_per_node", "cpus_per_task", "mem_gb")
"""Settings that submitit has for all kinds of clusters."""


class SlurmWork(Work):
    """Does a job where submitit starts it."""

    def __call__(self, job: Job) -> None:
        """Do it."""
        # A job is one task, whose processes (trainer.devices) are its own: Fabric is not to look
        # for them in Slurm's variables.
        os.environ["SLURM_JOB_NAME"] = "interactive"
        super().__call__(job)

    def checkpoint(self, job: Job) -> Any:
        """What submitit queues again when the job is preempted or its time is up: the same, for a
        run goes on by itself.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


class SlurmLauncher(SweepLauncher):
    """An array of Slurm jobs. They outlive this process: the same command again waits for those
    that are still there.
    """

    package = ("submitit", "slurm")

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's beginning.

        Raises:
            ConfigError: submitit is not installed, or this machine knows no Slurm.
        """
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.work = SlurmWork(hydra_context, config, task_function)
        if self.settings["cluster"] not in ("slurm", "local", "debug"):
            raise ConfigError(
                f"hydra.launcher.cluster={self.settings['cluster']}: valid: slurm, local, debug."
            )
        if self.settings["cluster"] == "slurm" and not (
            shutil.which("sbatch") and shutil.which("srun")
        ):
            raise ConfigError(
                "launcher=slurm: this machine has no sbatch and srun; launcher=joblib runs the jobs here."
            )

    @property
    def logs(self) -> Path:
        """What the jobs print, a folder each."""
        return self.folder / "slurm"

    def executor(self) -> Any:
        """submitit's, with all settings."""
        import submitit

        cluster, limit = self.settings["cluster"], self.settings["max_num_timeout"]
        own = {} if cluster == "debug" else {f"{cluster}_max_num_timeout": limit}
        executor = submitit.AutoExecutor(self.logs / "%j", cluster=cluster, **own)
        executor.update_parameters(**self.parameters())
        return executor

    def parameters(self) -> dict[str, Any]:
        """The settings by the names that submitit has for them."""
        plain = {
            k: v
            for k, v in self.settings.items()
            if k not in ("cluster", "max_num_timeout") and v is not None
        }
        return {
            k if k in GENERAL else f"slurm_{k}": list(v) if k == "setup" else v
            for k, v in plain.items()
        }

    def start(self, jobs: list[Job]) -> None:
        """Queue those that are not queued yet, and wait for all.

        Raises:
            ConfigError: Slurm refuses them.
        """
        from submitit.core.utils import FailedJobError

        earlier = self._ids() if self.settings["cluster"] == "slurm" else {}
        active = self._active(set(earlier.values()))
        ids = {
            job: earlier[key]
            for job in jobs
            if (key := _key(job)) in earlier and earlier[key] in active
        }
        new = [job for job in jobs if job not in ids]
        handles: dict[Job, Any] = {}
        if new:
            try:
                handles = dict(zip(new, self.executor().map_array(self.work, new), strict=True))
            except FailedJobError as error:
                reason = re.findall(r"error: (.*)", str(error)) or [str(error)]
                raise ConfigError(
                    f"Slurm refuses the jobs: {reason[0].strip().rstrip('.')}."
                ) from error
            ids |= {job: handle.job_id for job, handle in handles.items()}
            write_atomically(
                self.logs / "ids.json",
                json.dumps(earlier | {_key(job): ids[job] for job in new}, indent=2),
            )
        print(
            f"Slurm has {len(ids)} jobs, {len(new)} of them new: {', '.join(ids.values())}; they print to {self.logs}",
            flush=True,
        )
        try:
            self._wait(ids, handles)
        except KeyboardInterrupt:
            print(
                f"The jobs stay queued: the same command waits for them again, scancel {' '.join(ids.values())} ends them."
            )
            raise

    def _wait(self, ids: dict[Job, str], handles: dict[Job, Any]) -> None:
        """Until all have left the queue; a job that is queued again (preempted, out of time) has
        not.
        """
        left, started = dict(ids), time.monotonic()
        while left:
            if self.settings["cluster"] == "slurm":
                active = self._active(set(left.values()))
            else:
                active = {ids[job] for job in left if not handles[job].done()}
            for job in [job for job, number in left.items() if number not in active]:
                self._settle(job, left.pop(job))
            if left:
                time.sleep(min(2 + (time.monotonic() - started) / 20, 30))

    def _settle(self, job: Job, number: str) -> None:
        """The job is over: wait for its record, or say in its place what Slurm knows."""
        deadline = time.monotonic() + SECONDS_FOR_A_RECORD
        while self.missing(job) and time.monotonic() < deadline:
            time.sleep(0.5)
        if self.missing(job):
            shown = (
                _output("scontrol", "--oneliner", "show", "job", number)
                if self.settings["cluster"] == "slurm"
                else None
            )
            state = re.search(r"JobState=(\w+)", shown or "")
            why = (
                f"Slurm ended it ({state[1].lower().replace('_', ' ')})"
                if state
                else "its process is gone"
            )
            log = self.logs / number / f"{number}_0_log.err"
            self.record(
                job,
                status="missing",
                directory=None,
                error=f"job {number}: {why}, and it left no record; see {log}",
            )

    def _ids(self) -> dict[str, str]:
        """Slurm's numbers of jobs that earlier calls queued."""
        path = self.logs / "ids.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def _active(self, numbers: set[str]) -> set[str]:
        """Those of the numbers that wait or are at work; while Slurm does not answer, all of
        them.
        """
        if not numbers:
            return set()
        listed = _output("squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}")
        return numbers if listed is None else numbers & set(listed.split())


def _key(job: Job) -> str:
    return " ".join((str(job.number), *job.overrides))


def _output(*command: str) -> str | None:
    """What a command prints, or None if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
