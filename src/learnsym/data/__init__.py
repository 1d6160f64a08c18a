"""Data sets of images behind one interface (`base.ImageData`); each is imported only when it is used."""

from importlib import import_module
from typing import Any

_HOME = {
    "DataInfo": "base",
    "ImageData": "base",
    "Split": "base",
    "CIFAR10": "cifar",
    "CIFAR100": "cifar",
    "Digits": "digits",
    "FashionMNIST": "mnist",
    "Graphs": "graphs",
    "ImageFolder": "folder",
    "MNIST": "mnist",
    "MNIST6HalfTurn": "mnist6",
    "MNIST6Mirror": "mnist6",
    "MarioIggy": "mario_iggy",
    "NpzImages": "npz",
    "Olivetti": "olivetti",
    "PCam": "pcam",
    "RotMNIST": "rotmnist",
    "STL10": "stl10",
    "Shapes": "shapes",
    "Sprites": "sprites",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
