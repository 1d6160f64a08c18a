"""One run, from a composed configuration to result.json: compose, check, build, work, show."""

import re
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from learnsym.config.build import build
from learnsym.config.validate import check_target
from learnsym.errors import RunError
from learnsym.run.checks import Request, check_mode, check_request
from learnsym.run.context import build_context
from learnsym.run.directory import RunDirectory
from learnsym.run.distributed import (
    held_directory,
    join_processes,
    make_fabric,
    record_failure,
    shutdown,
)
from learnsym.run.gpu_lock import devices_for
from learnsym.run.launch_env import launch_env
from learnsym.run.mode import ResultsMode
from learnsym.run.run_id import config_hash, resolved, run_name, with_checkpoint_config
from learnsym.run.summary import result_of, show
from learnsym.run.versions import code_hash, versions
from learnsym.schema import PlainDict
from learnsym.utils.files import write_atomically

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class _Job:
    """What every process of a run is told."""

    cfg: DictConfig
    path: Path
    overrides: list[str]
    config_hash: str


def run(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> Path:
    """Do what the configuration says, or show the result that is there already.

    Args:
        cfg: composed by Hydra.
        overrides: as typed, for the record and to tell what a user asked for.
        choices: the option of every config group.

    Returns:
        The run's directory, or what a mode without a run has written.

    Raises:
        LearnSymError: whatever a person can put right.
    """
    # === compose and check ===
    request = Request(cfg, overrides, choices)
    check_mode(request)
    if issubclass(request.mode, ResultsMode):
        return _work_on_results(cfg)
    request = replace(request, cfg=with_checkpoint_config(cfg, overrides))
    check_request(request)
    digest, name = config_hash(request.cfg), run_name(request.cfg, choices)
    cfg = resolved(request.cfg)

    # === work, unless that has been done ===
    fabric = join_processes(cfg.trainer)
    folder = Path(cfg.paths.out).absolute() / name
    with held_directory(fabric, folder, bool(cfg.fresh), bool(cfg.debug)) as (directory, result):
        is_new = result is None
        if result is None:
            result = _launch(fabric, _Job(cfg, directory.path, overrides, digest))
        elif fabric is not None:
            shutdown(fabric)

        # === show ===
        if launch_env().is_rank_zero:
            if not is_new:
                _rewrite_config(cfg, directory, digest)
            same_code = result["versions"].get("code") == code_hash()
            show(result, None if cfg.debug else directory, is_new, same_code)
            where = "none (debug=true keeps nothing)" if cfg.debug else directory.result_path
            print(f"result: {where}", flush=True)
    return directory.path


def _work_on_results(cfg: DictConfig) -> Path:
    """Call a mode that needs neither network nor data."""
    check_target("mode", cfg.mode)
    path: Path = build(cfg, "mode")(cfg)
    print(f"result: {path}", flush=True)
    return path


def _launch(fabric: "Fabric | None", job: _Job) -> PlainDict:
    """Work in as many processes as the run has, and return the result.

    Args:
        fabric: of processes that torchrun or srun has started; None: they are started here.
        job: what each of them is told.
    """
    from torch.multiprocessing import ProcessRaisedException

    directory = RunDirectory(job.path)
    try:
        with record_failure(directory), devices_for(job.cfg.trainer) as devices:
            fabric = fabric or make_fabric(job.cfg.trainer, devices)
            fabric.launch(partial(_work, job=job))  # as an argument Fabric would copy the job
    except ProcessRaisedException as error:
        message = re.search(r"learnsym\.errors\.\w+: (.*)", str(error))
        where = f"a process failed; see {directory.error_path}."
        raise RunError(message[1] if message else where) from error
    return directory.result() or {}


def _work(fabric: "Fabric", job: _Job) -> None:
    """Build everything, call the mode, and (on rank 0) write the result: every process does."""
    started = time.perf_counter()
    code = versions()  # before the work: a checkout may change while it goes on
    directory = RunDirectory(job.path)
    context = build_context(fabric, job.cfg, directory)
    if fabric.is_global_zero:
        write_atomically(directory.config_path, OmegaConf.to_yaml(job.cfg))
    outcome = build(job.cfg, "mode")(context)
    if fabric.is_global_zero:
        context.training.recorder.finish(outcome.metrics)
        made_by = {"config_hash": job.config_hash, "versions": code}
        made_by["command"] = "main.py " + " ".join(job.overrides)
        directory.finish(result_of(context, outcome, time.perf_counter() - started, made_by))
    shutdown(fabric)


def _rewrite_config(cfg: DictConfig, directory: RunDirectory, digest: str) -> None:
    """Write config.yaml of a finished run again if it does not say what the run's name says."""
    try:
        stored = OmegaConf.load(directory.config_path)
        if isinstance(stored, DictConfig) and config_hash(stored) == digest:
            return
    except Exception:  # whatever a YAML reader, or config_hash, makes of a damaged file
        pass
    print(f"remark: {directory.config_path} was damaged; it has been written again")
    write_atomically(directory.config_path, OmegaConf.to_yaml(cfg))
