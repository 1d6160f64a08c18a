"""What YAML may compute: `${softplus:x}`, `${at_scale:full,cpu,smoke}`, `${sweep_name:...}`."""

import hashlib
import math

from omegaconf import DictConfig, ListConfig, OmegaConf

from learnsym.errors import ConfigError


def register_resolvers() -> None:
    """Make the resolvers known to OmegaConf."""
    for resolver in (_softplus, _at_scale, _sweep_name):
        OmegaConf.register_new_resolver(resolver.__name__[1:], resolver, replace=True)


def _softplus(raw: float) -> float:
    return math.log1p(math.exp(raw))


def _at_scale(full: object, cpu: object, smoke: object, *, _root_: DictConfig) -> object:
    choices = {"full": full, "cpu": cpu, "smoke": smoke}
    scale = _root_.get("scale", "full")
    if scale not in choices:
        raise ConfigError(f"scale={scale} is not a scale; valid: {', '.join(choices)}.")
    return choices[scale]


def _sweep_name(overrides: ListConfig) -> str:
    """Return a repeatable name: the sweep's table or experiment, and a hash of its overrides."""
    words = [str(word) for word in OmegaConf.to_container(overrides, resolve=False) or ()]
    presets = [word for word in words if word.startswith(("table=", "experiment="))]
    names = [word.partition("=")[2].replace("/", "-") for word in presets if "," not in word]
    content = "\n".join(sorted(word for word in words if not word.startswith("fresh=")))
    return "-".join([*names, hashlib.sha256(content.encode()).hexdigest()[:8]])
