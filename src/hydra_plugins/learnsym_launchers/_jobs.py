"""What the launchers share: jobs by number, a record of each before it starts, and how a process
anywhere does one of them.
"""

import json
import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from learnsym.errors import ConfigError, LearnSymError
from learnsym.utils.files import write_atomically

MISSING = "its process was killed (out of memory or time, or by hand) and left no record"


@dataclass(frozen=True)
class Job:
    """One job of a sweep: its number, and what is typed for it."""

    number: int
    overrides: tuple[str, ...]


class Work:
    """Does a job, in whatever process it is unpickled. All of them need the same folder: a cluster,
    a shared file system.
    """

    def __init__(
        self, hydra_context: HydraContext, config: DictConfig, task_function: TaskFunction
    ) -> None:
        self.hydra_context, self.config, self.task_function = hydra_context, config, task_function
        self.singletons = Singleton.get_state()
        self.folder = Path.cwd()

    def compose(self, job: Job) -> DictConfig:
        """The job's whole configuration, Hydra's own included."""
        config = self.hydra_context.config_loader.load_sweep_config(
            self.config, list(job.overrides)
        )
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = job.number
        return config

    def __call__(self, job: Job) -> None:
        """Do it. `learnsym.cli.job` leaves its record, and raises nothing."""
        os.chdir(self.folder)
        setup_globals()
        Singleton.set_state(self.singletons)
        done = run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=self.compose(job),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        _ = done.return_value  # raises what the job raised


class SweepLauncher(Launcher):
    """Starts jobs somewhere, waits for all of them, and sees to it that every one has a record in
    the sweep's directory.
    """

    package: ClassVar[tuple[str, str] | None] = None
    """What it cannot do without, and the extra that brings it."""
    skips_finished: ClassVar[bool] = True
    """Whether jobs whose result is there are left out: they would only wait in a queue to say
    so."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's beginning.

        Raises:
            ConfigError: the package is not installed.
        """
        if self.package and find_spec(self.package[0]) is None:
            name, extra = self.package
            raise ConfigError(
                f"launcher={extra} needs {name}, which is not installed: uv sync --extra {extra}"
            )
        self.config = config
        self.work = Work(hydra_context, config, task_function)

    @property
    def folder(self) -> Path:
        """The sweep's directory."""
        return Path(str(self.config.hydra.sweep.dir)).absolute()

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Do the jobs; returns when none of them is at work any more."""
        jobs = [
            Job(initial_job_idx + place, tuple(overrides))
            for place, overrides in enumerate(job_overrides)
        ]
        for job in jobs:
            self.record(job, status="missing", directory=None, error=MISSING)
        finished = (
            {job: path for job in jobs if (path := self.finished(job))}
            if self.skips_finished
            else {}
        )
        for job, path in finished.items():
            self.record(job, status="finished", directory=str(path), error=None)
            print(f"finished before: {path}", flush=True)
        if waiting := [job for job in jobs if job not in finished]:
            self.start(waiting)
        return [JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED) for job in jobs]

    @abstractmethod
    def start(self, jobs: list[Job]) -> None:
        """Start them and wait for them."""

    def path(self, job: Job) -> Path:
        """Of the job's record."""
        return self.folder / "jobs" / f"{job.number}.json"

    def record(self, job: Job, **what: Any) -> None:
        """Write the job's record; the job itself overwrites it."""
        write_atomically(
            self.path(job), json.dumps({"overrides": list(job.overrides), **what}, indent=2)
        )

    def missing(self, job: Job) -> bool:
        """Whether the job has left no record of its own."""
        return json.loads(self.path(job).read_text())["status"] == "missing"

    def finished(self, job: Job) -> Path | None:
        """The directory of the job's run, if its result is there to stay."""
        from learnsym.run.run_id import run_name, with_checkpoint_config

        config = self.work.compose(job)
        choices, overrides = dict(config.hydra.runtime.choices), list(job.overrides)
        config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        if config.fresh or config.debug:
            return None
        try:
            name = run_name(with_checkpoint_config(config, overrides), choices)
        except LearnSymError:
            return None  # the job will say it
        path = Path(config.paths.out).absolute() / name
        return path if (path / "result.json").exists() else None
