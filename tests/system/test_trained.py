"""load(): a network with its preprocessing, from the directory of a run."""

import dataclasses

import pytest
import torch

from learnsym.config.former_names import with_former_names
from learnsym.data.base import ImageData
from learnsym.errors import CheckpointError
from learnsym.run.trained import load
from learnsym.training import checkpoint

SMALL = ("net.backbone.width=4", "dataset.train_size=40", "dataset.test_size=24")
SMALL += ("train.epochs=1", "mode.response_images=0")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder of all tests here."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def run(shared, main):
    """The directory of a small training on sprites."""
    done = main(*SMALL, f"paths.out={shared / 'runs'}")
    assert done.code == 0, done.err
    return next((shared / "runs").glob("augerino-*"))


def stored(model):
    """Test examples as the data set stores them."""
    from omegaconf import OmegaConf

    from learnsym.config.build import build

    return build(OmegaConf.create(model.config), "dataset").splits["test"]


def test_predictions_are_those_of_the_test(run):
    model = load(run)
    split = stored(model)
    torch.manual_seed(0)  # the test's own draws of the augmentation
    probabilities = model.predict(split.inputs)
    assert probabilities.shape == (24, 4)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(24))
    state = checkpoint.load(run / "checkpoints/last.pt")
    torch.testing.assert_close(model.net.state_dict(), state["net"])
    assert len(model.class_names) == 4
    assert not model.net.training


def test_preprocessing_is_the_trainings(run):
    model = load(run)
    assert type(model.data) is ImageData
    split = stored(model)
    prepared = (split.inputs.float() / 255 - torch.tensor(model.info.mean).view(-1, 1, 1)) / (
        torch.tensor(model.info.std).view(-1, 1, 1)
    )
    torch.testing.assert_close(model.data.prepare(split.inputs), prepared, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_of_the_first_version_reads_its_data_again(run, shared):
    state = checkpoint.load(run / "checkpoints/last.pt")
    old = {k: v for k, v in state.items() if k not in ("data", "format")}
    old["config"] = with_former_names(old["config"])
    assert old["config"]["kernel"]["_target_"] == "learnsym.kernels.siren.Siren"
    checkpoint.save(shared / "old.pt", old)
    now, then = load(run / "checkpoints/last.pt"), load(shared / "old.pt")
    same = dataclasses.replace(then.info, sizes=now.info.sizes)
    assert same == dataclasses.replace(now.info, sizes=now.info.sizes)
    images = stored(now).inputs[:4]
    torch.manual_seed(0)
    first = now.predict(images)
    torch.manual_seed(0)
    assert torch.equal(first, then.predict(images))


def test_examples_of_another_shape_are_refused(run):
    model = load(run)
    with pytest.raises(ValueError, match=r"shape \[3, 32, 32\], got \[1, 8, 8\]"):
        model.predict(torch.zeros(2, 1, 8, 8))


def test_no_run_is_there(tmp_path):
    with pytest.raises(CheckpointError, match="expected the directory of a run"):
        load(tmp_path)


def test_numbers_come_in_their_unit(shared, main):
    words = ("experiment=augerino/qm9/trivial3_none", "dataset=toy_molecules", "scale=smoke")
    done = main(*words, f"paths.out={shared / 'molecules'}", "train.epochs=1")
    assert done.code == 0, done.err
    model = load(next((shared / "molecules").glob("*")))
    split = stored(model)
    predicted = model.predict(split.inputs[:8])
    outputs = model.net(model.data.prepare(split.inputs[:8]))
    assert model.targets is not None
    torch.testing.assert_close(predicted, model.targets.in_units(outputs.double()).detach())
