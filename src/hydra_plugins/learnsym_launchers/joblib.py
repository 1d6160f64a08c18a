"""launcher=joblib: in processes on this machine."""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf

from hydra_plugins.learnsym_launchers._jobs import Job, SweepLauncher


@dataclass
class JoblibConf(JobLibLauncherConf):
    """The settings of hydra-joblib-launcher."""

    _target_: str = "hydra_plugins.learnsym_launchers.joblib.JoblibLauncher"


ConfigStore.instance().store(
    group="hydra/launcher", name="learnsym_joblib", node=JoblibConf, provider="learnsym"
)


class JoblibLauncher(SweepLauncher):
    """Run jobs in joblib's processes.

    joblib ends all of them if one is killed; their jobs are started again, and continue.
    """

    skips_finished = False  # they take a moment here, and show their results

    def start(self, jobs: list[Job]) -> None:
        """Run the jobs; none is started more than three times.

        Jobs of a crashed worker come last, then one at a time: one may exhaust the memory.
        """
        from joblib import effective_n_jobs

        suspects: list[Job] = []
        while jobs and not self._run(jobs):
            missing = [job for job in jobs if self.is_missing(job)]
            workers = effective_n_jobs(self.settings["n_jobs"])
            suspects += missing[:workers]
            jobs = missing[workers:]
        if suspects and not self._run(suspects):
            for job in suspects:
                if self.is_missing(job):
                    self._run([job])

    def _run(self, jobs: list[Job]) -> bool:
        """Run the jobs side by side; return False if a worker was killed."""
        from hydra_plugins.hydra_joblib_launcher._core import process_joblib_cfg
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        settings = self.settings | {"backend": "loky"}
        process_joblib_cfg(settings)
        try:
            Parallel(**settings)(delayed(self.task)(job) for job in jobs)
        except TerminatedWorkerError:
            return False
        return True
