"""cfg/dataset is the documentation of the constructors: every argument is there, with its default,
and nothing else."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import learnsym.data

FOLDER = Path(__file__).parents[2] / "cfg" / "dataset"
SMALLER = {("sprites", "train_size"), ("sprites", "test_size")}
"""Where the YAML deliberately departs from the constructor: the default run has to be quick."""
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_a_config_lists_every_argument_with_its_default(name):
    text = (FOLDER / f"{name}.yaml").read_text()
    config = yaml.safe_load(text)
    config.pop("defaults", None)  # of molecules: what net=augerino is made of
    module, _, cls = config.pop("_target_").rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), cls)).parameters
    assert set(config) == set(parameters)
    for key, value in config.items():
        default = parameters[key].default
        if (name, key) in SMALLER:
            assert 0 < value <= default
            continue
        assert value == (
            "${paths.data}"
            if key == "data_dir"
            else "???"
            if default is inspect.Parameter.empty
            else default
        )
    keys = [
        line
        for line in text.splitlines()
        if line and not line.startswith(("#", "_target_", "defaults:")) and "_self_" not in line
    ]
    assert all("  # " in line for line in keys), "every key says what it is for"


def test_every_class_can_be_had_from_the_package_and_has_a_config():
    classes = {
        name for name in learnsym.data.__all__ if inspect.isclass(getattr(learnsym.data, name))
    }
    configured = {
        yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["_target_"].rpartition(".")[2]
        for name in FILES
    }
    assert classes - {"Data", "DataInfo", "ImageData", "PointData", "Split"} == configured
    with pytest.raises(AttributeError):
        _ = learnsym.data.nothing_of_that_name


def test_signatures_can_be_read_without_heavy_libraries():
    targets = [
        yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["_target_"].rpartition(".")[0]
        for name in FILES
    ]
    heavy = [
        "torchvision",
        "sklearn",
        "pooch",
        "PIL",
        "requests",
        "scipy",
        "pandas",
        "h5py",
        "torch_geometric",
        "ase",
        "hydra",
        "omegaconf",
    ]
    code = (
        f"import sys, importlib\nfor t in {targets}: importlib.import_module(t)\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
