"""What YAML may compute: `${softplus:x}`, `${at_scale:full,cpu,smoke}`, `${sweep_name:...}`."""

import hashlib
import math
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from learnsym.errors import ConfigError


def register_resolvers() -> None:
    """Make the resolvers known to OmegaConf."""
    OmegaConf.register_new_resolver("softplus", _softplus, replace=True)
    OmegaConf.register_new_resolver("at_scale", _at_scale, replace=True)
    OmegaConf.register_new_resolver("sweep_name", _sweep_name, replace=True)


def _softplus(raw: float) -> float:
    return math.log1p(math.exp(raw))


def _at_scale(full: object, cpu: object, smoke: object, *, _root_: DictConfig) -> object:
    """Return the value for the run's scale."""
    choices = {"full": full, "cpu": cpu, "smoke": smoke}
    scale = _root_.get("scale", "full")
    if scale not in choices:
        raise ConfigError(f"scale={scale} is not a scale; valid: {', '.join(choices)}.")
    return choices[scale]


def _sweep_name(overrides: ListConfig) -> str:
    """Return a repeatable name: the sweep's table or experiment, and a hash of its overrides."""
    written: Any = OmegaConf.to_container(overrides, resolve=False)
    words = [str(word) for word in written]
    presets = [
        word.split("=", 1)[1].replace("/", "-")
        for word in words
        if word.startswith(("table=", "experiment=")) and "," not in word
    ]
    content = "\n".join(sorted(word for word in words if not word.startswith("fresh=")))
    return "-".join([*presets, hashlib.sha256(content.encode()).hexdigest()[:8]])
