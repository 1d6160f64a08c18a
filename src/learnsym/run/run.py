"""One run, from a composed configuration to result.json: check, find the run's directory, build,
work, show.
"""

import re
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from learnsym.config.allowed_classes import get_class
from learnsym.config.build import build, dry_build
from learnsym.config.validate import check, check_target
from learnsym.distributions.base import learned_symmetry
from learnsym.errors import ConfigError, RunError
from learnsym.run.checks import (
    check_analysis,
    check_augmentation,
    check_checkpoint,
    check_effect,
    check_kind,
    check_processes,
    check_runs,
)
from learnsym.run.config_hash import config_hash
from learnsym.run.context import build_context, device_name
from learnsym.run.directory import RunDirectory
from learnsym.run.distributed import locked_on_rank_zero, make_fabric, record_failure, shutdown
from learnsym.run.gpu_lock import exclusive_gpu, visible_gpus
from learnsym.run.launcher_env import launch_env
from learnsym.run.mode import ResultsMode
from learnsym.run.summary import show
from learnsym.run.versions import code_hash, versions
from learnsym.training import checkpoint
from learnsym.utils.files import write_atomically

SECTIONS = ("base_group", "conv", "kernel", "net", "dataset", "train")
"""What a checkpoint was trained with, and what a mode that reads one takes from it."""


def run(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> Path:
    """Do what the configuration says, or show the result that is there already.

    Args:
        cfg: composed by Hydra.
        overrides: as typed, for the record and to tell what a user asked for.
        choices: the option of every config group.

    Returns:
        The run's directory.

    Raises:
        LearnSymError: whatever a person can put right.
    """
    mode_class = get_class("mode", cfg.mode._target_)
    check_runs(cfg, overrides, choices, mode_class)
    if issubclass(mode_class, ResultsMode):
        return work_on_results(cfg)
    check_checkpoint(cfg, choices, mode_class)
    cfg = config_from_checkpoint(cfg, overrides)
    check(cfg)
    check_effect(cfg, overrides)
    check_building(cfg, choices["mode"], mode_class)
    check_augmentation(overrides, choices, mode_class)
    check_analysis(cfg, overrides, choices, mode_class)
    check_processes(cfg.trainer.devices, cfg.trainer.nodes, in_a_sweep())
    if launch_env().shared:
        return _together(
            cfg, RunDirectory(Path(cfg.paths.out).absolute() / slug(cfg, choices)), overrides
        )
    if cfg.debug:
        with tempfile.TemporaryDirectory() as folder:
            _work_and_show(cfg, RunDirectory(Path(folder)), overrides)
        print("result: none (debug=true keeps nothing)", flush=True)
        return Path(folder)
    directory = RunDirectory(Path(cfg.paths.out).absolute() / slug(cfg, choices))
    with directory.locked():
        if cfg.fresh:
            directory.clear()
        _work_and_show(cfg, directory, overrides)
    print(f"result: {directory.result_path}", flush=True)
    return directory.path


def work_on_results(cfg: DictConfig) -> Path:
    """A mode that needs neither network nor data: it is called with the configuration and gives the
    path of what it wrote.
    """
    check_target("mode", cfg.mode)
    path = build(cfg, "mode")(cfg)
    print(f"result: {path}", flush=True)
    return path


def check_building(cfg: DictConfig, mode: str, mode_class: type) -> None:
    """What goes together, said by what is built for it."""
    check_kind(cfg, mode, mode_class)
    mode_class.check_config(cfg)
    dry_build(cfg)


def no_rules(cfg: DictConfig) -> None:
    """Of a mode that goes with everything."""


def config_from_checkpoint(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """Take net, data and recipe from the checkpoint's own configuration, save what the command line
    says anew.

    A section that the command chooses (`dataset=mnist`, `experiment=...`) stays as composed; single
    keys (`dataset.rotation_range=90`) are set on top of the checkpoint's.
    """
    if cfg.checkpoint is None:
        return cfg
    theirs = checkpoint.configuration(Path(cfg.checkpoint), SECTIONS)
    if any(o.startswith("experiment=") for o in overrides):
        return cfg
    merged = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
    for section in SECTIONS:
        if any(re.match(rf"{section}(/[\w/]+)?=", o) for o in overrides):
            continue
        merged[section] = OmegaConf.create(theirs[section])
        if "data_dir" in merged.dataset:
            merged.dataset.data_dir = cfg.paths.data
        for override in overrides:
            if override.startswith(f"{section}."):
                key = override.split("=", 1)[0]
                if OmegaConf.select(merged, key, default=ConfigError) is ConfigError:
                    raise ConfigError(f"{key}: the checkpoint's {section} has no such setting.")
                OmegaConf.update(merged, key, OmegaConf.select(cfg, key))
    return merged


def slug(cfg: DictConfig, choices: dict[str, str]) -> str:
    """A readable name with a hash of what decides the result."""
    if cfg.checkpoint:  # RUN/checkpoints/last.pt: named after the run that it belongs to
        what = Path(cfg.checkpoint).absolute().parent.parent.name
    else:
        sampled = [choices["base_group"], choices["conv"]] if "conv" in cfg.net else []
        what = choices.get("experiment") or "-".join([choices["net"], *sampled, choices["dataset"]])
    mode = [] if choices["mode"] == "train" else [choices["mode"]]
    parts = [*what.split("/"), *mode, str(cfg.scale), f"seed{cfg.seed}", config_hash(cfg)]
    return "-".join(dict.fromkeys(parts))


def _work_and_show(cfg: DictConfig, directory: RunDirectory, overrides: list[str]) -> None:
    result = directory.result()
    if fresh := result is None:
        result = _launch(to_dict(cfg), directory, overrides, config_hash(cfg))
    _show(cfg, directory, result, fresh)


def _show(cfg: DictConfig, directory: RunDirectory, result: dict[str, Any], fresh: bool) -> None:
    if not cfg.debug:
        if not fresh:
            rewrite_config(cfg, directory)
        show(
            result, directory, is_new=fresh, same_code=result["versions"].get("code") == code_hash()
        )
    else:
        show(result, None, is_new=True, same_code=True)


def to_dict(cfg: DictConfig) -> dict[str, Any]:
    """The configuration in plain containers, resolved."""
    found = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(found, dict)
    return found


def rewrite_config(cfg: DictConfig, directory: RunDirectory) -> None:
    """Write config.yaml of a finished run again where it does not say what the run's directory is
    named after.
    """
    path = directory.path / "config.yaml"
    try:
        theirs = OmegaConf.load(path)
        if isinstance(theirs, DictConfig) and config_hash(theirs) == config_hash(cfg):
            return
    except Exception:  # whatever a damaged file makes of a YAML reader, and of who takes its content for a configuration
        pass
    print(f"remark: {path} was damaged; it has been written again")
    write_atomically(path, OmegaConf.to_yaml(OmegaConf.create(to_dict(cfg))))


def _together(cfg: DictConfig, directory: RunDirectory, overrides: list[str]) -> Path:
    """One of the processes that torchrun or srun has started."""
    return make_fabric(build(cfg, "trainer"), cfg.trainer.devices).launch(
        _each, cfg, directory, overrides
    )


def _each(fabric: Any, cfg: DictConfig, directory: RunDirectory, overrides: list[str]) -> Path:
    """What each of them does. The first holds the run's directory, writes and speaks."""
    with locked_on_rank_zero(fabric, directory, bool(cfg.fresh), bool(cfg.debug)) as (
        directory,
        result,
    ):
        if fresh := result is None:
            with record_failure(directory if fabric.is_global_zero else None):
                _work(fabric, to_dict(cfg), directory.path, overrides, config_hash(cfg))
        else:
            shutdown(fabric)
        if fabric.is_global_zero:
            _show(cfg, directory, result or directory.result() or {}, fresh)
            print(
                "result: none (debug=true keeps nothing)"
                if cfg.debug
                else f"result: {directory.result_path}",
                flush=True,
            )
    return directory.path


def published(config: dict[str, Any]) -> list[dict[str, Any]]:
    """What the preset's paper reports for this run: without entries that are for another target or
    class of data than its own.
    """
    own = {
        "target": config["dataset"].get("target"),
        "dataset": config["dataset"]["_target_"].rpartition(".")[2],
    }
    return [
        e
        for e in config.get("paper") or []
        if all(e.get(key, value) == value for key, value in own.items())
    ]


def in_a_sweep() -> bool:
    """Whether this run is a job of a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def shares_gpus() -> bool:
    """Whether this run is a job of a sweep on this machine. (Slurm and Ray show each job the GPUs
    that are its own.)
    """
    from hydra.core.hydra_config import HydraConfig

    return in_a_sweep() and HydraConfig.get().runtime.choices.get("launcher") not in (
        "slurm",
        "ray",
    )


def _launch(
    config: dict[str, Any],
    directory: RunDirectory,
    overrides: list[str],
    digest: str,
    gpu: int | None = None,
) -> dict[str, Any]:
    """Start the processes; what happens in them is `_work`. A job of a sweep takes a GPU of its own
    where there are several.
    """
    from torch.multiprocessing import ProcessRaisedException

    trainer = build(OmegaConf.create(config), "trainer")
    gpus = (
        visible_gpus()
        if trainer.devices == 1 and trainer.accelerator in ("auto", "cuda") and shares_gpus()
        else 0
    )
    if gpus > 1 and gpu is None:
        with exclusive_gpu(gpus) as number:
            return _launch(config, directory, overrides, digest, number)
    fabric = make_fabric(trainer, trainer.devices if gpu is None else [gpu])
    try:
        with record_failure(directory):
            fabric.launch(_work, config, directory.path, overrides, digest)
    except ProcessRaisedException as error:
        found = re.search(r"learnsym\.errors\.\w+: (.*)", str(error))
        raise RunError(
            found[1] if found else f"a process failed; see {directory.path / 'error.txt'}."
        ) from error
    result = directory.result()
    assert result is not None
    return result


def _work(
    fabric: Any, config: dict[str, Any], path: Path, overrides: list[str], digest: str
) -> None:
    """What every process does: build, run the mode, and (the first process) write the result."""
    started, code = (
        time.perf_counter(),
        versions(),
    )  # before the work: a checkout may change while it goes on
    cfg = OmegaConf.create(config)
    context = build_context(fabric, cfg, RunDirectory(path))
    if fabric.is_global_zero:
        write_atomically(path / "config.yaml", OmegaConf.to_yaml(cfg))
    outcome = build(cfg, "mode")(context)
    if fabric.is_global_zero:
        context.training.recorder.finish(outcome.metrics)
        context.directory.finish(
            {
                "status": "finished",
                "metrics": outcome.metrics,
                "learned_symmetry": learned_symmetry(context.net),
                "paper": published(config),
                "seconds": round(time.perf_counter() - started, 3),
                "seconds_of_training": round(context.training.progress.seconds, 3),
                "device": device_name(fabric),
                "processes": fabric.world_size,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": code,
                "config_hash": digest,
                "command": "main.py " + " ".join(overrides),
                "scale": cfg.scale,
                "seed": cfg.seed,
                "parameters": sum(p.numel() for p in context.net.parameters()),
                "data": {
                    "provenance": context.data.info.provenance,
                    "sizes": dict(context.data.info.sizes),
                },
                "true_widths": dict(context.data.info.true_widths),
                "figures": outcome.figures,
            }
        )
    shutdown(fabric)
