"""Synthetic twins of the canonical files, so that every loader is tested without the real data; and
where the real data are."""

import gzip
import hashlib
import pickle
import struct

import numpy as np
import pytest

CIFAR_FILES = {
    "CIFAR10": (
        "cifar-10-batches-py",
        [f"data_batch_{k}" for k in range(1, 6)],
        ["test_batch"],
        "batches.meta",
        "label_names",
    ),
    "CIFAR100": ("cifar-100-python", ["train"], ["test"], "meta", "fine_label_names"),
}


def blobs(count, channels, side, classes, seed=0):
    """Random bytes as pictures [count, channels, side, side], and labels in which every class
    occurs."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, channels, side, side), dtype=np.uint8), (
        np.arange(count) % classes
    ).astype(np.uint8)


def idx_bytes(array):
    return (
        bytes((0, 0, 8, array.ndim))
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def write_idx(folder, count=(30, 20), zipped=True):
    """The four files of MNIST with a few random digits; returns what is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for seed, (part, size) in enumerate(zip(("train", "t10k"), count, strict=True)):
        images, labels = blobs(size, 1, 28, 10, seed)
        for name, array in (
            (f"{part}-images-idx3-ubyte", images[:, 0]),
            (f"{part}-labels-idx1-ubyte", labels),
        ):
            content = idx_bytes(array)
            path = folder / (f"{name}.gz" if zipped else name)
            path.write_bytes(gzip.compress(content) if zipped else content)
        made[part] = images, labels
    return made


def write_cifar(folder, kind, monkeypatch, per_file=6):
    """The pickles of CIFAR with random pictures, torchvision's checksums set to theirs; returns the
    pictures by file."""
    import torchvision.datasets

    canonical = getattr(torchvision.datasets, kind)
    base, train, test, meta, names_key = CIFAR_FILES[kind]
    (folder / base).mkdir(parents=True)
    label_key = "labels" if kind == "CIFAR10" else "fine_labels"
    contents = {}
    for seed, name in enumerate([*train, *test]):
        images, labels = blobs(per_file, 3, 32, 10, seed)
        contents[name] = images, labels
        (folder / base / name).write_bytes(
            pickle.dumps({"data": images.reshape(per_file, -1), label_key: labels.tolist()})
        )
    (folder / base / meta).write_bytes(pickle.dumps({names_key: ["a class"] * 10}))

    def md5(name):
        return hashlib.md5((folder / base / name).read_bytes()).hexdigest()

    monkeypatch.setattr(canonical, "train_list", [[name, md5(name)] for name in train])
    monkeypatch.setattr(canonical, "test_list", [[name, md5(name)] for name in test])
    monkeypatch.setattr(canonical, "meta", {"filename": meta, "key": names_key, "md5": md5(meta)})
    return contents


def write_amat(path, count, seed=0):
    """A text file of MNIST-rot with random pictures; returns the table [count, 785] that is in
    it."""
    draw = np.random.default_rng(seed)
    table = np.concatenate(
        [draw.random((count, 784)).round(6), np.arange(count)[:, None] % 10], axis=1
    )
    np.savetxt(path, table, fmt=["%.6f"] * 784 + ["%.6f"])
    return table


@pytest.fixture
def twins():
    """The functions of this file, for tests (which cannot import it)."""
    return {
        "blobs": blobs,
        "idx": write_idx,
        "idx_bytes": idx_bytes,
        "cifar": write_cifar,
        "amat": write_amat,
    }


@pytest.fixture
def npz(tmp_path):
    """npz(arrays) is a function that writes them to mine.npz, some of them changed or (None) left
    out."""

    def writer(arrays):
        def write(**changed):
            np.savez(
                tmp_path / "mine.npz",
                **{k: v for k, v in (arrays | changed).items() if v is not None},
            )

        write()
        return write

    return writer
