"""What a mode works with: the data, the network and the training of one run, built and seeded in
every process alike.
"""

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
from learnsym.run.console import Recorder
from learnsym.run.directory import RunDirectory
from learnsym.training import checkpoint
from learnsym.utils.malloc import disable_malloc_trim

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from learnsym.training.loop import Training


@dataclass
class RunContext:
    """One run at work."""

    cfg: DictConfig
    fabric: "Fabric"
    data: Data
    net: nn.Module
    directory: RunDirectory
    training: "Training"
    debug: bool

    def load(self, path: Path, advice: str = "") -> None:
        """Put a checkpoint's weights into the network; the advice is for the sentence if it cannot
        be read.
        """
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
    names = (
        re.findall(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE)
        if info.exists()
        else []
    )
    return f"{fabric.device.type} ({names[0] if names else platform.processor()}, {torch.get_num_threads()} threads)"


def build_context(fabric: Any, cfg: DictConfig, directory: RunDirectory) -> RunContext:
    """Seed, build the data, the network and the training, in this order."""
    from learnsym.layers.batch_norm import synchronise_norms
    from learnsym.training.loop import Training, parameter_groups

    trainer = build(cfg, "trainer")
    if fabric.device.type == "cpu":
        disable_malloc_trim()
    if trainer.threads or (fabric.world_size > 1 and fabric.device.type == "cpu"):
        torch.set_num_threads(trainer.threads or max(1, torch.get_num_threads() // trainer.devices))
    data = build(cfg, "dataset")
    seed_everything(cfg.seed)
    # With a squared error the scores of classes are plain numbers: a network gives and averages
    # them as those of a regression.
    plain = data.info.task == "classification" and cfg.train.get("loss") == "squared_error"
    task = "regression" if plain else data.info.task
    net = build(
        cfg, "net", in_channels=data.in_channels, num_outputs=data.info.num_outputs, task=task
    )
    dry_forward(net, data)
    measure = build(cfg, "analysis").measure(net, data.prepare(data.splits["train"].inputs[:1]))
    if fabric.world_size > 1:
        synchronise_norms(net)
    settings = build(
        cfg,
        "train",
        params=parameter_groups(net, cfg.train.get("symmetry_lr"), cfg.train.get("omega0_lr")),
    )
    training = Training(
        fabric,
        net,
        data,
        settings,
        Recorder(cfg, directory, trainer.progress)
        if fabric.is_global_zero
        else Recorder(None, directory, False),
        directory.checkpoints,
        seed=cfg.seed,
        resident_bytes=trainer.resident_bytes,
        max_batches=3 if cfg.debug else None,
        channels_last=trainer.channels_last,
        compile=trainer.compile,
        config=OmegaConf.to_container(cfg, resolve=True),
        measure=measure,
    )
    return RunContext(cfg, fabric, data, net, directory, training, bool(cfg.debug))


@torch.no_grad()
def dry_forward(net: nn.Module, data: Data) -> None:
    """Put one example through the network, so that data that do not fit it are refused before the
    training; draws nothing.

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
        raise ConfigError(
            f"net does not fit dataset={info.name} (inputs {list(info.input_shape)}): {reason}."
        ) from error
    if tuple(outputs.shape[1:]) != info.output_shape:
        right = (
            "net=projected_linear"
            if info.task == "segmentation"
            else "a net that gives such outputs"
        )
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
