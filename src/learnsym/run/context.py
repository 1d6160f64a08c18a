"""What a mode works with: the data, the network and the training of one run, built and seeded in every process alike."""

import platform
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learnsym.config.build import build
from learnsym.data.base import Data
from learnsym.errors import CheckpointError, ConfigError
from learnsym.utils.malloc import keep_freed_memory
from learnsym.run.directory import Console, RunDirectory
from learnsym.training import checkpoint

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from learnsym.training.loop import Training


@dataclass
class Session:
    """One run at work."""

    cfg: DictConfig
    fabric: "Fabric"
    data: Data
    net: nn.Module
    directory: RunDirectory
    training: "Training"
    debug: bool

    def load(self, path: Path, advice: str = "") -> None:
        """Put a checkpoint's weights into the network; the advice is for the sentence if it cannot be read."""
        state = checkpoint.load(path, advice)
        try:
            self.net.load_state_dict(state["net"])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(
                f"checkpoint {path}: it does not fit this network ({str(error).splitlines()[-1].strip()})."
            ) from error


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
    from learnsym.layers.sync_batch_norm import synchronise_norms

    trainer = build(cfg, "trainer")
    if fabric.device.type == "cpu":
        keep_freed_memory()
    if trainer.threads or (fabric.world_size > 1 and fabric.device.type == "cpu"):
        torch.set_num_threads(trainer.threads or max(1, torch.get_num_threads() // trainer.devices))
    data = build(cfg, "dataset")
    seed_everything(cfg.seed)
    # With a squared error the scores of classes are plain numbers: a network gives and averages them as those of a regression.
    plain = data.info.task == "classification" and cfg.train.get("loss") == "squared_error"
    task = "regression" if plain else data.info.task
    net = build(cfg, "net", in_channels=data.in_channels, num_outputs=data.info.num_outputs, task=task)
    try_out(net, data)
    measure = build(cfg, "analysis").measure(net, data.prepare(data.splits["train"].inputs[:1]))
    if fabric.world_size > 1:
        synchronise_norms(net)
    settings = build(cfg, "train", params=parameter_groups(net, cfg.train.get("symmetry_lr"), cfg.train.get("omega0_lr")))
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
        channels_last=trainer.channels_last,
        compile=trainer.compile,
        config=OmegaConf.to_container(cfg, resolve=True),
        measure=measure,
    )
    return Session(cfg, fabric, data, net, directory, training, bool(cfg.debug))


@torch.no_grad()
def try_out(net: nn.Module, data: Data) -> None:
    """Put one example through the network, so that data that do not fit it are refused before the training; draws nothing.

    Raises:
        ConfigError: they do not, or what it gives is not of the shape that their task needs.
    """
    net.eval()
    info = data.info
    try:
        with torch.random.fork_rng(devices=[]):
            outputs = net(data.prepare(data.splits["train"].inputs[:1]))
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"net does not fit dataset={info.name} (inputs {list(info.input_shape)}): {reason}.") from error
    if tuple(outputs.shape[1:]) != info.output_shape:
        right = "net=projected_linear" if info.task == "segmentation" else "a net that gives such outputs"
        raise ConfigError(
            f"net does not fit dataset={info.name}: {type(net).__name__} gives {list(outputs.shape[1:])} for an example, but "
            f"{info.task} needs {list(info.output_shape)}; {right} would be right."
        )
    net.train()


def seed_everything(seed: int) -> None:
    """Seed every generator; all processes alike (see `learnsym.utils.rng`)."""
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
