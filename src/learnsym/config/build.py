"""Objects from a configuration: every node with a `_target_` becomes an instance of that class."""

import inspect
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from learnsym.config.allowed_classes import get_class
from learnsym.errors import ConfigError
from learnsym.schema import PlainDict, PlainMapping

if TYPE_CHECKING:
    from torch import nn


def build(cfg: DictConfig, path: str, **supplied: Any) -> Any:
    """Build the node at a dotted path and all nodes in it, interpolated ones included.

    `cfg` is the whole configuration, so that interpolations resolve. Of what the run supplies
    (in_channels, num_outputs, task, params), each class takes what its constructor names.
    """
    node = OmegaConf.select(cfg, path)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ConfigError(f"{path}: expected a node with a _target_, got {node}.")
    return _build(to_plain(node), path, supplied)


def to_plain(cfg: DictConfig) -> PlainDict:
    """Return a configuration in plain containers, with the values of interpolations."""
    plain: PlainDict = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return plain


def dry_build(cfg: DictConfig) -> "nn.Module | None":
    """Build everything but the data set, so that constructors refuse what they cannot take.

    A class that is slow to build has a static method `check_arguments`, which is called instead.
    Return the network for a data set of two classes; None where it is slow to build.
    """
    import torch

    data, built = dummy_data_spec(cfg), {}
    for path in ("base_group", "conv", "kernel", "trainer", "mode", "logger", "net"):
        built[path] = _build(to_plain(cfg[path]), path, data, dry=True)
    build(cfg, "train", params=[torch.nn.Parameter(torch.zeros(1))])
    return built["net"]


def dummy_data_spec(cfg: DictConfig) -> PlainDict:
    """Return what the data set would supply to a network, with two outputs."""
    cls: Any = get_class("dataset", cfg.dataset["_target_"])
    channels = cls.in_channels if cls.kind == "points" else 3
    task = getattr(cls, "task", "classification")
    return {"in_channels": channels, "num_outputs": 2, "task": task}


def _build(node: Any, path: str, supplied: PlainMapping, dry: bool = False) -> Any:
    if not isinstance(node, dict) or "_target_" not in node:
        return node
    cls: Any = get_class(path, node.pop("_target_"))
    arguments = {k: _build(v, f"{path}.{k}", supplied, dry) for k, v in node.items()}
    names = inspect.signature(cls).parameters
    arguments |= {k: v for k, v in supplied.items() if k in names}
    try:
        if dry and hasattr(cls, "check_arguments"):
            return cls.check_arguments(**arguments)
        return cls(**arguments)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {str(error).rstrip('.')}.") from error
