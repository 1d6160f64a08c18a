"""Classes of a user's own package go where ours go; a configuration cannot allow itself any."""

import json
import sys

import pytest
import torch

from learnsym.config.allowed_classes import VARIABLE, allow_plugins, get_class
from learnsym.errors import ConfigError

PACKAGE = '''
"""A network, a data set, a loss, a logger and a mode of somebody else's."""

import torch
from torch import nn

from learnsym.data.base import DataInfo, ImageData, Split
from learnsym.run.loggers import Logger
from learnsym.run.mode import Mode, Outcome


class Linear(nn.Module):
    def __init__(self, in_channels: int, num_outputs: int, hidden: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.LazyLinear(hidden), nn.ReLU(), nn.Linear(hidden, num_outputs)
        )

    def forward(self, images):
        return self.layers(images)


class Stripes(ImageData):
    """Vertical and horizontal stripes: two classes that a quarter turn exchanges."""

    def __init__(self, count: int = 40, data_dir: str = "") -> None:
        stripes = torch.zeros(2, 1, 8, 8)
        stripes[0, ..., ::2] = 1
        stripes[1, ..., ::2, :] = 1
        labels = torch.arange(count) % 2
        split = Split(stripes[labels], labels)
        info = DataInfo(
            "stripes", "classification", (1, 8, 8), 2, ("vertical", "horizontal"), "",
            (0.5,), (0.5,), {"train": count, "test": count}, "made by code",
        )
        super().__init__(info, {"train": split, "test": split})


class MeanSquare(nn.Module):
    def forward(self, outputs, targets):
        return (outputs - nn.functional.one_hot(targets, outputs.shape[1])).square().mean(1)


class Lines(Logger):
    def log(self, row):
        with open("rows.txt", "a") as file:
            file.write(f"{row['epoch']}\\n")


class CountParameters(Mode):
    def __call__(self, context):
        return Outcome({"parameters": sum(p.numel() for p in context.net.parameters())})
'''
YAML = {
    "net/mine": "_target_: mylab.things.Linear\nhidden: 4\n",
    "dataset/stripes": "_target_: mylab.things.Stripes\ncount: 40\n",
    "logger/lines": "_target_: mylab.things.Lines\n",
    "mode/count": "_target_: mylab.things.CountParameters\n",
}
TRAIN = ("--config-dir", "conf", "net=mine", "dataset=stripes", "train.epochs=3")
TRAIN += ("mode.response_images=0", "paths.out=runs")


@pytest.fixture
def folder(tmp_path):
    """A user's folder: a package, and a folder of YAML."""
    package = tmp_path / "mylab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "things.py").write_text(PACKAGE)
    for name, text in YAML.items():
        file = tmp_path / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def no_plugins(monkeypatch):
    """No package is allowed; what a test allows, and has imported, is forgotten."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


def test_classes_of_a_package_train_by_one_command(folder, main, no_plugins):
    loss = "train.loss={_target_:mylab.things.MeanSquare}"
    done = main(*TRAIN, "plugins=[mylab]", "logger=lines", loss)
    assert done.code == 0, done.err
    (result,) = folder.glob("runs/*/result.json")
    assert json.loads(result.read_text())["metrics"]["test_accuracy"] == 1.0
    assert (folder / "rows.txt").read_text().split() == ["1", "2", "3"]
    checkpoint = result.parent / "checkpoints/last.pt"
    tested = main("plugins=[mylab]", "mode=test", f"checkpoint={checkpoint}")
    assert tested.code == 0, tested.err
    assert "test_accuracy" in tested.out
    words = [word for word in TRAIN if not word.startswith("mode.")]
    counted = main(*words, "plugins=[mylab]", "mode=count")
    assert "parameters" in counted.out, counted.err


def test_a_package_is_found_in_the_folder_of_a_process(folder, process):
    done = process(*TRAIN, "train.epochs=1", "plugins=[mylab]")
    assert done.code == 0, done.err
    assert "test_accuracy" in done.out


def test_a_wrong_key_of_ones_own_class_is_explained(folder, main, no_plugins):
    done = main(*TRAIN, "plugins=[mylab]", "net.hiden=3")
    assert done.code == 2
    assert done.err == (
        "error: net.hiden: there is no such setting; did you mean net.hidden? Valid: hidden.\n"
    )


def test_the_same_without_plugins_is_refused_in_one_sentence(folder, main, no_plugins):
    done = main(*TRAIN)
    assert done.code == 2
    (line,) = done.err.strip().splitlines()
    assert line.startswith("error: ")
    assert "mylab.things." in line
    assert "plugins=[PACKAGE]" in line
    assert not (folder / "runs").exists()


def test_a_configuration_cannot_allow_itself(folder, main, no_plugins):
    preset = folder / "conf/experiment/own.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("# @package _global_\nplugins: [mylab]\n")
    done = main("--config-dir", str(folder / "conf"), "experiment=own")
    assert done.code == 2
    assert "cannot allow itself" in done.err
    preset.write_text(f"# @package _global_\nhydra:\n  job:\n    env_set: {{{VARIABLE}: mylab}}\n")
    done = main("--config-dir", str(folder / "conf"), "experiment=own")
    assert done.code == 2
    assert f"env_set.{VARIABLE}" in done.err


def test_the_environment_may_name_packages(monkeypatch, no_plugins):
    with pytest.raises(ConfigError, match="only classes of learnsym, and"):
        get_class("net", "json.decoder.JSONDecoder")
    monkeypatch.setenv(VARIABLE, "json, xml")
    assert get_class("net", "json.decoder.JSONDecoder") is json.JSONDecoder
    # What a module of a package has imported from elsewhere stays out.
    with pytest.raises(ConfigError, match=r"expected a class|only classes"):
        get_class("net", "json.decoder.scanner")


def test_names_of_packages_are_checked(no_plugins):
    with pytest.raises(ConfigError, match=r"expected names of packages, got os\.path"):
        allow_plugins(["plugins=[os.path]"])
    allow_plugins(["plugins=[a_package,other]", "seed=1"])
    with pytest.raises(ConfigError, match="there is no such class"):
        get_class("net", "a_package.Net")


@pytest.mark.parametrize(
    ("key", "target", "base"),
    [
        ("net", "learnsym.kernels.siren.SIREN", "Module"),
        ("dataset", "learnsym.nets.plain_cnn.Conv5", "Data"),
        ("mode", "learnsym.kernels.siren.SIREN", "Mode"),
    ],
)
def test_a_class_must_be_of_the_kind_that_its_place_asks_for(main, key, target, base):
    done = main(f"{key}._target_={target}")
    assert done.code == 2
    assert base in done.err or "no such setting" in done.err


def test_a_loss_of_ones_own(folder, monkeypatch, no_plugins):
    from learnsym.training.tasks import task_for

    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv(VARIABLE, "mylab")
    things = __import__("mylab.things", fromlist=["things"])
    task = task_for(things.Stripes(), things.MeanSquare())
    outputs, targets = torch.eye(2), torch.tensor([0, 1])
    assert task.per_example(outputs, targets).tolist() == [0.0, 0.0]
    assert task.metrics(task.sums(outputs, targets).tolist()) == {"loss": 0.0, "accuracy": 1.0}
