"""launcher=ray: tasks of a Ray cluster."""

import os
from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore

from hydra_plugins.learnsym_launchers._jobs import Job, SweepLauncher, SweepTask
from learnsym.errors import ConfigError, RunError
from learnsym.schema import PlainDict


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
    """Run jobs as Ray tasks, as many at once as the cluster has room for."""

    package = ("ray", "ray")

    def start(self, jobs: list[Job]) -> None:
        """Start the jobs and wait for them."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Below `uv run` Ray would give every worker a new environment, without the extras of this
        # one, in a copy of the folder.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        import ray

        address = self.settings["address"]
        settings: PlainDict = {"address": address, "configure_logging": False}
        if address == "local":  # its jobs hand over nothing
            settings |= {"include_dashboard": False, "object_store_memory": 10**8}
        try:
            ray.init(**settings)
        except Exception as error:
            reason = str(error).splitlines()[0].rstrip(".")
            if isinstance(error, ConnectionError | ValueError):
                raise ConfigError(f"hydra.launcher.address={address}: {reason}.") from error
            raise RunError(f"Ray did not start: {reason}.") from error
        try:
            if address == "local":
                self._check_room([node["Resources"] for node in ray.nodes()])
            self._run(jobs)
        finally:
            ray.shutdown()

    def _check_room(self, machines: list[dict[str, float]]) -> None:
        """Refuse what no machine has: Ray would wait for one for ever."""
        settings = self.settings
        needs = [("num_cpus", "CPU", settings["num_cpus"])]
        needs += [("num_gpus", "GPU", settings["num_gpus"])]
        needs += [("memory_gb", "memory", (settings["memory_gb"] or 0) * 1e9)]
        needs += [("resources", name, needed) for name, needed in settings["resources"].items()]
        for key, name, needed in needs:
            available = max(machine.get(name, 0) for machine in machines)
            if needed > available:
                raise ConfigError(
                    f"hydra.launcher.{key}: a job is to have {needed:g} {name}, and Ray finds "
                    f"{available:g} on this machine."
                )

    def _run(self, jobs: list[Job]) -> None:
        import ray

        settings = self.settings
        remote = ray.remote(SweepTask.__call__).options(
            num_cpus=settings["num_cpus"],
            num_gpus=settings["num_gpus"],
            memory=settings["memory_gb"] and settings["memory_gb"] * 1e9,
            resources=dict(settings["resources"]),
            max_retries=settings["max_retries"],
        )
        task = ray.put(self.task)
        pending = {remote.remote(task, job): job for job in jobs}
        while pending:
            (reference,), _ = ray.wait(list(pending), num_returns=1)
            job = pending.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.RayError as error:
                if self.is_missing(job):
                    reason = " ".join(str(error).split())
                    self.record(job, error=f"{type(error).__name__}: {reason}")
