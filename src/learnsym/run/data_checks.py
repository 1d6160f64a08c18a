"""Images or point clouds: what goes with which, said before any data are read."""

from typing import Any

import torch
from omegaconf import DictConfig

from learnsym.config.build import build, imaginary_data, locate
from learnsym.errors import ConfigError

SHAPES = {2: "the plane, that is on images", 3: "space, that is on point clouds"}


def check_kind(cfg: DictConfig, mode: str, mode_class: type) -> None:
    """Refuse groups, networks, modes and settings that the kind of the data does not go with.

    Raises:
        ConfigError: it names the setting, the data and what would be right.
    """
    data = locate("dataset", cfg.dataset._target_)
    points = getattr(data, "kind", "images") == "points"
    what = f"{data.__name__} is a data set of {'point clouds' if points else 'images'}"
    check_group(cfg, points, what)
    if not points:
        return
    if getattr(net := locate("net", cfg.net._target_), "images_only", False):
        raise ConfigError(f"net: {net.__name__} turns images, but {what}; net=augerino or net=lieconv would be right.")
    if getattr(mode_class, "images_only", False):
        raise ConfigError(f"mode={mode} is for images, but {what}; mode=train or mode=test would be right.")
    if cfg.analysis.distance_to_equivariance:
        raise ConfigError(f"analysis.distance_to_equivariance=true is for networks on images, but {what}; false would be right.")
    if cfg.trainer.channels_last:
        raise ConfigError(f"trainer.channels_last=true is for images, but {what}; false would be right.")
    check_net(build(cfg, "net", **imaginary_data(cfg)), data, what)


def check_group(cfg: DictConfig, points: bool, what: str) -> None:
    """The group of an Augerino net acts on what the data are."""
    from learnsym.nets.augerino import Augerino

    if not issubclass(locate("net", cfg.net._target_), Augerino):
        return
    group = build(cfg, "net.group")
    dimensions = group.generators.shape[-1] - 1
    if dimensions != (3 if points else 2):
        right = "affine3, se3, so3 or t3" if points else "affine2, se2, e2, rotation2 or translation2"
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
