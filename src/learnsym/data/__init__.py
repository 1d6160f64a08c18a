"""Data sets of images and molecules, imported when they are used."""

from importlib import import_module
from typing import Any

_HOME = {
    "Data": "base",
    "DataInfo": "base",
    "ImageData": "base",
    "Split": "base",
    "CIFAR10": "images.cifar",
    "CIFAR100": "images.cifar",
    "Digits": "images.digits",
    "FashionMNIST": "images.mnist",
    "Graphs": "images.graphs",
    "ImageFolder": "images.folder",
    "MNIST": "images.mnist",
    "MNIST6HalfTurn": "images.mnist6",
    "MNIST6Mirror": "images.mnist6",
    "MarioIggy": "images.sprites",
    "Molecules": "molecules.files",
    "NpzImages": "images.npz",
    "Olivetti": "images.olivetti",
    "PCam": "images.pcam",
    "PointData": "molecules.base",
    "QM9": "molecules.qm9",
    "RotMNIST": "images.rotmnist",
    "STL10": "images.stl10",
    "Shapes": "images.shapes",
    "Sprites": "images.sprites",
    "ToyMolecules": "molecules.toy",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
