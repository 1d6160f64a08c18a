"""What a configuration may not make Hydra do. Needs no torch.

A preset may come from somebody else, and with `@package _global_` it may set Hydra's own settings:
callbacks and logging, which Hydra builds before any of our checks, launchers, and variables of the
environment.
"""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from learnsym.errors import ConfigError

PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")
LOADERS = ("LD_", "DYLD_", "PYTHON", "PATH")
"""How variables begin that decide which code a process runs."""


def guard_hydra() -> None:
    """Check the composed configuration where Hydra first uses it."""
    from hydra._internal import callbacks

    original = callbacks.Callbacks.__init__
    if getattr(original, "guarded", False):
        return

    def guarded(self: Any, config: DictConfig | None = None) -> None:
        if config is not None:
            check_hydra(config)
        original(self, config)

    guarded.guarded = True  # type: ignore[attr-defined]
    callbacks.Callbacks.__init__ = guarded  # type: ignore[method-assign]


def check_hydra(config: DictConfig) -> None:
    """Refuse callbacks that are not ours, launchers that are no plugins, log handlers that are not
    Python's, variables that load code.

    Raises:
        ConfigError: one of them.
    """
    for key, target in _built(
        OmegaConf.select(config, "hydra.callbacks"), "hydra.callbacks", ("_target_",)
    ):
        if not target.startswith("learnsym."):
            raise ConfigError(f"{key}={target}: only callbacks of learnsym may be called.")
    for name in ("hydra.launcher._target_", "hydra.sweeper._target_"):
        if not str(target := OmegaConf.select(config, name)).startswith(PLUGINS):
            raise ConfigError(f"{name}={target}: only plugins of Hydra may be called.")
    for name in ("hydra.job_logging", "hydra.hydra_logging"):
        for key, target in _built(
            OmegaConf.select(config, name), name, ("()", "class", "factory", "_target_")
        ):
            if not target.startswith(("logging.", "colorlog.")):
                raise ConfigError(
                    f"{key}={target}: only classes of Python's logging may be called."
                )
    for variable in OmegaConf.select(config, "hydra.job.env_set") or {}:
        if str(variable).upper().startswith(LOADERS):
            raise ConfigError(
                f"hydra.job.env_set.{variable}: a configuration may not say which code a process loads."
            )


def _built(node: Any, path: str, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Keys of these names anywhere in a node, with what they say."""
    plain = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
    items = (
        plain.items()
        if isinstance(plain, dict)
        else enumerate(plain)
        if isinstance(plain, list)
        else ()
    )
    for key, value in items:
        here = f"{path}.{key}"
        if key in names:
            yield here, str(value)
        yield from _built(value, here, names)
