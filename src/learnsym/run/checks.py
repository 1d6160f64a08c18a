"""Overrides that would have no effect in this mode are refused: silence there ruins experiments."""

import json
import re
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from learnsym.config.allowed_classes import get_class
from learnsym.config.build import build, dummy_data
from learnsym.errors import ConfigError
from learnsym.run.launcher_env import launch_env
from learnsym.run.mode import ResultsMode


def check_checkpoint(cfg: DictConfig, choices: dict[str, str], mode_class: type) -> None:
    """`checkpoint=` goes with the modes that read one."""
    reads, needs = (mode_class.reads_checkpoint, mode_class.needs_checkpoint)
    if cfg.checkpoint is not None and not reads:
        raise ConfigError(
            f"checkpoint={cfg.checkpoint} would have no effect with mode={choices['mode']}; it goes with mode=test."
        )
    if cfg.checkpoint is None and needs:
        raise ConfigError(
            f"mode={choices['mode']} needs checkpoint=<run directory>/checkpoints/last.pt (or best.pt)."
        )


def check_runs(
    cfg: DictConfig, overrides: list[str], choices: dict[str, str], mode_class: type
) -> None:
    """`runs=` goes with the modes that read runs; what a run is made of has no effect on a mode
    that works on results.
    """
    on_results = issubclass(mode_class, ResultsMode)
    needs = on_results and mode_class.needs_runs
    if cfg.runs and not needs and not (on_results and mode_class.takes_runs):
        raise ConfigError(
            f"runs={cfg.runs} would have no effect with mode={choices['mode']}; it goes with mode=report."
        )
    if needs and not cfg.runs:
        raise ConfigError(
            f"mode={choices['mode']} needs runs=<pattern>, such as runs='{cfg.paths.out}/*'."
        )
    if on_results:
        for override in overrides:
            if not re.match(r"[+~]*(mode|paths|runs)[.=]", override):
                raise ConfigError(
                    f"{override} would have no effect with mode={choices['mode']}, which trains nothing."
                )


def check_augmentation(overrides: list[str], choices: dict[str, str], mode_class: type) -> None:
    """Each key of `augmentation` goes with one mode."""
    uses = {"passes": "dynamics", "batching": "drift"}
    for override in overrides:
        key = re.match(r"[+~]*augmentation\.(\w+)", override)
        if key and key[1] not in mode_class.uses_augmentation:
            right = (
                f"it goes with mode={uses[key[1]]}"
                if key[1] in uses
                else f"valid: {', '.join(uses)}"
            )
            raise ConfigError(
                f"{override} would have no effect with mode={choices['mode']}; {right}."
            )


def check_analysis(
    cfg: DictConfig, overrides: list[str], choices: dict[str, str], mode_class: type
) -> None:
    """`analysis` goes with a mode that trains, its group with a distance, a distance with layers
    that it is known for.
    """
    from learnsym.analysis.distance import measurable

    typed = [o for o in overrides if re.match(r"[+~]*analysis\.", o)]
    idle = [o for o in typed if re.match(r"[+~]*analysis\.group=", o)]
    by_epochs = mode_class.trains_by_epochs
    if typed and (cfg.checkpoint is not None or mode_class.needs_checkpoint or not by_epochs):
        why = " from a checkpoint" if by_epochs else ", which records distances of its own"
        raise ConfigError(
            f"{typed[0]} would have no effect with mode={choices['mode']}{why}; it is measured in training, with mode=train."
        )
    if cfg.analysis.distance_to_equivariance:
        measurable(build(cfg, "net", **dummy_data(cfg)))
    elif idle:
        raise ConfigError(
            f"{idle[0]} would have no effect without analysis.distance_to_equivariance=true."
        )


TAKES = {"base_group": "augerino", "conv": "ckresnet", "kernel": "ckresnet"}


def check_effect(cfg: DictConfig, overrides: list[str]) -> None:
    """Refuse an override of an ingredient (a group, a convolution, a kernel) that the network does
    not take.
    """
    interpolations = set(
        re.findall(r"\$\{([\w.]+)\}", json.dumps(OmegaConf.to_container(cfg.net, resolve=False)))
    )
    for name in ("base_group", "conv", "kernel"):
        touched = next((o for o in overrides if re.match(rf"[+~]*{name}[.=@]", o)), None)
        if touched and name not in interpolations:
            net = cfg.net._target_.rpartition(".")[2]
            raise ConfigError(
                f"{touched} would have no effect: {net} takes no {name}; choose a net that does, such as net={TAKES[name]}."
            )


SHAPES = {2: "the plane, that is on images", 3: "space, that is on point clouds"}


def check_kind(cfg: DictConfig, mode: str, mode_class: type) -> None:
    """Refuse groups, networks, modes and settings that the kind of the data does not go with.

    Raises:
        ConfigError: it names the setting, the data and what would be right.
    """
    data = get_class("dataset", cfg.dataset._target_)
    points = getattr(data, "kind", "images") == "points"
    what = f"{data.__name__} is a data set of {'point clouds' if points else 'images'}"
    check_group(cfg, points, what)
    if not points:
        return
    if getattr(net := get_class("net", cfg.net._target_), "images_only", False):
        raise ConfigError(
            f"net: {net.__name__} turns images, but {what}; net=augerino or net=lieconv would be right."
        )
    if mode_class.images_only:
        raise ConfigError(
            f"mode={mode} is for images, but {what}; mode=train or mode=test would be right."
        )
    if cfg.analysis.distance_to_equivariance:
        raise ConfigError(
            f"analysis.distance_to_equivariance=true is for networks on images, but {what}; false would be right."
        )
    if cfg.trainer.channels_last:
        raise ConfigError(
            f"trainer.channels_last=true is for images, but {what}; false would be right."
        )
    check_net(build(cfg, "net", **dummy_data(cfg)), data, what)


def check_group(cfg: DictConfig, points: bool, what: str) -> None:
    """The group of an Augerino net acts on what the data are."""
    from learnsym.nets.augerino import Augerino

    if not issubclass(get_class("net", cfg.net._target_), Augerino):
        return
    group = build(cfg, "net.group")
    dimensions = group.generators.shape[-1] - 1
    if dimensions != (3 if points else 2):
        right = (
            "affine3, se3, so3 or t3" if points else "affine2, se2, e2, rotation2 or translation2"
        )
        raise ConfigError(
            f"base_group: {type(group).__name__} acts on {SHAPES.get(dimensions, f'{dimensions} dimensions')}, but {what}; "
            f"base_group={right} would be right."
        )


@torch.no_grad()
def check_net(net: Any, data: Any, what: str) -> None:
    """The network takes point clouds [B, N, 3 + C]: two of three points are tried."""
    cloud = torch.linspace(-1, 1, 2 * 3 * (3 + data.in_channels)).view(2, 3, -1)
    try:
        with torch.random.fork_rng(devices=[]):
            outputs = net.eval()(cloud)
    except (ValueError, RuntimeError, IndexError) as error:
        outputs, reason = None, str(error).partition("\n")[0].rstrip(".")
    if outputs is None or outputs.ndim != 2 or len(outputs) != 2:
        found = reason if outputs is None else f"it gives {list(outputs.shape)} for two of them"
        backbone = getattr(net, "backbone", net)
        raise ConfigError(
            f"net: {type(backbone).__name__} does not take point clouds ({found}), but {what}; net=lieconv, or net=augerino "
            "net/backbone=lieconv, would be right."
        )


def check_processes(devices: int, nodes: int, in_a_sweep: bool) -> None:
    """`trainer.devices` and `trainer.nodes` against the processes that there are.

    Raises:
        ConfigError: others have been started than the configuration says, or none for several
            nodes.
    """
    here = launch_env()
    asked = f"trainer.devices={devices} trainer.nodes={nodes}"
    if here.shared and in_a_sweep:
        raise ConfigError(
            f"-m: {here.starter} starts the processes of a single run; a sweep is started without it."
        )
    if not here.shared:
        if nodes > 1:
            raise ConfigError(
                f"trainer.nodes={nodes}: the processes of several nodes are started by torchrun --nnodes={nodes} or srun "
                f"--nodes={nodes}, and this one is alone; trainer.nodes=1 would be right."
            )
        if here.starter == "torchrun" and devices > 1:
            raise ConfigError(
                f"{asked}: torchrun has started one process; torchrun --nproc-per-node={devices}, or no torchrun, would be right."
            )
        return
    each, rest = divmod(here.processes, here.nodes)
    if rest:
        raise ConfigError(
            f"{here.starter} has started {here.processes} processes on {here.nodes} nodes; as many on each would be right."
        )
    if (devices, nodes) != (each, here.nodes):
        raise ConfigError(
            f"{asked}: {here.starter} has started {here.processes} processes on {here.nodes} node{'s' * (here.nodes > 1)}; "
            f"trainer.devices={each} trainer.nodes={here.nodes} would be right."
        )
