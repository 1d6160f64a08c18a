"""What people met with data of their own: the right number, a remark, or one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from odd_data import npz, tree
from PIL import Image

NET = ("net=simple_conv", "net.width=4", "train.epochs=1", "mode.response_images=0")


def train(main, *words):
    return main(*NET, *words)


def last(done):
    return f"checkpoint={done.directory / 'checkpoints/last.pt'}"


def refusal(done):
    """The one sentence of a command that was refused."""
    assert done.code == 2, done.out + done.err
    (line,) = done.err.strip().splitlines()
    assert line.startswith("error: ")
    return line


def remarks(done):
    assert done.code == 0, done.err
    return [line for line in done.out.splitlines() if line.startswith("remark: ")]


# --- what belongs to a trained network travels with it


@pytest.fixture
def trained(main, tmp_path):
    npz(tmp_path / "my.npz", 100, noise=True)
    return train(main, "dataset=npz", "dataset.file=my.npz")


@pytest.mark.parametrize(
    "word", ["dataset.seed=1", "++dataset.test_fraction=0.5", "dataset.test_fraction=0.9"]
)
def test_a_test_set_is_not_drawn_from_training_examples(main, trained, word):
    line = refusal(main("mode=test", last(trained), word))
    assert "test examples were trained on" in line


def test_faces_of_people_of_the_training_are_not_tested(main, tmp_path):
    """Another seed turns the faces by other angles; they are the same faces."""
    faces = np.random.default_rng(0).integers(0, 255, (80, 64, 64)).astype(np.uint8)
    np.savez(tmp_path / "olivetti.npz", images=faces, labels=np.arange(80) // 10)
    words = ("dataset=olivetti", "paths.data=.", "dataset.repeats=1", "dataset.test_people=3")
    done = train(main, *words)
    line = refusal(main("mode=test", last(done), "dataset.seed=1", "paths.data=."))
    assert "were trained on" in line


def test_molecules_of_the_training_are_known_beside_larger_ones(main, tmp_path):
    draw = np.random.default_rng(0)
    arrays = {"charges": draw.choice([1, 6, 8], (30, 4)), "homo": draw.normal(size=30)}
    arrays["positions"] = draw.normal(size=(30, 4, 3))
    np.savez(tmp_path / "small.npz", **arrays)
    done = main("net=lieconv", "dataset=molecules", "dataset.file=small.npz", "train.epochs=1")
    assert done.code == 0, done.err
    arrays["charges"] = np.pad(arrays["charges"], ((0, 0), (0, 2)))
    arrays["charges"][0] = 1
    arrays["positions"] = np.pad(arrays["positions"], ((0, 0), (0, 2), (0, 0)))
    np.savez(tmp_path / "large.npz", **arrays)
    line = refusal(main("mode=test", last(done), "dataset.file=large.npz", "dataset.seed=1"))
    assert "were trained on" in line


def test_copies_in_a_test_part_of_its_own_are_remarked(main, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8)).astype(np.uint8)
    parts = {"images_train": images, "labels_train": np.arange(40) % 2}
    parts |= {"images_test": images[:20].copy(), "labels_test": np.arange(20) % 2}
    parts["images_test"][4:] += 1
    np.savez(tmp_path / "my.npz", **parts)
    done = train(main, "dataset=npz", "dataset.file=my.npz")
    assert any("4 of 20 test images are among the training" in r for r in remarks(done))
    again = main("mode=test", last(done), "dataset.test_size=12")
    assert again.result["data"]["sizes"]["test"] == 12
    few = train(main, "dataset=npz", "dataset.file=my.npz", "dataset.test_size=1")
    again = main("mode=test", last(few), "dataset.test_size=20")
    assert any("has copies of training examples" in remark for remark in remarks(again))


def test_checkpoints_of_before_are_read_and_not_drawn_anew(main, trained):
    path = trained.directory / "checkpoints/last.pt"
    state = torch.load(path, weights_only=True)
    del state["data"]
    del state["config"]["dataset"]["stratify"]
    state["config"]["dataset"]["_target_"] = "learnsym.data.npz.NpzImages"
    torch.save(state, path)
    assert "Try dataset.seed=0" in refusal(main("mode=test", last(trained), "dataset.seed=1"))
    assert any("of an earlier version" in r for r in remarks(main("mode=test", last(trained))))


def test_a_test_of_the_same_data_gives_the_numbers_of_the_training(main, trained):
    again = main("mode=test", last(trained))
    for name in ("test_loss", "test_accuracy"):
        assert again.result["metrics"][name] == trained.result["metrics"][name]


def test_data_that_are_made_anew_are_made_anew(main, tiny):
    done = main(*tiny)
    again = main("mode=test", last(done), "dataset.seed=1")
    assert again.result["metrics"]["test_loss"] != done.result["metrics"]["test_loss"]


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_settings_of_the_checkpoints_data_are_settings(main, trained, prefix):
    gone = main("mode=test", last(trained), f"{prefix}dataset.file=/nowhere.npz")
    assert "/nowhere.npz" in refusal(gone)
    wrong = main("mode=test", last(trained), f"{prefix}dataset.fil=x")
    line = refusal(wrong)
    assert "dataset.fil:" in line
    assert "file, data_dir" in line


def test_other_images_are_normalised_as_in_training(main, tmp_path):
    npz(tmp_path / "bright.npz", 200)
    done = train(main, "dataset=npz", "dataset.file=bright.npz", "train.epochs=8", "net.width=8")
    images = np.load(tmp_path / "bright.npz")["images"]
    labels = np.load(tmp_path / "bright.npz")["labels"]
    assert done.result["metrics"]["test_accuracy"] == 1
    dark = np.random.default_rng(9).integers(0, 90, (40, 8, 8)).astype(np.uint8)
    np.savez(
        tmp_path / "dark.npz",
        images_train=images,
        labels_train=labels,
        images_test=dark,
        labels_test=np.zeros(40, np.int64),
    )
    again = main("mode=test", last(done), "dataset=npz", "dataset.file=dark.npz")
    assert again.result["metrics"]["test_accuracy"] == 1


def test_classes_are_matched_by_name(main, tmp_path):
    tree(tmp_path / "pets", {"cat": 8, "dog": 8, "eel": 8})
    done = train(main, "dataset=folder", "dataset.path=pets", "dataset.size=8", "train.epochs=9")
    tree(tmp_path / "new", {"train/dog": 6, "train/eel": 6, "test/dog": 5, "test/eel": 5}, seed=1)
    again = main("mode=test", last(done), "dataset=folder", "dataset.path=new", "dataset.size=8")
    assert any("matched by name; there is none of cat" in r for r in remarks(again))
    tree(tmp_path / "far", {"dog": 6, "fox": 6}, seed=2)
    far = main("mode=test", last(done), "dataset=folder", "dataset.path=far", "dataset.size=8")
    line = refusal(far)
    assert "fox" in line
    assert "cat, dog, eel" in line


# --- a run is its configuration and its data


def test_changed_data_are_another_run(main, tmp_path):
    words = ("dataset=npz", "dataset.file=my.npz")
    npz(tmp_path / "my.npz", seed=0)
    first = train(main, *words)
    npz(tmp_path / "my.npz", seed=1)
    second = train(main, *words)
    assert second.directory != first.directory
    (remark,) = remarks(second)
    assert str(first.directory) in remark
    assert str(second.directory) in remark
    assert "this run is finished" in train(main, *words).out
    npz(tmp_path / "my.npz", seed=0)
    third = train(main, *words)
    assert third.directory == first.directory
    assert "this run is finished" in third.out
    report = main("mode=report", "runs=runs/*")
    assert report.code == 0, report.err
    table = next(Path("runs/reports").glob("*/table.md")).read_text()
    assert table.count("simple_conv-npz") == 2 or table.count("fingerprint") >= 2, table


def test_the_folder_of_the_data_may_change(main, tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        npz(tmp_path / folder / "my.npz")
    words = ("dataset=npz", "dataset.file=my.npz")
    first = train(main, *words, "paths.data=a")
    again = train(main, *words, "paths.data=b")
    assert again.directory == first.directory
    assert remarks(again) == []


# --- folders


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [
        ({"Train/cat": 6, "Train/dog": 6, "Test/cat": 3, "Test/dog": 3}, {"train": 12, "test": 6}),
        (
            {
                "training_set/a": 4,
                "training_set/b": 4,
                "VALID/a": 2,
                "VALID/b": 2,
                "testing/a": 1,
                "testing/b": 1,
            },
            {"train": 8, "val": 4, "test": 2},
        ),
        (
            {"cat": 10, "dog": 10, ".ipynb_checkpoints": 4, "dog/.thumbs": 3},
            {"train": 16, "test": 4},
        ),
        ({"a": 5, "b": 5, "__MACOSX/a": 5, "@eaDir": 2}, {"train": 8, "test": 2}),
    ],
)
def test_folders_are_understood(main, tmp_path, spec, sizes):
    tree(tmp_path / "pets", spec)
    done = train(main, "dataset=folder", "dataset.path=pets", "dataset.size=8")
    assert done.result["data"]["sizes"] == sizes
    hidden = sum(n for name, n in spec.items() if "." in name or "__" in name or "@" in name)
    assert bool(remarks(done)) == bool(hidden)


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({"bus": 5, "car": 5, "train": 5}, "train is the name of a split"),
        ({"val/a": 3, "val/b": 3, "test/a": 3, "test/b": 3}, "no training part"),
        ({"pets/cat": 5, "pets/dog": 5}, "dataset.path=pets/pets"),
        ({"cat/in": 5, "cat/out": 5, "dog": 5}, "pets/cat holds the folders in, out"),
        ({"train/a": 4, "train/b": 4, "extra": 3}, "extra is no split"),
        ({"train/a": 4, "train/b": 4, "Training/a": 3, "Training/b": 3}, "one train folder"),
        ({"cat": 5, "dog": 0}, "dog"),
        ({"train/a": 5, "train/b": 5, "test/a": 5}, "the one class a"),
    ],
)
def test_folders_that_are_no_classes(main, tmp_path, spec, part):
    tree(tmp_path / "pets", spec)
    done = train(main, "dataset=folder", "dataset.path=pets", "dataset.size=8")
    assert part in refusal(done)
    assert not Path("runs").exists() or not list(Path("runs").glob("*/result.json"))


def test_every_class_is_in_the_training_part(main, tmp_path):
    tree(tmp_path / "pets", {"a": 2, "b": 9, "c": 3})
    done = train(main, "dataset=folder", "dataset.path=pets", "dataset.size=8")
    assert done.code == 0, done.err
    assert not any("train has no example" in remark for remark in remarks(done))


def test_files_of_other_kinds_are_counted(main, tmp_path):
    folder = tree(tmp_path / "pets", {"a": 5, "b": 5})
    (folder / "notes.txt").write_text("x")
    (folder / "a" / "raw.heic").write_text("x")
    (remark,) = remarks(train(main, "dataset=folder", "dataset.path=pets", "dataset.size=8"))
    assert "1 .heic, 1 .txt" in remark


def test_what_is_transparent_is_white(tmp_path):
    from learnsym.data.images.folder import read_picture

    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 4)).astype(np.uint8)
    pixels[..., 3] = 255
    pixels[:4, :, 3] = 0
    Image.fromarray(pixels, "RGBA").save(tmp_path / "x.png")
    read = read_picture(tmp_path / "x.png", 8, 3)
    assert (read[:, :4] == 255).all()
    assert (read[:, 4:] == pixels[4:, :, :3].transpose(2, 0, 1)).all()


# --- labels, pixels, files


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        (np.arange(60) % 4 + 1, "none is 0"),
        (np.array([0, 1, 2, 7] * 15), "none is 3, 4, 5, 6"),
        (np.array([3, 77, 812, 50000] * 15), "50000"),
        (np.full(60, 7), "at least two classes"),
        (np.full(60, 2**63, np.uint64), "whole numbers from 0"),
    ],
)
def test_labels_that_are_no_classes(main, tmp_path, labels, part):
    npz(tmp_path / "my.npz", labels=labels)
    assert part in refusal(train(main, "dataset=npz", "dataset.file=my.npz"))


def test_classes_that_are_only_tested(main, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8)).astype(np.uint8)
    parts = {"images_train": images[:20], "labels_train": np.arange(20) % 2}
    parts |= {"images_test": images[20:], "labels_test": np.arange(20) % 4}
    np.savez(tmp_path / "my.npz", **parts)
    line = refusal(train(main, "dataset=npz", "dataset.file=my.npz"))
    assert "class 2, 3" in line


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda x: (x > 90).astype(np.uint8), "0 or 1 of 255"),
        (lambda x: x / 255.0 / 255.0, "divided by 255 twice"),
        (lambda x: x[np.arange(len(x)) // 20], "are among the training images too"),
    ],
)
def test_images_that_are_odd(main, tmp_path, change, part):
    images = np.load(npz(tmp_path / "a.npz"))["images"]
    npz(tmp_path / "my.npz", images=change(images))
    assert any(part in r for r in remarks(train(main, "dataset=npz", "dataset.file=my.npz")))


def test_a_file_that_is_named_twice_is_read_once(main, tmp_path):
    npz(tmp_path / "a.npz", 50)
    done = train(main, "dataset=npz", "dataset.file=[a.npz,./a.npz]")
    assert sum(done.result["data"]["sizes"].values()) == 50


def test_large_targets_keep_their_differences(main, tmp_path):
    targets = 1e8 + np.random.default_rng(0).standard_normal(60)
    npz(tmp_path / "my.npz", labels=targets)
    words = ("dataset=npz", "dataset.kind=regression", "dataset.file=my.npz")
    done = train(main, *words)
    assert 0.1 < done.result["metrics"]["test_mse_over_predicting_mean"] < 30
    targets[3] = 1e39
    npz(tmp_path / "my.npz", labels=targets)
    assert "1e+39 in row 3" in refusal(train(main, *words))


def test_json_has_no_bare_nan(main, tmp_path):
    npz(tmp_path / "my.npz", labels=np.full(60, 2.5))
    done = train(main, "dataset=npz", "dataset.kind=regression", "dataset.file=my.npz")
    assert done.code == 0, done.err
    for file in ("result.json", "metrics.jsonl"):
        text = (done.directory / file).read_text()
        assert "NaN" not in text
        assert "null" in text
    assert "nan" in train(main, "dataset=npz", "dataset.kind=regression", "dataset.file=my.npz").out
    json.loads((done.directory / "result.json").read_text(), parse_constant=pytest.fail)
