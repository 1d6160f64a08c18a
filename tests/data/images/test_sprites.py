"""Sprites and Mario and Iggy: four balanced classes that can be told from the pictures alone."""

import math

import numpy as np
import pytest
import torch

from learnsym.data.images.sprites import MarioIggy, Sprites, draw_bird, draw_snail, read_sprites
from learnsym.data.rotation import rotate_pixels
from learnsym.errors import DataError


def recovered(pair, pictures):
    """Sprite and angle in degrees of each picture, by comparison with each sprite at every 2
    degrees."""
    degrees = torch.arange(-90, 270, 2.0)
    views = torch.cat(
        [
            rotate_pixels(sprite.expand(len(degrees), -1, -1, -1), torch.deg2rad(degrees))
            for sprite in pair
        ]
    )
    best = torch.cdist(pictures.flatten(1).float(), views.flatten(1).float()).argmin(1)
    return best // len(degrees), degrees[best % len(degrees)]


def check_task(data, pair):
    test = data.splits["test"]
    sprite, degrees = recovered(pair, test.inputs)
    assert torch.equal(sprite, test.targets // 2)
    tilt = degrees - 180 * (test.targets % 2)
    assert tilt.abs().max() <= 46
    assert torch.histc(tilt, 3, -45, 45).min() > 0.2 * len(test)
    assert data.info.true_widths == {"rotation": math.pi / 2}
    assert data.info.num_outputs == len(data.info.class_names) == 4


def test_labels_say_which_sprite_and_which_way_up():
    data = Sprites(train_size=40, test_size=400)
    check_task(data, torch.stack([draw_snail(), draw_bird()]))


def test_by_default_there_are_10000_and_5000_balanced_pictures():
    data = Sprites()
    assert data.info.sizes == {"train": 10_000, "test": 5_000}
    assert data.info.input_shape == (3, 32, 32)
    for split in data.splits.values():
        assert split.targets.bincount().tolist() == [len(split) // 4] * 4
        assert split.inputs.dtype == torch.uint8


def test_splits_differ_and_are_repeatable_by_seed():
    data, again, other = (
        Sprites(train_size=50, val_size=50, test_size=50, seed=seed) for seed in (0, 0, 1)
    )
    pictures = [data.splits[name].inputs for name in ("train", "val", "test")]
    assert not any(torch.equal(pictures[i], pictures[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert all(
        torch.equal(data.splits[name].inputs, again.splits[name].inputs) for name in data.splits
    )
    assert not torch.equal(data.splits["train"].inputs, other.splits["train"].inputs)


@pytest.mark.parametrize("draw", [draw_snail, draw_bird])
def test_a_sprite_is_unlike_itself_when_turned_and_fits_the_circle(draw):
    sprite = draw()[None].float()
    for degrees in range(45, 316, 45):
        turned = rotate_pixels(sprite, torch.tensor([math.radians(degrees)]))
        assert (turned - sprite).square().sum() > 0.5 * sprite.square().sum()
    position = torch.arange(32) - 15.5
    outside = position[:, None] ** 2 + position**2 > 16**2
    assert sprite[0][:, outside].sum() == 0


def write_pair(path, **arrays):
    draw = np.random.default_rng(0)
    full = {name: draw.random((1, 3, 32, 32)) for name in ("mario", "iggy")} | arrays
    np.savez(path, **{name: array for name, array in full.items() if array is not None})


@pytest.mark.parametrize("name", ["mario_iggy_images.npz", "images.npz", "mario_iggy/images.npz"])
def test_the_file_is_found_by_its_names(tmp_path, name):
    (tmp_path / "mario_iggy").mkdir()
    write_pair(tmp_path / name)
    data = MarioIggy(str(tmp_path), train_size=8, test_size=200)
    check_task(data, read_sprites(tmp_path / name))
    assert name.rpartition("/")[2] in data.info.provenance


def test_another_file_goes_first(tmp_path):
    write_pair(tmp_path / "images.npz")
    write_pair(tmp_path / "mine.npz", mario=np.zeros((1, 3, 32, 32)))
    data = MarioIggy(str(tmp_path), file="mine.npz", train_size=8, test_size=8)
    assert data.splits["train"].inputs[data.splits["train"].targets < 2].sum() == 0


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"iggy": None}, "not iggy"),
        ({"iggy": np.zeros((1, 3, 16, 16))}, "16, 16"),
        ({"iggy": np.full((1, 3, 32, 32), 2.0)}, "values from 2 to 2"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, arrays, said):
    write_pair(tmp_path / "images.npz", **arrays)
    with pytest.raises(DataError, match=said) as caught:
        MarioIggy(str(tmp_path))
    assert "images.npz" in str(caught.value)


def test_without_the_file_one_is_told_where_to_put_it(tmp_path):
    with pytest.raises(
        DataError, match=r"mario_iggy_images\.npz .* put it into .* dataset=sprites"
    ):
        MarioIggy(str(tmp_path))


def test_real_mario_and_iggy(real_data):
    data = MarioIggy(real_data, train_size=8, test_size=400)
    check_task(data, read_sprites(data_file(real_data)))


def data_file(folder):
    from pathlib import Path

    return Path(folder) / "mario_iggy_images.npz"
