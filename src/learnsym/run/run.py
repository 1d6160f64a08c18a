"""One run, from a composed configuration to result.json: compose, check, build, work, show."""

import re
import time
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from learnsym.config.build import build, to_plain
from learnsym.config.validate import check_target
from learnsym.errors import LearnSymError, RunError
from learnsym.run.checks import Request, check_mode, check_request
from learnsym.run.context import build_context
from learnsym.run.directory import RunDirectory
from learnsym.run.distributed import devices_for, held_directory, make_fabric, shutdown
from learnsym.run.launch_env import launch_env
from learnsym.run.mode import ResultsMode
from learnsym.run.run_id import (
    code_hash,
    config_hash,
    directory_for,
    run_name,
    versions,
    with_checkpoint_config,
)
from learnsym.run.summary import result_of, show
from learnsym.schema import PlainDict, PlainMapping
from learnsym.utils.files import to_json, write_atomically

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def run(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> Path:
    """Do what the configuration says, or show the result that is there already.

    Overrides are as typed, choices those of every config group. Returns the run's directory, or
    what a mode without a run has written.
    """
    # === compose and check ===
    request = Request(cfg, overrides, choices)
    check_mode(request)
    if issubclass(request.mode, ResultsMode):
        check_target("mode", cfg.mode)
        written: Path = build(cfg, "mode")(cfg)
        print(f"result: {written}", flush=True)
        return written
    request = replace(request, cfg=with_checkpoint_config(cfg, overrides))
    check_request(request)
    digest, name = config_hash(request.cfg), run_name(request.cfg, choices)
    cfg = OmegaConf.create(to_plain(request.cfg))

    # === work, unless that has been done ===
    fabric = None
    if launch_env().is_distributed:  # join the processes that torchrun or srun has started
        fabric = make_fabric(cfg.trainer, cfg.trainer.devices)
        fabric.launch()
    locate = partial(directory_for, cfg, Path(cfg.paths.out).expanduser().absolute() / name)
    with held_directory(fabric, locate, bool(cfg.fresh), bool(cfg.debug)) as (directory, result):
        is_new = result is None
        if result is None:
            made_by = {"config_hash": digest, "command": "main.py " + " ".join(overrides)}
            result = _launch(fabric, cfg, directory, made_by)
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


def _launch(
    fabric: "Fabric | None", cfg: DictConfig, directory: RunDirectory, made_by: PlainMapping
) -> PlainDict:
    """Work in as many processes as the run has, started here without a fabric; return the result.

    What goes wrong is left in error.txt by rank 0.
    """
    from torch.multiprocessing import ProcessRaisedException

    try:
        with devices_for(cfg.trainer) as devices:
            fabric = fabric or make_fabric(cfg.trainer, devices)
            # As arguments of its own Fabric would copy them.
            fabric.launch(partial(_work, cfg=cfg, directory=directory, made_by=made_by))
    except Exception as error:
        if launch_env().is_rank_zero:
            known = isinstance(error, LearnSymError)
            directory.fail(f"{error}\n" if known else traceback.format_exc())
            error.directory = str(directory.path)  # type: ignore[attr-defined]
        if not isinstance(error, ProcessRaisedException):
            raise
        message = re.search(r"learnsym\.errors\.\w+: (.*)", str(error))
        where = f"a process failed; see {directory.error_path}."
        raise RunError(message[1] if message else where) from error
    return directory.result() or {}


def _work(
    fabric: "Fabric", cfg: DictConfig, directory: RunDirectory, made_by: PlainMapping
) -> None:
    """Build everything, call the mode, and (on rank 0) write the result: every process does."""
    started = time.perf_counter()
    made_by = {**made_by, "versions": versions()}  # a checkout may change while the work goes on
    context = build_context(fabric, cfg, directory)
    if fabric.is_global_zero:
        write_atomically(directory.config_path, OmegaConf.to_yaml(cfg))
        identity = {"fingerprint": context.data.fingerprint}
        write_atomically(directory.data_path, to_json(identity))
    outcome = build(cfg, "mode")(context)
    if fabric.is_global_zero:
        context.training.recorder.finish(outcome.metrics)
        directory.finish(result_of(context, outcome, time.perf_counter() - started, made_by))
    shutdown(fabric)


def _rewrite_config(cfg: DictConfig, directory: RunDirectory, digest: str) -> None:
    """Write config.yaml of a finished run again if it does not say what the run's name says."""
    try:
        stored = OmegaConf.load(directory.config_path)
        if stored.dataset.get("data_dir") == stored.paths.data:  # of which a name knows nothing
            stored.dataset.data_dir = "${paths.data}"
        if isinstance(stored, DictConfig) and config_hash(stored) == digest:
            return
    except Exception:  # whatever a YAML reader, or config_hash, makes of a damaged file
        pass
    print(f"remark: {directory.config_path} was damaged; it has been written again")
    write_atomically(directory.config_path, OmegaConf.to_yaml(cfg))
