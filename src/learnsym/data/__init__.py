"""Data sets of images and of molecules behind one interface (`base.Data`); each is imported only when it is used."""

from importlib import import_module
from typing import Any

_HOME = {
    "Data": "base",
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
    "Molecules": "molecules",
    "NpzImages": "npz",
    "Olivetti": "olivetti",
    "PCam": "pcam",
    "PointData": "points",
    "QM9": "qm9",
    "RotMNIST": "rotmnist",
    "STL10": "stl10",
    "Shapes": "shapes",
    "Sprites": "sprites",
    "ToyMolecules": "toy_molecules",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
