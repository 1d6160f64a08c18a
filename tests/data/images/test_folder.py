"""The user's own pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from learnsym.data.images.folder import ImageFolder
from learnsym.errors import DataError

COLOURS = {"blue": (0, 0, 250), "red": (250, 0, 0)}


def write_pictures(folder, count=5, classes=("blue", "red"), size=(40, 30), suffix="png"):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", size, COLOURS.get(name, (0, 250, 0))).save(
                folder / name / f"{number}.{suffix}"
            )


def test_classes_are_the_sub_folders(tmp_path):
    write_pictures(tmp_path)
    data = ImageFolder(str(tmp_path), size=16)
    assert data.info.class_names == ("blue", "red")
    assert data.info.input_shape == (3, 16, 16)
    assert dict(data.info.sizes) == {"train": 8, "test": 2}
    for split in data.splits.values():
        assert split.inputs.dtype == torch.uint8
        for picture, label in zip(split.inputs, split.targets, strict=True):
            assert tuple(picture[:, 0, 0].tolist()) == COLOURS[data.info.class_names[label]]


def test_parts_of_ones_own_are_kept(tmp_path):
    for part, count in (("train", 6), ("val", 3), ("test", 2)):
        write_pictures(tmp_path / part, count, suffix="jpg")
    data = ImageFolder(str(tmp_path), size=8, channels=1, train_size=10)
    assert dict(data.info.sizes) == {"train": 10, "test": 4, "val": 6}
    assert data.info.input_shape == (1, 8, 8)
    with pytest.raises(DataError, match="val_size=2 has no use"):
        ImageFolder(str(tmp_path), size=8, val_size=2)


def test_the_shorter_side_is_resized_and_the_centre_kept(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        stripes = np.zeros((10, 30, 3), np.uint8)
        stripes[:, 10:20] = 200
        for number in range(5):
            Image.fromarray(stripes).save(tmp_path / name / f"{number}.png")
    data = ImageFolder(str(tmp_path), size=10)
    assert (data.splits["train"].inputs == 200).all()


def test_a_camera_held_sideways_is_put_right(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        picture = Image.fromarray(
            np.repeat(np.array([[250, 0]], np.uint8), 2, 0).repeat(8, 0).repeat(8, 1)
        )
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: the stored left is the real top
        for number in range(5):
            picture.save(tmp_path / name / f"{number}.png", exif=exif)
    picture = ImageFolder(str(tmp_path), size=16, channels=1).splits["train"].inputs[0, 0]
    assert (picture[0] == 250).all()
    assert (picture[-1] == 0).all()


@pytest.mark.parametrize("spoil", ["text", "cut short", "16 bits"])
def test_a_bad_picture_is_named(tmp_path, spoil):
    write_pictures(tmp_path, suffix="png")
    bad = tmp_path / "red" / "3.png"
    if spoil == "16 bits":
        Image.fromarray(np.full((9, 9), 3000, np.uint16)).save(bad)
    else:
        Image.fromarray(
            np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        ).save(bad)
        bad.write_bytes(b"no picture" if spoil == "text" else bad.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"red/3\.png") as caught:
        ImageFolder(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="absent"):
        ImageFolder(str(tmp_path / "absent"))
    with pytest.raises(DataError, match="one sub-folder of pictures per class"):
        ImageFolder(str(tmp_path))
    write_pictures(tmp_path / "single", classes=("red",))
    with pytest.raises(DataError, match="the one class red"):
        ImageFolder(str(tmp_path / "single"))
    write_pictures(tmp_path / "both" / "train")
    write_pictures(tmp_path / "both" / "test", classes=("green", "red"))
    with pytest.raises(DataError, match=r"has the classes green, red but .* has blue, red"):
        ImageFolder(str(tmp_path / "both"))
