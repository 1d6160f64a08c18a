"""TODO."""

import hashlib
import math
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from learnsym.errors import ConfigError


def register_resolvers() -> None:
    """Make `${softplus:x}` and `${at_scale:full,cpu,smoke}` known to OmegaConf."""
    OmegaConf.register_new_resolver("softplus", lambda raw: math.log1p(math.exp(raw)), replace=True)
    OmegaConf.register_new_resolver("at_scale", _at_scale, replace=True)
    OmegaConf.register_new_resolver("sweep_name", _sweep_name, replace=True)


def _at_scale(full: Any, cpu: Any, smoke: Any, *, _root_: DictConfig) -> Any:
    """The value for the run's scale."""
    choices = {"full": full, "cpu": cpu, "smoke": smoke}
    scale = _root_.get("scale", "full")
    if scale not in choices:
        raise ConfigError(f"scale={scale} is not a scale; valid: {', '.join(choices)}.")
    return choices[scale]


def _sweep_name(overrides: ListConfig) -> str:
    """A readable, repeatable directory name for a sweep: its table or experiment, and a hash of its overrides."""
    typed = [str(o) for o in OmegaConf.to_container(overrides, resolve=False)]
    named = [
        o.split("=", 1)[1]
        for o in typed
        if o.startswith(("table=", "experiment=")) and "," not in o
    ]
    digest = hashlib.sha256(
        "\n".join(sorted(o for o in typed if not o.startswith("fresh="))).encode()
    ).hexdigest()
    return "-".join([*(n.replace("/", "-") for n in named), digest[:8]])
