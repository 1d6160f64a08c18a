"""Do one run: its checks, directory, processes and result; imported when they are used."""

from importlib import import_module
from typing import Any

_MODULES = {
    "context": "RunContext",
    "directory": "RunDirectory",
    "loggers": "Jsonl Logger TensorBoard Wandb",
    "mode": "Mode Outcome ResultsMode",
    "trained": "TrainedModel load",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
