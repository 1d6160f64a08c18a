"""What a configuration may not make Hydra do. Needs no torch.

A preset may come from somebody else, and with `@package _global_` it may set Hydra's own settings:
callbacks and logging, which Hydra builds before any of our checks, launchers, and variables of the
environment.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from learnsym.config.allowed_classes import VARIABLE
from learnsym.errors import ConfigError

_PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")
_LOADERS = ("LD_", "DYLD_", "PYTHON", "PATH", VARIABLE)
"""How variables begin that decide which code a process runs."""
_BUILT_BY_LOGGING = ["()", "class", "factory", "_target_"]


def guard_hydra() -> None:
    """Check the composed configuration where Hydra first uses it."""
    from hydra._internal import callbacks

    original = callbacks.Callbacks.__init__
    if hasattr(original, "guarded"):
        return

    def guarded(self: Any, config: DictConfig | None = None) -> None:
        if config is not None:
            check_hydra(config)
        original(self, config)

    guarded.guarded = True  # type: ignore[attr-defined]
    callbacks.Callbacks.__init__ = guarded  # type: ignore[method-assign]


def check_hydra(config: DictConfig) -> None:
    """Refuse what would run somebody else's code.

    That is a callback that is not ours, a launcher that is no plugin, a log handler that is not
    Python's, a variable that loads code.
    """
    for key, target in _targets(config, "hydra.callbacks", ["_target_"]):
        if not target.startswith("learnsym."):
            raise ConfigError(f"{key}={target}: only callbacks of learnsym may be called.")
    for name in ("hydra.launcher._target_", "hydra.sweeper._target_"):
        if not str(target := OmegaConf.select(config, name)).startswith(_PLUGINS):
            raise ConfigError(f"{name}={target}: only plugins of Hydra may be called.")
    for name in ("hydra.job_logging", "hydra.hydra_logging"):
        for key, target in _targets(config, name, _BUILT_BY_LOGGING):
            if not target.startswith(("logging.", "colorlog.")):
                raise ConfigError(f"{key}={target}: only Python's logging may be called.")
    for variable in OmegaConf.select(config, "hydra.job.env_set") or {}:
        if str(variable).upper().startswith(_LOADERS):
            raise ConfigError(
                f"hydra.job.env_set.{variable}: a configuration may not say which code a process "
                "loads."
            )


def _targets(config: Any, path: str, names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield keys of these names anywhere in a node, interpolated ones too, with their values."""
    nodes = [(path, OmegaConf.select(config, path))]
    for above, node in nodes:  # to which those inside are added
        keys = range(len(node)) if isinstance(node, ListConfig) else node
        for key in keys if OmegaConf.is_config(node) else ():
            plain: Any = OmegaConf.to_container(node)
            inner = plain[key]
            with suppress(OmegaConfBaseException):
                inner = node[key]
            # What cannot be resolved yet may become a node: a text around it makes it a text.
            unknown = isinstance(inner, str) and inner.startswith("${") and inner.endswith("}")
            if key in names or unknown:
                yield f"{above}.{key}", str(inner)
            if not any(inner is known for _, known in nodes):
                nodes.append((f"{above}.{key}", inner))
