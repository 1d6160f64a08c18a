"""Which classes a configuration may name: this project's, and networks, optimisers and schedules of
torch and torchvision.

A configuration may come from somebody else, inside a checkpoint too. Among torch's many classes are
some whose constructor starts a process or reads a file, so it is not enough that a name begins with
torch.
"""

import importlib

from learnsym.errors import ConfigError

OWN = "learnsym."
FOREIGN = ("torch.nn.", "torch.optim.", "torchvision.models.", "torchvision.ops.")
"""Modules of others that are imported where a configuration names them."""


def get_class(path: str, target: str) -> type:
    """The class that a `_target_` names.

    Args:
        path: of the node that names it, for the sentence.
        target: module and class.

    Raises:
        ConfigError: there is no such class, or none that may be built.
    """
    here = f"{path}._target_={target}"
    if not isinstance(target, str) or not target.startswith((OWN, *FOREIGN)):
        raise _refused(here)
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{here}: there is no such class ({error}).") from error
    if not isinstance(found, type):
        raise ConfigError(f"{here}: that is not a class, and only classes may be built.")
    package = target.partition(".")[0]
    if not found.__module__.startswith(
        f"{package}."
    ):  # what the module has imported from elsewhere
        raise _refused(here)
    if package != "learnsym" and not issubclass(found, _kinds()):
        raise _refused(here)
    return found


def _kinds() -> tuple[type, ...]:
    import torch

    return torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler


def _refused(here: str) -> ConfigError:
    foreign = ", ".join(name.rstrip(".") for name in FOREIGN)
    return ConfigError(
        f"{here}: only classes of learnsym, and networks, optimisers and schedules of {foreign}, may be built."
    )
