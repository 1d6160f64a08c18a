"""Data sets of images."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "base": "SplitImages RotatedImages PublishedImages",
        "cifar": "CIFAR10 CIFAR100",
        "digits": "Digits",
        "folder": "ImageFolder read_picture",
        "graphs": "Graphs block_graphs connected",
        "mnist": "IdxImages MNIST FashionMNIST resize",
        "mnist6": "MNIST6 MNIST6HalfTurn MNIST6Mirror",
        "npz": "NpzImages",
        "olivetti": "Olivetti centre_crop fetch_faces",
        "pcam": "PCam",
        "rotmnist": "RotMNIST",
        "shapes": "Shapes is_absent draw_shapes render",
        "sprite_drawings": "draw_snail draw_bird",
        "sprites": "SpriteImages Sprites MarioIggy read_sprites",
        "stl10": "STL10",
    },
)
