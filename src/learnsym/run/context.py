"""What a mode works with: data, network and training of one run, the same in every process."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from omegaconf import DictConfig
from torch import nn

from learnsym.config.build import build, to_plain
from learnsym.config.former_names import with_current_names
from learnsym.data.base import Data
from learnsym.errors import ConfigError, DataError
from learnsym.run.console import RunRecorder
from learnsym.run.directory import RunDirectory
from learnsym.training import checkpoint
from learnsym.training.adoption import adopt
from learnsym.training.progress import Recorder
from learnsym.training.settings import TrainerSettings
from learnsym.utils.malloc import disable_malloc_trim

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from learnsym.training.loop import Training


@dataclass(frozen=True)
class RunContext:
    """One run at work: what is built from its resolved configuration, and where it is kept."""

    cfg: DictConfig
    fabric: "Fabric"
    data: Data
    net: nn.Module
    directory: RunDirectory
    training: "Training"
    debug: bool
    """A few batches of everything are enough."""

    def load(self, path: Path, advice: str = "") -> None:
        """Put a checkpoint's weights into the network; `advice` is for a damaged file."""
        checkpoint.load_weights(self.net, checkpoint.load(path, advice), path)


def build_context(fabric: "Fabric", cfg: DictConfig, directory: RunDirectory) -> RunContext:
    """Build the data, seed, and build the network and the training, in this order."""
    from learnsym.distributions.base import parameter_groups
    from learnsym.layers.norms import synchronise_norms
    from learnsym.training.loop import Training

    trainer: TrainerSettings = build(cfg, "trainer")
    _prepare_cpu(fabric, trainer)
    data: Data = build(cfg, "dataset")
    if cfg.checkpoint is not None:
        path = Path(cfg.checkpoint)
        state = checkpoint.load(path)
        trained = with_current_names(state.get("config", {})).get("dataset", {})
        adopt(data, cfg.dataset, state, trained, path)
    elif data.untrainable:
        source = data.info.provenance.partition(". ")[0].rstrip(".")
        raise DataError(f"dataset={data.info.name} ({source}): {data.untrainable}")
    if fabric.is_global_zero:
        for remark in data.remarks:
            print(f"remark: {remark}", flush=True)
    random.seed(cfg.seed)  # all processes alike (see `learnsym.utils.rng`)
    np.random.seed(cfg.seed)  # noqa: NPY002 - libraries may draw from the global generator
    torch.manual_seed(cfg.seed)
    net = build_network(cfg, data)
    dry_forward(net, data)
    measure = build(cfg, "analysis").measure(net, data.prepare(data.splits["train"].inputs[:1]))
    if fabric.world_size > 1:
        synchronise_norms(net)
    rates = cfg.train.get("symmetry_lr"), cfg.train.get("omega0_lr")
    training = Training(
        fabric,
        net,
        data,
        build(cfg, "train", params=parameter_groups(net, *rates)),
        RunRecorder(cfg, directory) if fabric.is_global_zero else Recorder(),
        directory.checkpoints,
        seed=cfg.seed,
        resident_bytes=trainer.resident_bytes,
        max_batches=3 if cfg.debug else None,
        channels_last=trainer.channels_last,
        compile=trainer.compile,
        config=to_plain(cfg),
        measure=measure,
    )
    return RunContext(cfg, fabric, data, net, directory, training, bool(cfg.debug))


def build_network(cfg: DictConfig, data: Data) -> nn.Module:
    """Build the network for a data set; its examples are not needed."""
    task, outputs = data.info.task, data.info.num_outputs
    if task == "classification" and cfg.train.get("loss") == "squared_error":
        task = "regression"  # scores of classes are plain numbers, and averaged as those
    net: nn.Module = build(cfg, "net", in_channels=data.in_channels, num_outputs=outputs, task=task)
    return net


@torch.no_grad()
def dry_forward(net: nn.Module, data: Data) -> None:
    """Put one example through the network, drawing no random number; refuse a misfit."""
    net.eval()
    info = data.info
    misfit = f"net does not fit dataset={info.name}"
    try:
        with torch.random.fork_rng(devices=[]):
            outputs = net(data.prepare(data.splits["train"].inputs[:1]))
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"{misfit} (inputs {list(info.input_shape)}): {reason}.") from error
    if tuple(outputs.shape[1:]) != info.output_shape:
        net_of_masks = "net=projected_linear" if info.task == "segmentation" else "another net"
        raise ConfigError(
            f"{misfit}: expected outputs {list(info.output_shape)} for {info.task}, got "
            f"{list(outputs.shape[1:])} from {type(net).__name__}. Try {net_of_masks}."
        )
    net.train()


def _prepare_cpu(fabric: "Fabric", trainer: TrainerSettings) -> None:
    is_cpu = fabric.device.type == "cpu"
    if is_cpu:
        disable_malloc_trim()
    if trainer.threads or (is_cpu and fabric.world_size > 1):
        share = max(1, torch.get_num_threads() // trainer.devices)
        torch.set_num_threads(trainer.threads or share)
