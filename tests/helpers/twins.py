"""Synthetic twins of the data sets: small files of the same form, made by integer arithmetic: every
machine has the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def pictures(
    count: int, channels: int, side: int, classes: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw smooth pictures [count, channels, side, side], uint8, and labels [count].

    A bright row says the class.
    """
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 200, (count, channels, side // 4 + 2, side // 4 + 2), dtype=np.int64)
    fine = coarse.repeat(4, axis=2).repeat(4, axis=3)
    for axis in (2, 3):  # a moving average of five pixels
        fine = sum(np.roll(fine, shift, axis) for shift in range(-2, 3)) // 5
    fine = fine[..., 2 : side + 2, 2 : side + 2].copy()
    labels = draw.permutation(count) % classes
    fine[np.arange(count), :, labels * side // classes] += 50
    return fine.astype(np.uint8), labels


def archive(
    folder: Path,
    name: str,
    channels: int,
    side: int,
    classes: int,
    train: int = 520,
    test: int = 420,
) -> list[str]:
    """Write a .npz with training and test images; return the override that reads it."""
    path = folder / f"{name}.npz"
    if not path.exists():
        arrays = {}
        for seed, (split, count) in enumerate((("train", train), ("test", test))):
            arrays[f"images_{split}"], arrays[f"labels_{split}"] = pictures(
                count, channels, side, classes, seed
            )
        np.savez(path, **arrays)
    return [f"dataset.file={path}"]


def digits(folder: Path) -> list[str]:
    """Of MNIST, Fashion-MNIST and MNIST-rot."""
    return archive(folder, "digits", 1, 28, 10)


def sixes(folder: Path) -> list[str]:
    """Of the two sets of sixes."""
    path = folder / "sixes.npz"
    if not path.exists():
        images, labels = pictures(250, 1, 28, 10)
        np.savez(path, images=images, labels=np.full_like(labels, 6))
    return [f"dataset.file={path}", "dataset.test_fraction=0.5"]


def sprites(folder: Path) -> list[str]:
    """Of Mario and Iggy."""
    path = folder / "two_sprites.npz"
    if not path.exists():
        images, _ = pictures(2, 3, 32, 4)
        np.savez(path, mario=images[:1] / 255, iggy=images[1:] / 255)
    return [f"dataset.file={path}"]


def faces(folder: Path) -> list[str]:
    """Of the Olivetti faces: 40 people, 10 pictures each."""
    path = folder / "faces.npz"
    if not path.exists():
        np.savez(path, images=pictures(400, 1, 64, 4)[0][:, 0], labels=np.arange(400) // 10)
    return [f"dataset.file={path}"]


def patches(folder: Path) -> list[str]:
    """Of PatchCamelyon: six HDF5 files."""
    import h5py

    home = folder / "pcam"
    if not home.exists():
        home.mkdir()
        for seed, (split, count) in enumerate((("train", 110), ("valid", 60), ("test", 110))):
            images, labels = pictures(count, 3, 96, 2, seed)
            for key, array in (
                ("x", images.transpose(0, 2, 3, 1)),
                ("y", labels[:, None, None, None]),
            ):
                with h5py.File(home / f"camelyonpatch_level_2_split_{split}_{key}.h5", "w") as file:
                    file.create_dataset(key, data=array)
    return [f"paths.data={folder}"]


def molecules(folder: Path) -> list[str]:
    """Molecules as those of `dataset=toy_molecules`, in a file; their energies stand for homo and
    lumo."""
    from learnsym.data.molecules.toy import draw_molecules, toy_energy
    from learnsym.utils.rng import generator

    path = folder / "molecules.npz"
    if not path.exists():
        charges, positions = draw_molecules(200, generator(0, "twin"))
        energies = toy_energy(charges, positions).numpy() / 27211.386
        np.savez(
            path,
            charges=charges.numpy(),
            positions=positions.numpy(),
            homo=energies,
            lumo=-energies,
        )
    return [f"dataset.file={path}"]


def folder_of_pictures(folder: Path) -> list[str]:
    """A folder with a sub-folder of pictures for each of three classes."""
    from PIL import Image

    home = folder / "pictures"
    if not home.exists():
        for number, (picture, label) in enumerate(zip(*pictures(30, 3, 32, 3), strict=True)):
            (home / f"class{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.transpose(1, 2, 0)).save(
                home / f"class{label}" / f"{number}.png"
            )
    return [f"dataset.path={home}", "dataset.size=32"]


TWINS: dict[str, Callable[[Path], list[str]]] = {
    "cifar10": lambda folder: archive(folder, "ten_photographs", 3, 32, 10),
    "cifar100": lambda folder: archive(folder, "hundred_photographs", 3, 32, 100),
    "fashion_mnist": digits,
    "folder": folder_of_pictures,
    "mario_iggy": sprites,
    "mnist": digits,
    "mnist6_180": sixes,
    "mnist6_m": sixes,
    "molecules": molecules,
    "npz": lambda folder: archive(folder, "own", 3, 32, 3, 60, 30),
    "olivetti": faces,
    "pcam": patches,
    "qm9": lambda folder: ["dataset=molecules", *molecules(folder)],
    "rotmnist": digits,
    "stl10": lambda folder: archive(folder, "large_photographs", 3, 96, 10, 160, 110),
}
"""Of each data set that reads files, what writes them to a folder, once, and gives the overrides
that read them. The twin of QM9 is read by dataset=molecules: torch-geometric's own files cannot be
made without it."""
