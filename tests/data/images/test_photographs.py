"""CIFAR and STL-10 from synthetic twins of the canonical files, plain .npz parts, and what is done
with forged pickles."""

import hashlib
import pickle
import shutil

import numpy as np
import pytest
import torch

from learnsym.data.images.cifar import CIFAR10, CIFAR100
from learnsym.data.images.stl10 import STL10
from learnsym.errors import DataError


@pytest.mark.parametrize(("kind", "name"), [(CIFAR10, "CIFAR10"), (CIFAR100, "CIFAR100")])
@pytest.mark.parametrize("place", ["", "NAME"])
def test_canonical_pickles_are_read(tmp_path, twins, monkeypatch, no_network, kind, name, place):
    folder = tmp_path / place.replace("NAME", kind.name)
    contents = list(twins["cifar"](folder, name, monkeypatch).values())
    data = kind(str(tmp_path))
    for split, files in (("train", contents[:-1]), ("test", contents[-1:])):
        np.testing.assert_array_equal(
            data.splits[split].inputs, np.concatenate([images for images, _ in files])
        )
        np.testing.assert_array_equal(
            data.splits[split].targets, np.concatenate([labels for _, labels in files])
        )
    assert (
        data.info.num_outputs == len(set(data.info.class_names)) == int(name.removeprefix("CIFAR"))
    )
    assert no_network == []


class Bomb:
    """Unpickling it would be noticed."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('a forged pickle was opened')",))


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_forged_pickle_is_never_opened(tmp_path, twins, monkeypatch, name):
    twins["cifar"](tmp_path, "CIFAR10", monkeypatch)
    (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"differs from the canonical one \(md5\)"):
        CIFAR10(str(tmp_path))


def test_the_archive_is_unpacked_if_it_lies_there(tmp_path, twins, monkeypatch, no_network):
    import torchvision.datasets

    twins["cifar"](tmp_path / "made", "CIFAR10", monkeypatch)
    (tmp_path / "data").mkdir()
    archive = shutil.make_archive(
        str(tmp_path / "data" / "cifar-10-python"), "gztar", tmp_path / "made", "."
    )
    md5 = hashlib.md5((tmp_path / "data" / "cifar-10-python.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", md5)
    assert archive.endswith("cifar-10-python.tar.gz")
    assert CIFAR10(str(tmp_path / "data")).info.sizes == {"train": 30, "test": 6}
    assert no_network == []


def write_parts(folder, twins, parts=("train_1", "train_2", "test_first")):
    made = {}
    for seed, part in enumerate(parts):
        images, labels = made[part] = twins["blobs"](12, 3, 32, 10, seed)
        np.savez(folder / f"cifar10_{part}.npz", images=images, labels=labels)
    return made


def test_plain_parts_are_put_together_and_said_to_be_parts(tmp_path, twins):
    made = write_parts(tmp_path, twins)
    data = CIFAR10(str(tmp_path))
    expected = np.concatenate([made["train_1"][0], made["train_2"][0]])
    np.testing.assert_array_equal(data.splits["train"].inputs, expected)
    np.testing.assert_array_equal(data.splits["test"].targets, made["test_first"][1])
    assert "train images: only 24 of 50000" in data.info.provenance
    assert "test images: only 12 of 10000" in data.info.provenance


def test_canonical_files_go_before_plain_parts(tmp_path, twins, monkeypatch):
    write_parts(tmp_path, twins)
    twins["cifar"](tmp_path, "CIFAR10", monkeypatch)
    assert CIFAR10(str(tmp_path)).info.sizes == {"train": 30, "test": 6}


def test_plain_parts_without_a_test_set_are_refused(tmp_path, twins):
    write_parts(tmp_path, twins, ("train_1",))
    with pytest.raises(DataError, match=r"no cifar10_test\*\.npz"):
        CIFAR10(str(tmp_path))


def test_missing_files_name_the_archive_and_the_folder(tmp_path, no_network):
    for kind, name in (
        (CIFAR10, "cifar-10-python"),
        (CIFAR100, "cifar-100-python"),
        (STL10, "stl10_binary"),
    ):
        with pytest.raises(DataError, match=rf"{name}\.tar\.gz.*put it into {tmp_path}"):
            kind(str(tmp_path))
    assert len(no_network) == 3


@pytest.fixture
def small_stl10(tmp_path, twins, monkeypatch):
    """The labelled binary files, images stored column by column, labels from 1 on."""
    import torchvision.datasets

    canonical = torchvision.datasets.STL10
    folder = tmp_path / canonical.base_folder
    folder.mkdir()
    made = {}
    for part, listed in (("train", canonical.train_list), ("test", canonical.test_list)):
        images, labels = made[part] = twins["blobs"](12, 3, 96, 10, len(part))
        (folder / f"{part}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{part}_y.bin").write_bytes((labels + 1).tobytes())
        md5s = [
            [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]
            for name in (f"{part}_X.bin", f"{part}_y.bin")
        ]
        monkeypatch.setattr(canonical, f"{part}_list", md5s + listed[2:])
    (folder / canonical.class_names_file).write_text("\n".join("abcdefghij"))
    return made


def test_stl10_is_read_without_its_unlabelled_images(tmp_path, small_stl10, no_network):
    data = STL10(str(tmp_path))
    for part, (images, labels) in small_stl10.items():
        np.testing.assert_array_equal(data.splits[part].inputs, images)
        np.testing.assert_array_equal(data.splits[part].targets, labels)
        assert data.splits[part].inputs.is_contiguous()
    assert data.info.input_shape == (3, 96, 96)
    (tmp_path / "stl10_binary" / "train_y.bin").write_bytes(bytes(12))
    with pytest.raises(DataError, match="differs from the canonical one"):
        STL10(str(tmp_path))


@pytest.mark.parametrize(("kind", "side"), [(CIFAR10, 32), (CIFAR100, 32), (STL10, 96)])
def test_a_file_of_ones_own_goes_first(tmp_path, twins, no_network, kind, side):
    images, labels = twins["blobs"](10, 3, side, 10)
    np.savez(tmp_path / "mine.npz", images=images.transpose(0, 2, 3, 1), labels=labels)
    data = kind(str(tmp_path), file="mine.npz", augment="flip_crop")
    assert data.info.sizes == {"train": 8, "test": 2}
    assert data.prepare(data.splits["train"].inputs, train=True).shape == (8, 3, side, side)
    assert no_network == []


def test_real_cifar10(real_data):
    data = CIFAR10(real_data, train_size=40_000, val_size=10_000)
    assert dict(data.info.sizes) == {"train": 40_000, "val": 10_000, "test": 1_000}
    counts = data.splits["train"].targets.bincount() + data.splits["val"].targets.bincount()
    assert counts.tolist() == [5000] * 10
    mean = (
        torch.cat([data.splits[name].inputs for name in ("train", "val")]).float().mean((0, 2, 3))
        / 255
    )
    torch.testing.assert_close(
        mean, torch.tensor([0.49139968, 0.48215841, 0.44653091]), atol=1e-4, rtol=0
    )
    assert "only 1000 of 10000" in data.info.provenance
