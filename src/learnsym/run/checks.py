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
    """What a user asks for.

    Attributes:
        cfg: the composed configuration, unresolved.
        overrides: as typed.
        choices: the option of every config group.
    """

    cfg: DictConfig
    overrides: list[str]
    choices: dict[str, str]

    @property
    def mode(self) -> type[Mode] | type[ResultsMode]:
        """The class of `mode=`."""
        cls = get_class("mode", self.cfg.mode._target_)
        if issubclass(cls, Mode) or issubclass(cls, ResultsMode):
            return cls
        raise _wrong_base("mode", cls)

    @property
    def run_mode(self) -> type[Mode]:
        """The class of `mode=`, which works with a network."""
        cls = self.mode
        assert issubclass(cls, Mode)
        return cls

    @property
    def points(self) -> bool:
        """Whether the data are point clouds."""
        data: Any = get_class("dataset", self.cfg.dataset._target_)
        return bool(data.kind == "points")

    @property
    def data_text(self) -> str:
        """The data set and its kind, for messages."""
        name = self.cfg.dataset._target_.rpartition(".")[2]
        return f"{name} is a data set of {'point clouds' if self.points else 'images'}"

    def typed(self, pattern: str) -> str | None:
        """Return the first override whose key begins so."""
        return next((o for o in self.overrides if re.match(rf"[+~]*(?:{pattern})", o)), None)


def check_mode(request: Request) -> None:
    """Check what does not depend on the network or the data, before a checkpoint is read."""
    for refuse in (_check_plugins, _check_runs, _check_checkpoint):
        refuse(request)


def check_request(request: Request) -> None:
    """Check a whole configuration; the network is built once for it.

    Raises:
        ConfigError: for the first thing that is wrong.
    """
    check(request.cfg)
    check_effect(request)
    net = check_combination(request)
    _check_augmentation(request)
    _check_analysis(request, net)
    trainer = request.cfg.trainer
    check_processes(trainer.devices, trainer.nodes, in_a_sweep())


def check_combination(request: Request) -> nn.Module | None:
    """Check what goes together, and build the network; None where that is slow."""
    cfg = request.cfg
    for path in ("dataset", "net", "logger"):
        cls = get_class(path, cfg[path]._target_)
        if not issubclass(cls, BASES[path]):
            raise _wrong_base(path, cls)
    _check_group(request)
    if request.points:
        _check_settings_for_points(request)
    request.run_mode.check_config(cfg)
    net = dry_build(cfg)
    if request.points:
        _check_net_for_points(request, net or build(cfg, "net", **dummy_data_spec(cfg)))
    return net


def _wrong_base(path: str, cls: type) -> ConfigError:
    bases = " or ".join(f"{base.__module__}.{base.__name__}" for base in BASES[path])
    return ConfigError(f"{path}: expected a subclass of {bases}, got {cls.__name__}.")


# --- what a mode takes


def _check_plugins(request: Request) -> None:
    """Refuse packages that a preset names: only the command line and the environment may."""
    if unknown := set(request.cfg.plugins) - set(plugins()):
        raise ConfigError(
            f"plugins={sorted(unknown)}: expected on the command line or in $LEARNSYM_PLUGINS, got "
            "it from a configuration, which cannot allow itself anything."
        )


def _check_runs(request: Request) -> None:
    cfg, mode, name = request.cfg, request.mode, request.choices["mode"]
    on_results = issubclass(mode, ResultsMode)
    needs = issubclass(mode, ResultsMode) and mode.needs_runs
    takes = issubclass(mode, ResultsMode) and mode.takes_runs
    if cfg.runs and not needs and not takes:
        raise ConfigError(
            f"runs={cfg.runs} would have no effect with mode={name}; it goes with mode=report."
        )
    if needs and not cfg.runs:
        raise ConfigError(f"mode={name} needs runs=<pattern>, such as runs='{cfg.paths.out}/*'.")
    allowed = r"[+~]*(mode|paths|runs|plugins)[.=]"
    idle = next((o for o in request.overrides if not re.match(allowed, o)), None)
    if on_results and idle:
        raise ConfigError(f"{idle} would have no effect with mode={name}, which trains nothing.")


def _check_checkpoint(request: Request) -> None:
    cfg, mode, name = request.cfg, request.mode, request.choices["mode"]
    if issubclass(mode, ResultsMode):
        return
    if cfg.checkpoint is not None and not mode.reads_checkpoint:
        raise ConfigError(
            f"checkpoint={cfg.checkpoint} would have no effect with mode={name}; it goes with "
            "mode=test."
        )
    if cfg.checkpoint is None and mode.needs_checkpoint:
        raise ConfigError(
            f"mode={name} needs checkpoint=<run directory>/checkpoints/last.pt (or best.pt)."
        )


def _check_augmentation(request: Request) -> None:
    for override in request.overrides:
        key = re.match(r"[+~]*augmentation\.(\w+)", override)
        if key and key[1] not in request.run_mode.uses_augmentation:
            advice = f"valid: {', '.join(MODE_OF_KEY)}"
            if key[1] in MODE_OF_KEY:
                advice = f"it goes with mode={MODE_OF_KEY[key[1]]}"
            raise ConfigError(
                f"{override} would have no effect with mode={request.choices['mode']}; {advice}."
            )


def _check_analysis(request: Request, net: nn.Module | None) -> None:
    """Refuse `analysis` without a training, its group without a distance, unknown layers."""
    from learnsym.analysis.distance import measurable

    cfg, mode = request.cfg, request.run_mode
    typed = request.typed(r"analysis\.")
    trains = cfg.checkpoint is None and not mode.needs_checkpoint and mode.trains_by_epochs
    if typed and not trains:
        why = ", which records distances of its own"
        if mode.trains_by_epochs:
            why = " from a checkpoint"
        raise ConfigError(
            f"{typed} would have no effect with mode={request.choices['mode']}{why}; it is "
            "measured in training, with mode=train."
        )
    if cfg.analysis.distance_to_equivariance:
        measurable(net or build(cfg, "net", **dummy_data_spec(cfg)))
    elif group := request.typed(r"analysis\.group="):
        raise ConfigError(
            f"{group} would have no effect without analysis.distance_to_equivariance=true."
        )


# --- what goes together


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


def _check_group(request: Request) -> None:
    """Refuse a group of an Augerino net that does not act on what the data are."""
    from learnsym.nets.augerino import Augerino

    cfg = request.cfg
    if not issubclass(get_class("net", cfg.net._target_), Augerino):
        return
    group = build(cfg, "net.group")
    dimensions = group.generators.shape[-1] - 1
    if dimensions != (3 if request.points else 2):
        space = SPACES.get(dimensions, f"{dimensions} dimensions")
        groups = "affine2, se2, e2, rotation2 or translation2"
        if request.points:
            groups = "affine3, se3, so3 or t3"
        raise ConfigError(
            f"base_group: {type(group).__name__} acts on {space}, but {request.data_text}. Try "
            f"base_group={groups}."
        )


def _check_settings_for_points(request: Request) -> None:
    """Refuse networks, modes and settings that are for images alone."""
    cfg = request.cfg
    net: Any = get_class("net", cfg.net._target_)
    refusals: tuple[tuple[bool, str, str], ...] = (
        (
            getattr(net, "images_only", False),
            f"net: {net.__name__} turns images",
            "net=augerino or net=lieconv",
        ),
        (
            request.run_mode.images_only,
            f"mode={request.choices['mode']} is for images",
            "mode=train or mode=test",
        ),
        (
            cfg.analysis.distance_to_equivariance,
            "analysis.distance_to_equivariance=true is for networks on images",
            "analysis.distance_to_equivariance=false",
        ),
        (
            cfg.trainer.channels_last,
            "trainer.channels_last=true is for images",
            "trainer.channels_last=false",
        ),
    )
    for refused, reason, advice in refusals:
        if refused:
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
