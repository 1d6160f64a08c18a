"""Everything that a run is refused for before data are read, in the order in which it is checked.

An override that would have no effect is refused too: silence there ruins experiments.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learnsym.config.allowed_classes import get_class, plugins
from learnsym.config.build import build, dry_build, dummy_data_spec
from learnsym.config.validate import check
from learnsym.data.base import Data
from learnsym.errors import ConfigError
from learnsym.run.distributed import check_processes
from learnsym.run.launch_env import in_a_sweep
from learnsym.run.loggers import Logger
from learnsym.run.mode import Mode, ResultsMode

BASES: dict[str, tuple[type, ...]] = {
    "dataset": (Data,),
    "net": (nn.Module,),
    "mode": (Mode, ResultsMode),
    "logger": (Logger,),
}
"""What a class must be a subclass of, whoever has written it."""
NET_WITH = {"base_group": "augerino", "conv": "ckresnet", "kernel": "ckresnet"}
MODE_OF_KEY = {"passes": "dynamics", "batching": "drift"}
"""The mode that a key of `augmentation` goes with."""
SPACES = {2: "the plane, that is on images", 3: "space, that is on point clouds"}


@dataclass(frozen=True)
class Request:
    """What a user asks for: unresolved, as typed, and the option of every config group."""

    cfg: DictConfig
    overrides: list[str]
    choices: dict[str, str]

    def class_of(self, path: str) -> Any:
        """Return the class that is chosen for a node, of which `BASES` says what it must be."""
        cls = get_class(path, self.cfg[path]._target_)
        if issubclass(cls, BASES[path]):
            return cls
        bases = " or ".join(f"{base.__module__}.{base.__name__}" for base in BASES[path])
        raise ConfigError(f"{path}: expected a subclass of {bases}, got {cls.__name__}.")

    @property
    def mode(self) -> Any:
        """The class of `mode=`."""
        return self.class_of("mode")

    @property
    def points(self) -> bool:
        """Whether the data are point clouds."""
        return bool(self.class_of("dataset").kind == "points")

    @property
    def data_text(self) -> str:
        """The data set and its kind, for messages."""
        name = self.cfg.dataset._target_.rpartition(".")[2]
        return f"{name} is a data set of {'point clouds' if self.points else 'images'}"

    def typed(self, pattern: str) -> str | None:
        """Return the first override whose key begins so."""
        return next((o for o in self.overrides if re.match(pattern, o.lstrip("+~"))), None)

    def no_effect(self, typed: str, why: str) -> ConfigError:
        """Return the error for what the mode does not take."""
        mode = self.choices["mode"]
        return ConfigError(f"{typed} would have no effect with mode={mode}{why}.")


def check_mode(request: Request) -> None:
    """Check what does not depend on the network or the data, before a checkpoint is read."""
    cfg = request.cfg
    if unknown := set(cfg.plugins) - set(plugins()):
        raise ConfigError(
            f"plugins={sorted(unknown)}: expected on the command line or in $LEARNSYM_PLUGINS, got "
            "it from a configuration, which cannot allow itself anything."
        )
    mode, name = request.mode, request.choices["mode"]
    on_results = issubclass(mode, ResultsMode)
    needs_runs = on_results and mode.needs_runs
    if cfg.runs and not (needs_runs or (on_results and mode.takes_runs)):
        raise request.no_effect(f"runs={cfg.runs}", "; it goes with mode=report")
    if needs_runs and not cfg.runs:
        raise ConfigError(f"mode={name} needs runs=<pattern>, such as runs='{cfg.paths.out}/*'.")
    if on_results:
        if idle := request.typed(r"(?!(mode|paths|runs|plugins)[.=])"):
            raise request.no_effect(idle, ", which trains nothing")
    elif cfg.checkpoint is not None and not mode.reads_checkpoint:
        raise request.no_effect(f"checkpoint={cfg.checkpoint}", "; it goes with mode=test")
    elif cfg.checkpoint is None and mode.needs_checkpoint:
        raise ConfigError(
            f"mode={name} needs checkpoint=<run directory>/checkpoints/last.pt (or best.pt)."
        )


def check_request(request: Request) -> None:
    """Check a whole configuration; the network is built once for it."""
    check(request.cfg)
    check_effect(request)
    net = check_combination(request)
    _check_augmentation(request)
    _check_analysis(request, net)
    trainer = request.cfg.trainer
    check_processes(trainer.devices, trainer.nodes, in_a_sweep())


def check_effect(request: Request) -> None:
    """Refuse an override of a group, a convolution or a kernel that the network does not take."""
    written = json.dumps(OmegaConf.to_container(request.cfg.net, resolve=False))
    taken = set(re.findall(r"\$\{([\w.]+)\}", written))
    for name, net in NET_WITH.items():
        override = request.typed(rf"{name}[.=@]")
        if override and name not in taken:
            cls = request.cfg.net._target_.rpartition(".")[2]
            raise ConfigError(
                f"{override} would have no effect: {cls} takes no {name}. Try a net that does, "
                f"such as net={net}."
            )


def check_combination(request: Request) -> nn.Module | None:
    """Check what goes together, and build the network; None where that is slow."""
    cfg = request.cfg
    for path in ("dataset", "net", "logger"):
        request.class_of(path)
    _check_group(request)
    if request.points:
        _check_settings_for_points(request)
    request.mode.check_config(cfg)
    net = dry_build(cfg)
    if request.points:
        _check_net_for_points(request, net or build(cfg, "net", **dummy_data_spec(cfg)))
    return net


def _check_augmentation(request: Request) -> None:
    for override in request.overrides:
        key = re.match(r"augmentation\.(\w+)", override.lstrip("+~"))
        if key and key[1] not in request.mode.uses_augmentation:
            advice = f"valid: {', '.join(MODE_OF_KEY)}"
            if key[1] in MODE_OF_KEY:
                advice = f"it goes with mode={MODE_OF_KEY[key[1]]}"
            raise request.no_effect(override, f"; {advice}")


def _check_analysis(request: Request, net: nn.Module | None) -> None:
    """Refuse `analysis` without a training, its group without a distance, unknown layers."""
    from learnsym.analysis.distance import measurable

    cfg, mode = request.cfg, request.mode
    trains = cfg.checkpoint is None and not mode.needs_checkpoint and mode.trains_by_epochs
    if (typed := request.typed(r"analysis\.")) and not trains:
        records = ", which records distances of its own"
        why = " from a checkpoint" if mode.trains_by_epochs else records
        raise request.no_effect(typed, f"{why}; it is measured in training, with mode=train")
    if cfg.analysis.distance_to_equivariance:
        measurable(net or build(cfg, "net", **dummy_data_spec(cfg)))
    elif group := request.typed(r"analysis\.group="):
        without = "without analysis.distance_to_equivariance=true"
        raise ConfigError(f"{group} would have no effect {without}.")


def _check_group(request: Request) -> None:
    """Refuse a group of an Augerino net that does not act on what the data are."""
    from learnsym.nets.augerino import Augerino

    if not issubclass(request.class_of("net"), Augerino):
        return
    group = build(request.cfg, "net.group")
    dimensions = group.generators.shape[-1] - 1
    if dimensions != (3 if request.points else 2):
        space = SPACES.get(dimensions, f"{dimensions} dimensions")
        planar = "affine2, se2, e2, rotation2 or translation2"
        groups = "affine3, se3, so3 or t3" if request.points else planar
        raise ConfigError(
            f"base_group: {type(group).__name__} acts on {space}, but {request.data_text}. Try "
            f"base_group={groups}."
        )


def _check_settings_for_points(request: Request) -> None:
    """Refuse networks, modes and settings that are for images alone."""
    net, distance = request.class_of("net"), "analysis.distance_to_equivariance"
    if getattr(net, "images_only", False):
        reason, advice = f"net: {net.__name__} turns images", "net=augerino or net=lieconv"
    elif request.mode.images_only:
        reason, advice = f"mode={request.choices['mode']} is for images", "mode=train or mode=test"
    elif request.cfg.analysis.distance_to_equivariance:
        reason, advice = f"{distance}=true is for networks on images", f"{distance}=false"
    elif request.cfg.trainer.channels_last:
        reason, advice = "trainer.channels_last=true is for images", "trainer.channels_last=false"
    else:
        return
    raise ConfigError(f"{reason}, but {request.data_text}. Try {advice}.")


@torch.no_grad()
def _check_net_for_points(request: Request, net: nn.Module) -> None:
    """Refuse a network that does not take point clouds [B, N, 3 + C]: two of three points."""
    channels = dummy_data_spec(request.cfg)["in_channels"]
    clouds = torch.linspace(-1, 1, 2 * 3 * (3 + channels)).view(2, 3, -1)
    try:
        with torch.random.fork_rng(devices=[]):
            outputs = net.eval()(clouds)
    except (ValueError, RuntimeError, IndexError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
    else:
        if outputs.ndim == 2 and len(outputs) == 2:
            return
        reason = f"it gives {list(outputs.shape)} for two of them"
    backbone = getattr(net, "backbone", net)
    raise ConfigError(
        f"net: {type(backbone).__name__} does not take point clouds ({reason}), but "
        f"{request.data_text}. Try net=lieconv, or net=augerino net/backbone=lieconv."
    )
