"""Turned faces: the target is the angle, training and test show different people."""

import math

import numpy as np
import pytest
import torch

from learnsym.data.images.olivetti import Olivetti, centre_crop, fetch_faces
from learnsym.data.rotation import rotate_pixels
from learnsym.errors import DataError


def write_faces(path, people=8, each=10, side=64):
    """Each person a constant brightness of their own, and a gradient that makes the angle
    visible."""
    ramp = np.linspace(0, 40, side)[:, None].repeat(side, 1)
    person = np.repeat(np.arange(people), each)
    images = (ramp + 20 * person[:, None, None] + 10).astype(np.uint8)
    np.savez(path, images=images, labels=person.astype(np.uint8))


def people_in(split):
    """Which people a split shows, by the brightness at the centre."""
    centre = split.inputs[:, 0, 21:24, 21:24].float().mean((1, 2))
    return set(((centre - 30) / 20).round().int().tolist())


def test_people_are_apart_and_every_face_is_repeated(tmp_path):
    write_faces(tmp_path / "olivetti.npz")
    data = Olivetti(str(tmp_path), test_people=2, repeats=5, val_size=60)
    shown = {name: people_in(split) for name, split in data.splits.items()}
    assert dict(data.info.sizes) == {"train": 200, "val": 60, "test": 100}
    assert [len(shown[name]) for name in ("train", "val", "test")] == [4, 2, 2]
    assert set.union(*shown.values()) == set(range(8))
    assert (
        people_in(Olivetti(str(tmp_path), test_people=2, repeats=5, seed=1).splits["test"])
        != shown["test"]
    )


def test_the_target_is_the_angle_in_degrees_counter_clockwise(tmp_path):
    write_faces(tmp_path / "olivetti.npz")
    split = Olivetti(str(tmp_path), test_people=2, repeats=3).splits["train"]
    assert split.targets.shape == (180, 1)
    assert split.targets.dtype == torch.float32
    pixels = split.inputs[:, 0].float()
    right = (pixels[:, :, 1:] - pixels[:, :, :-1])[:, 10:-10, 10:-10].mean((1, 2))
    down = (pixels[:, 1:] - pixels[:, :-1])[:, 10:-10, 10:-10].mean((1, 2))
    # Upright, the faces grow brighter downwards; turned counter-clockwise by a quarter, to the
    # right.
    measured = torch.rad2deg(torch.atan2(right, down))
    assert (measured - split.targets[:, 0]).abs().max() < 6
    assert split.targets.min() < -70
    assert split.targets.max() > 70
    assert split.targets.abs().max() <= 90


def test_the_description(tmp_path):
    write_faces(tmp_path / "mine.npz")
    data = Olivetti(
        str(tmp_path),
        file="mine.npz",
        test_people=2,
        repeats=1,
        rotation_range=20.0,
        train_size=7,
        test_size=3,
    )
    info = data.info
    assert (info.task, info.num_outputs, info.target_unit, info.input_shape) == (
        "regression",
        1,
        "deg",
        (1, 45, 45),
    )
    assert info.true_widths == {"rotation": 0}
    assert dict(info.sizes) == {"train": 7, "test": 3}
    assert data.splits["train"].targets.abs().max() <= 20


def test_the_crop_sees_no_corner_of_the_turned_image():
    images = torch.full((72, 1, 64, 64), 200, dtype=torch.uint8)
    turned = centre_crop(rotate_pixels(images, torch.arange(72) * math.pi / 36))
    assert turned.shape == (72, 1, 45, 45)
    # At 45 degrees the outermost corner of 45 x 45 lies a third of a pixel outside; nothing else is
    # touched.
    assert (turned < 200).flatten(1).sum(1).max() <= 1


def test_impossible_requests_are_refused(tmp_path):
    write_faces(tmp_path / "olivetti.npz")
    with pytest.raises(
        DataError, match="8 people for testing and 0 for validation leave none of 8"
    ):
        Olivetti(str(tmp_path), test_people=8)
    with pytest.raises(DataError, match="train_size=61"):
        Olivetti(str(tmp_path), test_people=2, repeats=1, train_size=61)
    np.savez(
        tmp_path / "olivetti.npz", images=np.zeros((20, 64, 32), np.uint8), labels=np.zeros(20, int)
    )
    with pytest.raises(DataError, match="grey square images"):
        Olivetti(str(tmp_path))


def test_scikit_learns_faces_are_kept_as_bytes(tmp_path, monkeypatch):
    import sklearn.datasets

    original = np.random.default_rng(0).integers(0, 243, (20, 8, 8))

    class Bunch:
        images = (original / 242).astype(np.float32)
        target = np.arange(20) // 10

    monkeypatch.setattr(sklearn.datasets, "fetch_olivetti_faces", lambda **_: Bunch)
    with np.load(fetch_faces(str(tmp_path / "new"))) as kept:
        np.testing.assert_array_equal(kept["images"], original)
        np.testing.assert_array_equal(kept["labels"], Bunch.target)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["olivetti.npz"]


def test_a_failed_download_says_where_to_put_the_file(tmp_path, monkeypatch):
    import sklearn.datasets

    def fail(**_):
        raise OSError("no network")

    monkeypatch.setattr(sklearn.datasets, "fetch_olivetti_faces", fail)
    with pytest.raises(DataError, match=r"olivetti\.npz .*no network.*put it into"):
        Olivetti(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_real_faces(real_data):
    data = Olivetti(real_data, repeats=2)
    assert dict(data.info.sizes) == {"train": 600, "test": 200}
    assert data.info.input_shape == (1, 45, 45)
