"""Data sets of images and molecules, imported when they are used."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "base": "Data DataInfo ImageData Split",
        "images.cifar": "CIFAR10 CIFAR100",
        "images.digits": "Digits",
        "images.folder": "ImageFolder",
        "images.graphs": "Graphs",
        "images.mnist": "FashionMNIST MNIST",
        "images.mnist6": "MNIST6HalfTurn MNIST6Mirror",
        "images.npz": "NpzImages",
        "images.olivetti": "Olivetti",
        "images.pcam": "PCam",
        "images.rotmnist": "RotMNIST",
        "images.shapes": "Shapes",
        "images.sprites": "MarioIggy Sprites",
        "images.stl10": "STL10",
        "molecules.base": "PointData",
        "molecules.files": "Molecules",
        "molecules.qm9": "QM9",
        "molecules.toy": "ToyMolecules",
    },
)
