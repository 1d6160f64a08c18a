"""From YAML to objects: resolvers, the check of every name, type and choice against constructor
signatures, and `build`.

The constructor's signature is the schema. `check` needs no GPU, reads no data and builds no
network, so a mistake costs seconds.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from learnsym.config.allowed_classes import get_class
from learnsym.errors import ConfigError

# --- checking


# --- rules across groups


def dry_build(cfg: DictConfig) -> None:
    """Build what costs nothing, for an imaginary data set, so that constructors refuse what their
    signatures cannot say.

    A class that is slow to build has a static method `check_arguments`, which is called instead.

    Raises:
        ConfigError: a constructor refuses its arguments.
    """
    import torch

    parameter = [torch.nn.Parameter(torch.zeros(1))]
    data = dummy_data(cfg)
    for path in ("base_group", "conv", "kernel", "trainer", "mode", "logger", "net"):
        _build(OmegaConf.to_container(cfg[path], resolve=True), path, data, rehearsal=True)
    build(cfg, "train", params=parameter)


def dummy_data(cfg: DictConfig) -> dict[str, Any]:
    """What a data set would supply to a network."""
    cls = get_class("dataset", cfg.dataset["_target_"])
    channels = cls.in_channels if getattr(cls, "kind", "images") == "points" else 3
    return {
        "in_channels": channels,
        "num_outputs": 2,
        "task": getattr(cls, "task", "classification"),
    }


# --- building


def build(cfg: DictConfig, path: str, **supplied: Any) -> Any:
    """Build the node at `path` and all nodes in it, interpolated ones included.

    Args:
        cfg: the whole configuration (so that interpolations resolve).
        path: dotted path of a node with a `_target_`.
        supplied: what the run supplies (in_channels, num_outputs, task, params); each class takes
            those that it names.

    Raises:
        ConfigError: a constructor refuses its arguments.
    """
    node = OmegaConf.select(cfg, path)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ConfigError(f"{path}: nothing to build here; it needs a _target_.")
    return _build(OmegaConf.to_container(node, resolve=True), path, supplied)


def _build(node: Any, path: str, supplied: Mapping[str, Any], rehearsal: bool = False) -> Any:
    if not isinstance(node, dict) or "_target_" not in node:
        return node
    cls = get_class(path, node["_target_"])
    names = inspect.signature(cls).parameters
    arguments = {
        k: _build(v, f"{path}.{k}", supplied, rehearsal) for k, v in node.items() if k != "_target_"
    }
    arguments |= {k: v for k, v in supplied.items() if k in names}
    try:
        if rehearsal and hasattr(cls, "check_arguments"):
            cls.check_arguments(**arguments)
            return None
        return cls(**arguments)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {str(error).rstrip('.')}.") from error
