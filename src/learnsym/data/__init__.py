"""Data sets of images and molecules, imported when they are used."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "base": "Data DataInfo ImageData Split",
        "images.cifar": "CIFAR10 CIFAR100",
        "images.digits": "Digits",
        "images.mnist": "FashionMNIST MNIST",
        "images.graphs": "Graphs",
        "images.folder": "ImageFolder",
        "images.mnist6": "MNIST6HalfTurn MNIST6Mirror",
        "images.sprites": "MarioIggy Sprites",
        "molecules.files": "Molecules",
        "images.npz": "NpzImages",
        "images.olivetti": "Olivetti",
        "images.pcam": "PCam",
        "molecules.base": "PointData",
        "molecules.qm9": "QM9",
        "images.rotmnist": "RotMNIST",
        "images.stl10": "STL10",
        "images.shapes": "Shapes",
        "molecules.toy": "ToyMolecules",
    },
)
