"""What the launchers share: numbered jobs, their records, and the task of a worker."""

import json
import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from learnsym.errors import ConfigError, LearnSymError
from learnsym.utils.files import write_atomically

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission


class Job(NamedTuple):
    """A job of a sweep: its number, and what is typed for it."""

    number: int
    overrides: tuple[str, ...]


@dataclass(eq=False)
class SweepTask:
    """Callable that does a job in the process that unpickles it, in the same (shared) folder."""

    hydra_context: HydraContext
    config: DictConfig
    task_function: TaskFunction
    singletons: dict[type, object] = field(default_factory=Singleton.get_state)
    folder: Path = field(default_factory=Path.cwd)

    def compose(self, job: Job) -> DictConfig:
        """Return the whole configuration of the job, Hydra's included."""
        loader = self.hydra_context.config_loader
        config = loader.load_sweep_config(self.config, list(job.overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = job.number
        return config

    def __call__(self, job: Job) -> None:
        """Do the job; `learnsym.cli.job` records how it ends, and raises nothing."""
        # A job is one task, whose processes Fabric is not to look for in Slurm's variables.
        os.environ["SLURM_JOB_NAME"] = "interactive"
        os.chdir(self.folder)
        setup_globals()
        Singleton.set_state(self.singletons)
        result = run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=self.compose(job),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        _ = result.return_value  # raises what the job raised

    def checkpoint(self, job: Job) -> "DelayedSubmission":
        """Return what submitit queues when the job is preempted: the same, for a run continues."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


class SweepLauncher(Launcher):
    """Base of launchers: every job has a record in the sweep's directory in the end."""

    package: ClassVar[tuple[str, str] | None] = None  # a module, and the extra that installs it
    skips_finished: ClassVar[bool] = True  # jobs with a result would wait in a queue to say so

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands over before `launch`."""
        self.check_available()
        self.task = SweepTask(hydra_context, config, task_function)
        self.folder = Path(str(config.hydra.sweep.dir)).absolute()

    def check_available(self) -> None:
        """Raise a ConfigError if jobs cannot be started on this machine."""
        if self.package and find_spec(self.package[0]) is None:
            name, extra = self.package
            raise ConfigError(
                f"launcher={extra} needs {name}, which is not installed: uv sync --extra {extra}"
            )

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Do the jobs; return when none of them is at work any more."""
        jobs = [Job(n, tuple(words)) for n, words in enumerate(job_overrides, initial_job_idx)]
        killed = "its process was killed (out of memory or time, or by hand) and left no record"
        for job in jobs:
            self.record(job, error=killed)
        if unfinished := [job for job in jobs if not (self.skips_finished and self._skip(job))]:
            self.start(unfinished)
        return [JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED) for job in jobs]

    @abstractmethod
    def start(self, jobs: list[Job]) -> None:
        """Start the jobs and wait for them."""

    def record(self, job: Job, directory: str | None = None, error: str | None = None) -> None:
        """Record where the result of a job is, or why there is none; the job overwrites it."""
        record: dict[str, object] = {"overrides": job.overrides, "directory": directory}
        record |= {"status": "missing" if error else "finished", "error": error}
        write_atomically(self._path(job), json.dumps(record, indent=2))

    def is_missing(self, job: Job) -> bool:
        """Return whether the job has left no record of its own."""
        return bool(json.loads(self._path(job).read_text())["status"] == "missing")

    def _path(self, job: Job) -> Path:
        return self.folder / "jobs" / f"{job.number}.json"

    def _skip(self, job: Job) -> bool:
        """Record the job as finished if the result of its run is there to stay."""
        from learnsym.run.run_id import run_name, with_checkpoint_config

        config = self.task.compose(job)
        choices = dict(config.hydra.runtime.choices)
        config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        if config.fresh or config.debug:
            return False
        try:
            name = run_name(with_checkpoint_config(config, list(job.overrides)), choices)
        except LearnSymError:
            return False  # the job reports it
        run = Path(config.paths.out).absolute() / name
        if finished := (run / "result.json").exists():
            self.record(job, directory=str(run))
            print(f"finished before: {run}", flush=True)
        return finished
