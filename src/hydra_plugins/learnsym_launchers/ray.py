"""launcher=ray: tasks of a Ray cluster."""

import os
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.learnsym_launchers._jobs import Job, SweepLauncher
from learnsym.errors import ConfigError, RunError


@dataclass
class RayConf:
    """The cluster, and what one job takes of it."""

    _target_: str = "hydra_plugins.learnsym_launchers.ray.RayLauncher"
    address: str = "local"
    num_cpus: float = 1
    num_gpus: float = 0
    memory_gb: float | None = None
    resources: dict[str, float] = field(default_factory=dict)
    max_retries: int = 0


ConfigStore.instance().store(
    group="hydra/launcher", name="learnsym_ray", node=RayConf, provider="learnsym"
)


class RayLauncher(SweepLauncher):
    """Ray tasks, as many at once as the cluster has room for."""

    package = ("ray", "ray")

    def start(self, jobs: list[Job]) -> None:
        """Start them and wait for them.

        Raises:
            ConfigError: there is no such cluster, or this machine is not large enough for a job.
            RunError: Ray does not start.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Below `uv run` Ray would give every worker a new environment, without the extras of this
        # one, in a copy of the folder.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        import ray

        address = self.settings["address"]
        local = (
            {"include_dashboard": False, "object_store_memory": 10**8} if address == "local" else {}
        )  # jobs hand over nothing
        try:
            ray.init(address=address, log_to_driver=True, configure_logging=False, **local)
        except (ConnectionError, ValueError) as error:
            raise ConfigError(
                f"hydra.launcher.address={address}: {str(error).splitlines()[0].rstrip('.')}."
            ) from error
        except Exception as error:  # Ray has no class for it
            raise RunError(
                f"Ray did not start: {str(error).splitlines()[0].rstrip('.')}."
            ) from error
        try:
            self._check_room(ray.nodes())
            self._run(jobs)
        finally:
            ray.shutdown()

    def wants(self) -> dict[str, float]:
        """What a job takes, by Ray's names (memory in bytes)."""
        memory = {"memory": self.settings["memory_gb"] * 1e9} if self.settings["memory_gb"] else {}
        return {
            "CPU": self.settings["num_cpus"],
            "GPU": self.settings["num_gpus"],
            **memory,
            **self.settings["resources"],
        }

    def _check_room(self, nodes: list[dict[str, Any]]) -> None:
        """Ray waits for ever for a machine that is large enough; one of its own making never
        grows.
        """
        if self.settings["address"] != "local":
            return
        keys = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory_gb"}
        for name, wanted in self.wants().items():
            there = max(node["Resources"].get(name, 0) for node in nodes)
            if wanted > there:
                key = f"hydra.launcher.{keys.get(name, 'resources')}"
                raise ConfigError(
                    f"{key}: a job is to have {wanted:g} {name}, and Ray finds {there:g} on this machine."
                )

    def _run(self, jobs: list[Job]) -> None:
        import ray

        task = ray.remote(job_of_sweep).options(
            num_cpus=self.settings["num_cpus"],
            num_gpus=self.settings["num_gpus"],
            memory=self.wants().get("memory"),
            resources=dict(self.settings["resources"]),
            max_retries=self.settings["max_retries"],
        )
        work = ray.put(self.work)
        waiting = {task.remote(work, job): job for job in jobs}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            job = waiting.pop(done)
            try:
                ray.get(done)
            except ray.exceptions.RayError as error:
                if self.missing(job):
                    reason = " ".join(str(error).split())
                    self.record(
                        job,
                        status="missing",
                        directory=None,
                        error=f"{type(error).__name__}: {reason}",
                    )


def job_of_sweep(work: Any, job: Job) -> None:
    """What a worker of Ray's does."""
    work(job)
