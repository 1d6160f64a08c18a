"""MNIST and its kin: idx files wherever they may lie, rotation ranges, and the stand-in for
MNIST-rot."""

import gzip
import math
import shutil
import time
import zipfile

import numpy as np
import pytest
import torch

from learnsym.data.images import rotmnist
from learnsym.data.images.digits import Digits
from learnsym.data.images.mnist import MNIST, FashionMNIST, resize
from learnsym.data.images.rotmnist import RotMNIST
from learnsym.data.readers.arrays import read_idx
from learnsym.errors import DataError


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("kind", "place"),
    [(MNIST, "MNIST/raw"), (MNIST, "mnist"), (MNIST, ""), (FashionMNIST, "FashionMNIST/raw")],
)
def test_idx_files_are_read_wherever_they_lie(tmp_path, twins, no_network, kind, place, zipped):
    made = twins["idx"](tmp_path / place, zipped=zipped)
    data = kind(str(tmp_path))
    for name, part in (("train", "train"), ("test", "t10k")):
        np.testing.assert_array_equal(data.splits[name].inputs, made[part][0])
        np.testing.assert_array_equal(data.splits[name].targets, made[part][1])
    assert data.splits["train"].inputs.dtype == torch.uint8
    assert data.splits["train"].targets.dtype == torch.int64
    assert data.info.true_widths == {"rotation": 0}
    assert no_network == []


def test_fashion_never_takes_the_digits(tmp_path, twins, no_network):
    twins["idx"](tmp_path)
    with pytest.raises(
        DataError, match=r"fashion_mnist needs the file train-images-idx3-ubyte\.gz"
    ):
        FashionMNIST(str(tmp_path))


def test_all_mirrors_of_torchvision_are_tried_with_its_checksums(tmp_path, no_network):
    with pytest.raises(DataError, match=r"put it into .*MNIST/raw, or set paths\.data"):
        MNIST(str(tmp_path))
    assert len(no_network) >= 2
    assert all(url.endswith("train-images-idx3-ubyte.gz") for url in no_network)


def test_a_read_only_folder_is_read_as_it_is(tmp_path, twins):
    twins["idx"](tmp_path)
    before = sorted(tmp_path.iterdir())
    tmp_path.chmod(0o555)
    try:
        assert MNIST(str(tmp_path), rotation_range=30.0).info.sizes == {"train": 30, "test": 20}
    finally:
        tmp_path.chmod(0o755)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("degrees", [45.0, 180.0])
def test_every_picture_is_turned_once_within_the_range(tmp_path, twins, degrees):
    twins["idx"](tmp_path)
    plain, turned = MNIST(str(tmp_path)), MNIST(str(tmp_path), rotation_range=degrees)
    assert turned.info.true_widths == {"rotation": pytest.approx(2 * math.radians(degrees))}
    assert f"+-{degrees:g} degrees" in turned.info.provenance
    for name in ("train", "test"):
        assert torch.equal(plain.splits[name].targets, turned.splits[name].targets)
        differs = (plain.splits[name].inputs != turned.splits[name].inputs).flatten(1).any(1)
        assert differs.all()
    assert torch.equal(
        turned.splits["test"].inputs,
        MNIST(str(tmp_path), rotation_range=degrees).splits["test"].inputs,
    )


def test_limits_and_validation(tmp_path, twins):
    made = twins["idx"](tmp_path)
    data = MNIST(str(tmp_path), train_size=10, val_size=5, test_size=7, seed=3)
    assert dict(data.info.sizes) == {"train": 10, "val": 5, "test": 7}
    rows = {image.tobytes() for image in made["train"][0]}
    held = [
        {image.numpy().tobytes() for image in data.splits[name].inputs} for name in ("train", "val")
    ]
    assert held[0] | held[1] <= rows
    assert held[0].isdisjoint(held[1])


def test_wrong_idx_files_are_named(tmp_path, twins):
    good = twins["idx_bytes"](np.zeros((3, 28, 28), np.uint8))
    wrong = {
        "a.gz": good,
        "b.gz": gzip.compress(good)[:-9],
        "c": good[:-1],
        "d": b"",
        "e": b"PK" + good,
        "f": twins["idx_bytes"](np.zeros(3, np.uint8)),
    }
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="an idx file") as caught:
            read_idx(tmp_path / name, 3)
        assert str(tmp_path / name) in str(caught.value)


def test_images_and_labels_have_to_go_together(tmp_path, twins):
    twins["idx"](tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(twins["idx_bytes"](np.zeros(29, np.uint8)))
    )
    with pytest.raises(DataError, match=r"30 images but .* 29 labels"):
        MNIST(str(tmp_path))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(twins["idx_bytes"](np.full(30, 10, np.uint8)))
    )
    with pytest.raises(DataError, match="labels up to 10"):
        MNIST(str(tmp_path))


def test_a_file_of_ones_own_goes_first(tmp_path, twins, no_network):
    images, labels = twins["blobs"](40, 1, 28, 10)
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    data = MNIST(str(tmp_path), file="mine.npz", test_fraction=0.25, rotation_range=90.0)
    assert data.info.sizes == {"train": 30, "test": 10}
    assert "mine.npz" in data.info.provenance
    np.savez(tmp_path / "mine.npz", images=images[..., :20], labels=labels)
    with pytest.raises(
        DataError,
        match=r"mine\.npz: Expected images of shape \[1, 28, 28\], got \[1, 28, 20\].*dataset=npz",
    ):
        MNIST(str(tmp_path), file="mine.npz")


# --- resized, swapped, normalised


@pytest.mark.parametrize(("kind", "place"), [(MNIST, ""), (FashionMNIST, "fashion_mnist")])
@pytest.mark.parametrize("side", [14, 9, 32])
def test_images_are_resized(tmp_path, twins, kind, place, side):
    twins["idx"](tmp_path / place)
    plain, data = kind(str(tmp_path)), kind(str(tmp_path), side=side)
    assert (plain.info.input_shape, data.info.input_shape) == ((1, 28, 28), (1, side, side))
    assert f"are resized to {side} x {side}" in data.info.provenance
    assert "are resized" not in plain.info.provenance
    for name, split in data.splits.items():
        whole = plain.splits[name].inputs
        assert split.inputs.dtype == torch.float32
        assert 0 <= float(split.inputs.min()) <= float(split.inputs.max()) <= 1
        if (
            side == 14
        ):  # a tent two pixels wide to either side, sampled at +-1/2 and +-3/2: weights 1 3 3 1
            tent = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
            expected = torch.nn.functional.conv2d(
                whole / 255, tent.outer(tent)[None, None], stride=2, padding=1
            )
            torch.testing.assert_close(split.inputs[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])
        turned = resize(whole.rot90(1, (-2, -1)), side)
        torch.testing.assert_close(turned, split.inputs.rot90(1, (-2, -1)), rtol=0, atol=1e-6)
        assert torch.equal(split.targets, plain.splits[name].targets)
        torch.testing.assert_close(
            data.prepare(split.inputs) * data.info.std[0] + data.info.mean[0], split.inputs
        )
    assert resize(plain.splits["test"].inputs, 28) is plain.splits["test"].inputs


def test_the_parts_can_be_swapped(tmp_path, twins):
    made = twins["idx"](tmp_path)
    data = MNIST(str(tmp_path), train_part="test", val_size=4, side=14, rotation_range=45.0)
    assert dict(data.info.sizes) == {"train": 16, "val": 4, "test": 30}
    assert all(
        words in data.info.provenance
        for words in ("parts are swapped", "+-45 degrees", "resized to 14 x 14")
    )
    swapped = MNIST(str(tmp_path), train_part="test")
    np.testing.assert_array_equal(swapped.splits["train"].inputs, made["t10k"][0])
    np.testing.assert_array_equal(swapped.splits["test"].inputs, made["train"][0])
    assert "parts are swapped" not in MNIST(str(tmp_path)).info.provenance


def test_another_normalisation(tmp_path, twins):
    twins["idx"](tmp_path)
    data, other = MNIST(str(tmp_path), mean=0.5, std=1.0), MNIST(str(tmp_path), mean=0.0)
    assert (other.info.mean, other.info.std) == ((0.0,), (0.3081,))
    torch.testing.assert_close(
        data.prepare(data.splits["train"].inputs), data.splits["train"].inputs / 255 - 0.5
    )


# --- MNIST-rot


@pytest.fixture
def small_official(tmp_path, twins, monkeypatch):
    """The two text files with 30 and 20 examples, in place of 12 000 and 50 000."""
    monkeypatch.setattr(rotmnist, "SIZES", {"train": 30, "test": 20})
    return {
        part: twins["amat"](tmp_path / rotmnist.FILES[part], size)
        for part, size in (("train", 30), ("test", 20))
    }


def test_official_files_are_split_as_published(tmp_path, small_official, no_network):
    data = RotMNIST(str(tmp_path), val_size=10)
    whole = torch.from_numpy(small_official["train"]).float()
    for name, rows in (
        ("train", whole[:20]),
        ("val", whole[20:]),
        ("test", torch.from_numpy(small_official["test"]).float()),
    ):
        assert torch.equal(data.splits[name].inputs, rows[:, :784].view(-1, 1, 28, 28))
        assert torch.equal(data.splits[name].targets, rows[:, 784].long())
    assert data.info.true_widths == {"rotation": pytest.approx(2 * math.pi)}
    assert no_network == []


def test_parsed_arrays_are_kept_beside_the_text_and_follow_it(
    tmp_path, small_official, twins, monkeypatch
):
    first = RotMNIST(str(tmp_path), val_size=0)
    parses = []
    monkeypatch.setattr(
        rotmnist, "parse", lambda path, parse=rotmnist.parse: parses.append(path) or parse(path)
    )
    again = RotMNIST(str(tmp_path), val_size=0)
    assert parses == []
    assert torch.equal(first.splits["train"].inputs, again.splits["train"].inputs)
    time.sleep(0.01)
    table = twins["amat"](tmp_path / rotmnist.FILES["test"], 20, seed=5)
    changed = RotMNIST(str(tmp_path), val_size=0)
    assert len(parses) == 1
    np.testing.assert_allclose(changed.splits["test"].inputs.flatten(1), table[:, :784], rtol=1e-6)
    for name in rotmnist.FILES.values():
        (tmp_path / name).unlink()
    assert torch.equal(
        RotMNIST(str(tmp_path), val_size=0).splits["test"].inputs, changed.splits["test"].inputs
    )


def test_the_official_archive_is_downloaded_and_unpacked(tmp_path, small_official, monkeypatch):
    archive = tmp_path / "made.zip"
    with zipfile.ZipFile(archive, "w") as contents:
        for name in rotmnist.FILES.values():
            contents.write(tmp_path / name, f"mnist_rotation_new/{name}")
    empty = tmp_path / "empty"

    def pretend(dataset, name, folder, urls, checksum):
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.copy(archive, folder / name)

    monkeypatch.setattr(rotmnist, "download", pretend)
    data = RotMNIST(str(empty), val_size=10)
    np.testing.assert_allclose(
        data.splits["test"].inputs.flatten(1), small_official["test"][:, :784], rtol=1e-6
    )


def test_a_missing_official_set_is_never_replaced_in_silence(tmp_path, twins, no_network):
    twins["idx"](tmp_path)
    with pytest.raises(
        DataError,
        match=r"mnist_rotation_new\.zip.*put it into.*dataset\.source=mnist makes a stand-in",
    ):
        RotMNIST(str(tmp_path))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda text: text.replace("0.", "zero.", 1),
            "cannot be read as numbers|lines of 785 numbers",
        ),
        (lambda text: text + "0.5\n", "lines of 785 numbers"),
        (lambda text: "2" + text[1:], r"784 pixels in \[0, 1\]"),
        (lambda text: text + text, "Expected 30 examples, got 60"),
        (lambda text: "", "got 0 numbers"),
    ],
)
def test_a_wrong_text_file_is_named(tmp_path, small_official, spoil, said):
    path = tmp_path / rotmnist.FILES["train"]
    path.write_text(spoil(path.read_text()))
    with pytest.raises(DataError, match=said) as caught:
        RotMNIST(str(tmp_path), val_size=10)
    assert path.name in str(caught.value)


def test_the_stand_in_has_disjoint_digits_and_says_what_it_is(tmp_path, twins, monkeypatch):
    monkeypatch.setattr(rotmnist, "SIZES", {"train": 20, "test": 25})
    monkeypatch.setattr(rotmnist, "rotate_pixels", lambda images, angles: images)
    twins["idx"](tmp_path)
    data = RotMNIST(str(tmp_path), source="mnist", val_size=5)
    pictures = [
        picture.numpy().tobytes() for split in data.splits.values() for picture in split.inputs
    ]
    assert len(pictures) == len(set(pictures)) == 45
    assert dict(data.info.sizes) == {"train": 15, "val": 5, "test": 25}
    assert data.info.provenance.startswith("STAND-IN")
    monkeypatch.setattr(rotmnist, "SIZES", {"train": 20, "test": 40})
    with pytest.raises(DataError, match="needs 60 digits of MNIST, but there are 50"):
        RotMNIST(str(tmp_path), source="mnist")


# --- digits


def test_digits_are_the_librarys():
    from sklearn.datasets import load_digits

    data, bunch = Digits(val_size=200), load_digits()
    assert sum(data.info.sizes.values()) == 1797
    assert data.info.sizes["test"] == 359
    ink = sum(split.inputs.double().sum() for split in data.splits.values()) * 16 / 255
    assert abs(ink / bunch.images.sum() - 1) < 1e-3
    assert (
        sum(split.targets.bincount() for split in data.splits.values()).tolist()
        == np.bincount(bunch.target).tolist()
    )
    prepared = data.prepare(data.splits["train"].inputs)
    assert abs(prepared.mean()) < 0.01
    assert abs(prepared.std() - 1) < 0.01
    assert not torch.equal(
        Digits(rotation_range=90.0).splits["test"].inputs, data.splits["test"].inputs
    )


# --- the real files


def test_real_mnist(real_data):
    data = MNIST(real_data)
    assert data.info.sizes == {"train": 60_000, "test": 10_000}
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.splits["train"].targets.bincount().tolist() == counts
    prepared = data.prepare(data.splits["train"].inputs[:20_000])
    assert abs(prepared.mean()) < 0.01
    assert abs(prepared.std() - 1) < 0.01


def test_real_mnist_turned_upside_down_and_back(real_data, monkeypatch):
    plain = MNIST(real_data, train_size=2000)
    monkeypatch.setattr(
        "learnsym.data.rotation.random_angles", lambda count, *_: torch.full((count,), math.pi / 2)
    )
    turned = MNIST(real_data, train_size=2000, rotation_range=180.0)
    assert torch.equal(
        turned.splits["train"].inputs, plain.splits["train"].inputs.rot90(1, (-2, -1))
    )


def test_real_stand_in(real_data):
    data = RotMNIST(real_data, source="mnist")
    assert dict(data.info.sizes) == {"train": 10_000, "val": 2_000, "test": 50_000}
    pixels = data.splits["test"].inputs.float() / 255
    assert abs(pixels.mean() - 0.13) < 0.005  # the official set's mean and standard deviation
    assert abs(pixels.std() - 0.297) < 0.01
