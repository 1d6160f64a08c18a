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
    """joblib's processes. If one is killed, joblib ends them all: their jobs are started again, and
    go on where they were.
    """

    skips_finished = False  # they take a moment here, and show what they found

    def start(self, jobs: list[Job]) -> None:
        """All of them. Those that were at work when a process died come last (one of them killed
        it, perhaps by its hunger for memory), and then, if a process dies again, one by one: none
        is started more than three times.
        """
        from joblib import effective_n_jobs

        suspects: list[Job] = []
        while jobs and not self._parallel(jobs):
            left = [job for job in jobs if self.missing(job)]
            at_work = effective_n_jobs(self.settings["n_jobs"])
            suspects += left[:at_work]
            jobs = left[at_work:]
        if suspects and not self._parallel(suspects):
            for job in suspects:
                if self.missing(job):
                    self._parallel([job])

    def _parallel(self, jobs: list[Job]) -> bool:
        """Whether all came to an end, well or not; False: a process was killed."""
        from hydra_plugins.hydra_joblib_launcher._core import process_joblib_cfg
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        settings = self.settings | {"backend": "loky"}
        process_joblib_cfg(settings)
        try:
            Parallel(**settings)(delayed(self.work)(job) for job in jobs)
        except TerminatedWorkerError:
            return False
        return True
