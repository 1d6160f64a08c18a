"""Train a network: the loop, tasks, schedules and checkpoints, imported when they are used."""

from importlib import import_module
from typing import Any

_MODULES = {
    "loop": "Progress Recorder Training",
    "schedules": "Constant Cosine Multistep Plateau Schedule",
    "settings": "AugmentationSettings TrainSettings TrainerSettings",
    "tasks": "AbsoluteError Classification Regression Segmentation SquaredError Task task_for",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
