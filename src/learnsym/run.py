"""One run, from a composed configuration to result.json: check, find the run's directory, build, work, show."""

import platform
import random
import re
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learnsym.config import build, check, check_effect, identity, locate, rehearse
from learnsym.data.base import ImageData
from learnsym.distributions.base import learned_symmetry
from learnsym.errors import CheckpointError, ConfigError, LearnSymError, RunError
from learnsym.results.record import Console, RunDirectory, code_hash, versions
from learnsym.results.show import show
from learnsym.training import checkpoint

SECTIONS = ("base_group", "net", "dataset", "train")
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
    mode_class = locate("mode", cfg.mode._target_)
    check_checkpoint(cfg, choices, mode_class)
    cfg = adopt_checkpoint(cfg, overrides)
    check(cfg)
    check_effect(cfg, overrides)
    rehearse(cfg)
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


def check_checkpoint(cfg: DictConfig, choices: dict[str, str], mode_class: type) -> None:
    """`checkpoint=` goes with the modes that read one."""
    reads, needs = getattr(mode_class, "reads_checkpoint", False), getattr(mode_class, "needs_checkpoint", False)
    if cfg.checkpoint is not None and not reads:
        raise ConfigError(
            f"checkpoint={cfg.checkpoint} would have no effect with mode={choices['mode']}; it goes with mode=test."
        )
    if cfg.checkpoint is None and needs:
        raise ConfigError(f"mode={choices['mode']} needs checkpoint=<run directory>/checkpoints/last.pt (or best.pt).")


def adopt_checkpoint(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """Take net, data and recipe from the checkpoint's own configuration, save what the command line says anew.

    A section that the command chooses (`dataset=mnist`, `experiment=...`) stays as composed; single keys
    (`dataset.rotation_range=90`) are set on top of the checkpoint's.
    """
    if cfg.checkpoint is None:
        return cfg
    theirs = checkpoint.load(Path(cfg.checkpoint)).get("config")
    if not isinstance(theirs, dict) or not all(isinstance(theirs.get(s), dict) for s in SECTIONS):
        raise CheckpointError(f"checkpoint {cfg.checkpoint}: it does not say with which configuration it was trained.")
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
    what = choices.get("experiment") or f"{choices['net']}-{choices['dataset']}"
    mode = [] if choices["mode"] == "train" else [choices["mode"]]
    parts = [*what.split("/"), *mode, str(cfg.scale), f"seed{cfg.seed}", identity(cfg)]
    return "-".join(dict.fromkeys(parts))


# --- one run --------------------------------------------------------------------------------------------------------------------


@dataclass
class Session:
    """What a mode works with."""

    cfg: DictConfig
    fabric: Any
    data: ImageData
    net: nn.Module
    directory: RunDirectory
    training: Any
    debug: bool

    def load(self, path: Path) -> None:
        """Put a checkpoint's weights into the network."""
        state = checkpoint.load(path)
        try:
            self.net.load_state_dict(state["net"])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(
                f"checkpoint {path}: it does not fit this network ({str(error).splitlines()[-1].strip()})."
            ) from error


def _work_and_show(cfg: DictConfig, directory: RunDirectory, overrides: list[str]) -> None:
    result = directory.result()
    fresh = result is None
    if result is None:
        plain = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(plain, dict)
        result = _launch(plain, directory, overrides, identity(cfg))
    if not cfg.debug:
        show(result, directory, is_new=fresh, same_code=result["versions"].get("code") == code_hash())
    else:
        show(result, None, is_new=True, same_code=True)


def _launch(config: dict[str, Any], directory: RunDirectory, overrides: list[str], digest: str) -> dict[str, Any]:
    """Start the processes; what happens in them is `_work`."""
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from torch.multiprocessing import ProcessRaisedException

    trainer = build(OmegaConf.create(config), "trainer")
    strategy = "ddp_spawn" if trainer.devices > 1 else "auto"
    try:
        fabric = Fabric(accelerator=trainer.accelerator, devices=trainer.devices, strategy=strategy, precision=trainer.precision)
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"trainer.accelerator={trainer.accelerator}, devices={trainer.devices}: {error}".splitlines()[0]
        ) from error
    try:
        fabric.launch(_work, config, directory.path, overrides, digest)
    except ProcessRaisedException as error:
        found = re.search(r"learnsym\.errors\.\w+: (.*)", str(error))
        directory.fail(str(error))
        raise RunError(found[1] if found else f"a process failed; see {directory.path / 'error.txt'}.") from error
    except Exception as error:
        directory.fail(f"{error}\n" if isinstance(error, LearnSymError) else traceback.format_exc())
        error.directory = str(directory.path)  # type: ignore[attr-defined]
        raise
    result = directory.result()
    assert result is not None
    return result


def _work(fabric: Any, config: dict[str, Any], path: Path, overrides: list[str], digest: str) -> None:
    """What every process does: build, run the mode, and (the first process) write the result."""
    started = time.perf_counter()
    cfg = OmegaConf.create(config)
    session = open_session(fabric, cfg, RunDirectory(path))
    if fabric.is_global_zero:
        OmegaConf.save(cfg, path / "config.yaml")
    outcome = build(cfg, "mode")(session)
    if fabric.is_global_zero:
        session.training.recorder.finish(outcome["metrics"])
        session.directory.finish(
            {
                "status": "finished",
                "metrics": outcome["metrics"],
                "learned_symmetry": learned_symmetry(session.net),
                "paper": config.get("paper") or [],
                "seconds": round(time.perf_counter() - started, 3),
                "seconds_of_training": round(session.training.progress.seconds, 3),
                "device": device_name(fabric),
                "processes": fabric.world_size,
                "versions": versions(),
                "config_hash": digest,
                "command": "main.py " + " ".join(overrides),
                "scale": cfg.scale,
                "seed": cfg.seed,
                "parameters": sum(p.numel() for p in session.net.parameters()),
                "data": {"provenance": session.data.info.provenance, "sizes": dict(session.data.info.sizes)},
                "true_widths": dict(session.data.info.true_widths),
                "figures": outcome.get("figures", []),
            }
        )


def device_name(fabric: Any) -> str:
    """For the record: the GPU's name, or the processor and its threads."""
    if fabric.device.type == "cuda":
        return torch.cuda.get_device_name(fabric.device)
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE) if info.exists() else []
    return f"{fabric.device.type} ({names[0] if names else platform.processor()}, {torch.get_num_threads()} threads)"


def open_session(fabric: Any, cfg: DictConfig, directory: RunDirectory) -> Session:
    """Seed, build the data, the network and the training, in this order."""
    from learnsym.training.loop import Training, parameter_groups
    from learnsym.training.sync_norm import synchronise_norms

    trainer = build(cfg, "trainer")
    if trainer.threads or (fabric.world_size > 1 and fabric.device.type == "cpu"):
        torch.set_num_threads(trainer.threads or max(1, torch.get_num_threads() // fabric.world_size))
    data = build(cfg, "dataset")
    seed_everything(cfg.seed)
    net = build(cfg, "net", in_channels=data.info.input_shape[0], num_outputs=data.info.num_outputs, task=data.info.task)
    try_out(net, data)
    if fabric.world_size > 1:
        synchronise_norms(net)
    settings = build(cfg, "train", params=parameter_groups(net, cfg.train.get("symmetry_lr")))
    training = Training(
        fabric,
        net,
        data,
        settings,
        Recorder(cfg, directory, trainer.progress) if fabric.is_global_zero else Recorder(None, directory, False),
        directory.checkpoints,
        seed=cfg.seed,
        resident_bytes=trainer.resident_bytes,
        max_batches=3 if cfg.debug else None,
        config=OmegaConf.to_container(cfg, resolve=True),
    )
    return Session(cfg, fabric, data, net, directory, training, bool(cfg.debug))


@torch.no_grad()
def try_out(net: nn.Module, data: ImageData) -> None:
    """Put one example through the network, so that data that do not fit it are refused before the training; draws nothing.

    Raises:
        ConfigError: they do not.
    """
    net.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            net(data.prepare(data.splits["train"].inputs[:1]))
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"net does not fit dataset={data.info.name} (inputs {list(data.info.input_shape)}): {reason}."
        ) from error
    net.train()


def seed_everything(seed: int) -> None:
    """Seed every generator; all processes alike (see `learnsym.randomness`)."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries may draw from the global generator
    torch.manual_seed(seed)


class Recorder:
    """The training's numbers, to the run's directory, the console and the chosen logger."""

    def __init__(self, cfg: DictConfig | None, directory: RunDirectory, progress: bool | str) -> None:
        self.cfg, self.directory = cfg, directory
        self.console = Console(progress)
        self.logger = build(cfg, "logger") if cfg is not None else None
        self._epochs = 0
        self._started = False

    def truncate(self, epochs: int) -> None:
        """Forget the rows after so many epochs."""
        if self.cfg is not None:
            self.directory.truncate(epochs)
            if epochs:
                print(f"continuing after epoch {epochs}", flush=True)

    def progress(self, epoch: int, epochs: int, steps: int) -> Any:
        """A bar over the steps of an epoch."""
        self._epochs = epochs
        return self.console.progress(epoch, epochs, steps)

    def log(self, row: dict[str, Any]) -> None:
        """One epoch's numbers."""
        self.directory.log(row)
        self.console.log(row, self._epochs)
        self._start().log(row)

    def finish(self, metrics: dict[str, float]) -> None:
        """The run's result."""
        self._start().finish(metrics)

    def _start(self) -> Any:
        assert self.cfg is not None
        if not self._started:
            self._started = True
            config = OmegaConf.to_container(self.cfg, resolve=True)
            self.logger.start(self.directory.path, self.directory.path.name, config)
        return self.logger
