"""Which classes a configuration may name.

This project's, networks, optimisers and schedules of torch and torchvision, and those of packages
that the command line names (`plugins=[mylab]`) or the environment ($LEARNSYM_PLUGINS). A
configuration may come from somebody else, inside a checkpoint too, so it cannot allow itself
anything. Among torch's classes are some whose constructor starts a process or reads a file, so a
name that begins with torch is not enough.
"""

import importlib
import os
import re
import sys
from collections.abc import Iterable

from learnsym.errors import ConfigError

FOREIGN = ("torch.nn", "torch.optim", "torchvision.models", "torchvision.ops")
"""Modules of others that are imported where a configuration names them."""
VARIABLE = "LEARNSYM_PLUGINS"
"""Names of packages, separated by commas. Processes that this one starts inherit it."""


def allow_plugins(overrides: Iterable[str]) -> None:
    """Allow the packages of a command line's `plugins=[...]`, in this process and its children.

    They are imported from where Python finds them, and from the current folder.
    """
    for override in overrides:
        if match := re.fullmatch(r"\+{0,2}plugins=\[?([^\[\]]*)\]?", override):
            names = [name.strip(" '\"") for name in match[1].split(",") if name.strip()]
            if wrong := [n for n in names if not n.replace("_", "a").isalnum()]:
                raise ConfigError(f"plugins: expected names of packages, got {wrong[0]}.")
            os.environ[VARIABLE] = ",".join(dict.fromkeys([*plugins(), *names]))
    if plugins() and os.getcwd() not in sys.path:  # as with python -m
        sys.path.append(os.getcwd())


def plugins() -> list[str]:
    """Return the packages of the user's own that may be built from."""
    return [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]


def get_class(path: str, target: str) -> type:
    """Return the class that the `_target_` of the node at `path` names, if it may be built."""
    import torch

    key, allowed = f"{path}._target_={target}", ["learnsym", *plugins()]
    if not isinstance(target, str) or not _inside(target, [*allowed, *FOREIGN]):
        raise _refused(key)
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}: there is no such class ({error}).") from error
    if not isinstance(cls, type):
        raise ConfigError(f"{key}: expected a class, got a {type(cls).__name__}.")
    # What a module has imported from elsewhere is not of that module.
    imported = not _inside(cls.__module__, [target.partition(".")[0]])
    bases = (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    if imported or not (_inside(target, allowed) or issubclass(cls, bases)):
        raise _refused(key)
    return cls


def _inside(name: str, packages: list[str]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def _refused(key: str) -> ConfigError:
    allowed = f" and classes of {', '.join(plugins())}" if plugins() else ""
    return ConfigError(
        f"{key}: only classes of learnsym{allowed}, and networks, optimisers and schedules of "
        f"{', '.join(FOREIGN)}, may be built. Try plugins=[PACKAGE] on the command line for a "
        "package of your own."
    )
