"""The sixes and their twins: exact pixels, balanced classes, both versions of a digit on the same
side of every split."""

import math

import numpy as np
import pytest
import torch

from learnsym.data.images.mnist import MNIST
from learnsym.data.images.mnist6 import PROTOTYPES, MNIST6HalfTurn, MNIST6Mirror
from learnsym.errors import DataError

KINDS = [
    (MNIST6HalfTurn, lambda picture: picture[::-1, ::-1]),
    (MNIST6Mirror, lambda picture: picture[:, ::-1]),
]


@pytest.fixture
def made(tmp_path, twins):
    """300 + 200 random pictures, every tenth a six; returns the sixes of both parts."""
    made = twins["idx"](tmp_path, count=(300, 200))
    return {
        part: made[name][0][made[name][1] == 6]
        for part, name in (("train", "train"), ("test", "t10k"))
    }


def pictures(split):
    return [picture.numpy().tobytes() for picture in split.inputs]


@pytest.mark.parametrize(("kind", "twin"), KINDS)
def test_a_twin_has_the_very_pixels_of_its_six(tmp_path, made, no_network, kind, twin):
    data = kind(str(tmp_path), val_fraction=0)
    assert dict(data.info.sizes) == {"train": 60, "test": 40}
    for name, sixes in made.items():
        inputs, targets = data.splits[name].inputs.numpy(), data.splits[name].targets
        np.testing.assert_array_equal(inputs[::2], sixes)
        np.testing.assert_array_equal(inputs[1::2, 0], [twin(six) for six in sixes[:, 0]])
        assert targets.tolist() == [0, 1] * len(sixes)
        assert data.splits[name].inputs.dtype == torch.uint8
    assert (data.info.num_outputs, data.info.name) == (len(data.info.class_names), kind.name)
    assert "No digits are held out" in data.info.provenance
    assert no_network == []


def test_the_two_twins_differ():
    picture = torch.arange(784).view(1, 1, 28, 28)
    assert torch.equal(MNIST6HalfTurn.second_version(picture).flatten(), torch.arange(783, -1, -1))
    assert MNIST6Mirror.second_version(picture)[0, 0, 0].tolist() == list(range(27, -1, -1))


@pytest.mark.parametrize(("kind", "twin"), KINDS)
def test_both_versions_of_a_digit_are_on_one_side(tmp_path, made, kind, twin):
    data = kind(str(tmp_path))
    assert dict(data.info.sizes) == {"train": 54, "val": 6, "test": 40}
    train, val = (pictures(data.splits[name]) for name in ("train", "val"))
    assert set(train).isdisjoint(val)
    assert set(train) | set(val) == {
        six.tobytes() for digit in made["train"] for six in (digit[0], twin(digit[0]))
    }
    for name, split in data.splits.items():
        assert split.targets.bincount().tolist() == [len(split) / 2] * 2, name
        assert [np.frombuffer(p, np.uint8).sum() for p in pictures(split)[::2]] == [
            np.frombuffer(p, np.uint8).sum() for p in pictures(split)[1::2]
        ]
    assert "3 of the training digits are held out for validation" in data.info.provenance
    assert pictures(kind(str(tmp_path)).splits["val"]) == val
    assert pictures(kind(str(tmp_path), seed=1).splits["val"]) != val


def test_fewer_pictures_are_drawn_by_the_digit(tmp_path, made):
    whole = MNIST6HalfTurn(str(tmp_path), rotation_range=30.0)
    some = MNIST6HalfTurn(str(tmp_path), train_size=10, test_size=6, rotation_range=30.0)
    assert dict(some.info.sizes) == {"train": 10, "val": 6, "test": 6}
    for name, split in some.splits.items():
        assert set(pictures(split)) <= set(pictures(whole.splits[name])), (
            "the very same pictures, turned alike"
        )
        assert split.targets.tolist() == [0, 1] * (len(split) // 2)


def test_every_six_is_turned_once_before_its_twin_but_not_the_prototypes(
    tmp_path, made, monkeypatch
):
    plain, turned = (
        MNIST6HalfTurn(str(tmp_path)),
        MNIST6HalfTurn(str(tmp_path), rotation_range=60.0),
    )
    for name in ("train", "val", "test"):
        assert (plain.splits[name].inputs != turned.splits[name].inputs).flatten(1).any(1).all()
        inputs = turned.splits[name].inputs
        assert torch.equal(inputs[1::2], inputs[::2].rot90(2, (-2, -1))), (
            "a twin is the twin of the turned six"
        )
    assert "rotated" not in plain.info.provenance
    assert "+-60 degrees" in turned.info.provenance
    assert turned.info.true_widths == {}
    for data in (plain, turned):
        np.testing.assert_array_equal(data.prototypes.inputs[::2], made["test"])
        assert data.prototypes.targets.tolist() == [0, 1] * 20
    monkeypatch.setattr(
        "learnsym.data.rotation.random_angles", lambda count, *_: torch.full((count,), math.pi / 2)
    )
    quarter = MNIST6HalfTurn(str(tmp_path), rotation_range=90.0)
    assert torch.equal(
        quarter.splits["test"].inputs, plain.splits["test"].inputs.rot90(1, (-2, -1))
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"train_size": 7}, r"dataset\.train_size=7: .* even number of pictures, at most 54"),
        ({"train_size": 56}, r"at most 54 \(two of 27 digits\)"),
        ({"test_size": 42}, r"dataset\.test_size=42: .* at most 40"),
        ({"val_fraction": 1.0}, r"dataset\.val_fraction=1 leaves nothing of 30 training digits"),
    ],
)
def test_what_cannot_be_had_is_refused(tmp_path, made, arguments, said):
    with pytest.raises(DataError, match=said):
        MNIST6Mirror(str(tmp_path), **arguments)


def test_a_file_of_ones_own_goes_first(tmp_path, twins, no_network):
    images, labels = twins["blobs"](100, 1, 28, 10)
    np.savez(
        tmp_path / "mine.npz",
        images_train=images,
        labels_train=labels,
        images_test=images[:50],
        labels_test=labels[:50],
    )
    data = MNIST6Mirror(str(tmp_path), file="mine.npz")
    assert dict(data.info.sizes) == {"train": 18, "val": 2, "test": 10}
    assert "mine.npz" in data.info.provenance
    np.savez(
        tmp_path / "mine.npz",
        images_train=images,
        labels_train=labels,
        images_test=images[:5],
        labels_test=labels[:5],
    )
    with pytest.raises(DataError, match="the test part has no sixes"):
        MNIST6Mirror(str(tmp_path), file="mine.npz")


@pytest.mark.parametrize("kind", [MNIST6HalfTurn, MNIST6Mirror])
def test_real_sixes(real_data, kind):
    data, mnist = kind(real_data), MNIST(real_data)
    assert dict(data.info.sizes) == {"train": 10_652, "val": 1_184, "test": 1_916}
    upright = mnist.splits["test"].inputs[mnist.splits["test"].targets == 6]
    assert torch.equal(data.splits["test"].inputs[::2], upright)
    assert torch.equal(data.prototypes.inputs[::2], upright[: PROTOTYPES // 2])
    assert len(data.prototypes) == 100
    # A six has its loop, and so its ink, below the middle; a half turn puts it above. The mirror
    # leaves it there.
    below = data.splits["train"].inputs[:, 0, 14:].float().sum((1, 2)) / data.splits[
        "train"
    ].inputs.float().sum((1, 2, 3))
    low = below.view(-1, 2).mean(0)
    assert low[0] > 0.53
    assert (low[1] < 0.47) == (kind is MNIST6HalfTurn)
