"""The user's own .npz files: every good form is read, every bad one named in one sentence, and no
pickle is opened."""

import io

import numpy as np
import pytest
import torch

from learnsym.data.images.npz import NpzImages
from learnsym.data.readers.arrays import as_images, find_named, read_npz
from learnsym.errors import DataError

LABELS = np.arange(20) % 3


class Bomb:
    """Unpickling it would be noticed."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was opened')",))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((20, 6, 5), (1, 6, 5)),
        ((20, 3, 6, 5), (3, 6, 5)),
        ((20, 6, 5, 3), (3, 6, 5)),
        ((20, 1, 6, 6), (1, 6, 6)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_every_layout_is_read(tmp_path, shape, expected, dtype):
    pixels = np.random.default_rng(0).integers(0, 256, shape)
    images = pixels.astype(np.uint8) if dtype == np.uint8 else pixels / 255
    np.savez(tmp_path / "x.npz", images=images, labels=LABELS)
    data = NpzImages("x.npz", str(tmp_path), seed=1)
    assert data.info.input_shape == expected
    assert data.info.sizes == {"train": 16, "test": 4}
    assert data.info.num_outputs == 3
    together = torch.cat([data.splits[name].inputs for name in ("train", "test")])
    assert together.dtype == (torch.uint8 if dtype == np.uint8 else torch.float32)
    peak = 1 if dtype == np.uint8 else 255
    np.testing.assert_allclose(together.double().sum() * peak, pixels.sum(), rtol=1e-6)
    first = (
        images[0][None]
        if images.ndim == 3
        else (images[0] if shape[1] in (1, 3) else images[0].transpose(2, 0, 1))
    )
    assert any(np.allclose(image, first) for image in together.numpy())


def test_pixels_are_standardised_by_the_training_images(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.random.default_rng(0).random((20, 4, 4)), labels=LABELS)
    data = NpzImages(str(tmp_path / "x.npz"))
    prepared = data.prepare(data.splits["train"].inputs)
    assert abs(prepared.mean()) < 1e-5
    assert abs(prepared.std(correction=0) - 1) < 1e-5


def test_a_test_set_of_its_own_is_kept(tmp_path):
    images = np.random.default_rng(0).random((20, 4, 4))
    np.savez(
        tmp_path / "x.npz",
        images_train=images,
        labels_train=LABELS,
        images_test=images[:5] / 2,
        labels_test=LABELS[:5],
    )
    data = NpzImages(str(tmp_path / "x.npz"))
    assert data.info.sizes == {"train": 20, "test": 5}
    np.testing.assert_allclose(data.splits["test"].inputs[:, 0], images[:5] / 2, rtol=1e-6)


def test_several_files_are_read_one_after_the_other(tmp_path):
    images = np.random.default_rng(0).random((20, 4, 4))
    for part, rows in (("b", slice(12, 20)), ("a", slice(0, 12))):
        np.savez(tmp_path / f"part_{part}.npz", images=images[rows], labels=LABELS[rows])
    by_pattern = NpzImages(str(tmp_path / "part_*.npz"))
    by_list = NpzImages(["part_a.npz", "part_b.npz"], str(tmp_path))
    for name in ("train", "test"):
        assert torch.equal(by_pattern.splits[name].inputs, by_list.splits[name].inputs)
    assert sum(by_pattern.info.sizes.values()) == 20


@pytest.mark.parametrize("columns", [None, 2])
def test_regression(tmp_path, columns):
    labels = np.random.default_rng(0).normal(size=(20,) if columns is None else (20, columns))
    np.savez(tmp_path / "x.npz", images=np.zeros((20, 4, 4), np.uint8), labels=labels)
    data = NpzImages(str(tmp_path / "x.npz"), kind="regression", target_unit="mm")
    assert data.info.task == "regression"
    assert data.info.num_outputs == (columns or 1)
    assert data.splits["train"].targets.shape == (16, columns or 1)
    assert data.splits["train"].targets.dtype == torch.float64
    assert data.info.target_unit == "mm"


GOOD = np.zeros((20, 4, 4), np.uint8)
WRONG = {
    "object array": ({"images": np.array([Bomb()], object), "labels": LABELS}, "pickled objects"),
    "no labels": ({"images": GOOD}, "not labels"),
    "no arrays": ({}, "has the arrays none but not images and labels"),
    "no test labels": (
        {"images_train": GOOD, "labels_train": LABELS, "images_test": GOOD},
        "not labels_test",
    ),
    "too few labels": (
        {"images": GOOD, "labels": LABELS[:5]},
        r"int64 of shape \[5\]. Expected 20 whole numbers",
    ),
    "labels are not whole": ({"images": GOOD, "labels": LABELS + 0.5}, "whole numbers"),
    "negative labels": ({"images": GOOD, "labels": LABELS - 1}, "from 0 on"),
    "two dimensions": ({"images": GOOD[0], "labels": LABELS}, r"shape \[4, 4\]"),
    "seven channels": (
        {"images": np.zeros((20, 7, 4, 4), np.uint8), "labels": LABELS},
        "one or three channels",
    ),
    "no images": ({"images": GOOD[:0], "labels": LABELS[:0]}, r"shape \[0, 4, 4\]"),
    "large pixels": ({"images": GOOD + 300.0, "labels": LABELS}, "values from 300 to 300"),
    "nan": ({"images": GOOD * np.nan, "labels": LABELS}, "values from nan"),
    "int64 pixels": ({"images": GOOD.astype(np.int64), "labels": LABELS}, "images' is int64"),
}


@pytest.mark.parametrize(("arrays", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_array_is_named_in_one_sentence(tmp_path, arrays, said):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DataError, match=said) as caught:
        NpzImages(str(tmp_path / "mine.npz"))
    assert "mine.npz" in str(caught.value)
    assert "Expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_class_cannot_be_learned(tmp_path):
    np.savez(tmp_path / "mine.npz", images=GOOD, labels=LABELS * 0)
    assert "at least two classes" in NpzImages(str(tmp_path / "mine.npz")).untrainable


def broken(content):
    def write(path):
        np.savez_compressed(path, images=np.random.default_rng(0).random((20, 4, 4)), labels=LABELS)
        path.write_bytes(content(path.read_bytes()))

    return write


def npy_bytes(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


CORRUPT = {
    "empty": broken(lambda _: b""),
    "text": broken(lambda _: b"hello, this is no archive"),
    "cut short": broken(lambda whole: whole[: len(whole) // 2]),
    "damaged": broken(lambda whole: whole[:200] + bytes(200) + whole[400:]),
    "pickle": broken(lambda _: __import__("pickle").dumps(Bomb())),
    "single array": lambda path: path.write_bytes(npy_bytes(GOOD)),
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("write", CORRUPT.values(), ids=CORRUPT.keys())
def test_a_corrupt_file_is_named_in_one_sentence(tmp_path, write):
    write(tmp_path / "mine.npz")
    with pytest.raises(DataError, match=r"mine\.npz .*Expected") as caught:
        read_npz(tmp_path / "mine.npz")
    assert "\n" not in str(caught.value)


def test_names_that_lead_nowhere(tmp_path):
    with pytest.raises(DataError, match="no file absent_"):
        find_named("absent_*.npz", str(tmp_path))
    with pytest.raises(DataError, match="empty list"):
        find_named([], str(tmp_path))
    with pytest.raises(DataError, match="There is no file"):
        read_npz(tmp_path / "absent.npz")


def test_files_of_different_kinds_do_not_go_together(tmp_path):
    for name, side in (("a", 4), ("b", 5)):
        np.savez(tmp_path / f"{name}.npz", images=np.zeros((20, side, side)), labels=LABELS)
    with pytest.raises(
        DataError, match=r"different kinds \(\[1, 4, 4\] torch.float32 and \[1, 5, 5\]"
    ):
        NpzImages(str(tmp_path / "*.npz"))


def test_channels_first_wins_where_both_are_possible(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(as_images(array, tmp_path), array)
