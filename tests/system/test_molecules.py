"""Molecules on the command line: what composes without further words, runs, what is refused, and a
killed run goes on."""

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from learnsym.config.resolvers import register_resolvers
from learnsym.config.search_path import CONFIG_DIR
from learnsym.run.summary import published

TOYS = (
    "dataset=toy_molecules",
    "dataset.train_size=24",
    "dataset.test_size=12",
    "train.batch_size=12",
    "train.epochs=2",
    "mode.turned_molecules=6",
)
NARROW = ("net.backbone.width=8", "net.backbone.blocks=1")
"""An Augerino net on toy molecules, made tiny."""


@pytest.fixture
def composed():
    """composed(*overrides): the configuration and the choices of all groups."""
    register_resolvers()

    def make(*overrides):
        cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
        return cfg, cfg.hydra.runtime.choices

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield make


# --- composition


@pytest.mark.parametrize("dataset", ["qm9", "molecules", "toy_molecules"])
def test_augerino_on_molecules_composes_without_further_words(composed, dataset):
    cfg, choices = composed("net=augerino", f"dataset={dataset}")
    assert cfg.net._target_ == "learnsym.nets.augerino.Augerino"
    assert cfg.net.backbone._target_ == "learnsym.nets.lieconv.LieConvNet"
    assert (choices["base_group"], choices["kind"]) == ("affine3", "points")
    assert cfg.net.group._target_ == "learnsym.groups.spatial.Affine3"
    assert (cfg.net.learn, cfg.net.initial_widths, cfg.net.regulariser) == ("all", None, "squares")
    assert cfg.net.initial_width == pytest.approx(np.log1p(np.exp(0.54)))
    assert "kind" not in cfg, "it only chooses"


def test_what_is_typed_wins(composed):
    cfg, choices = composed(
        "dataset=qm9",
        "base_group=se3",
        "net/backbone=conv5",
        "net.learn=[rotation_x]",
        "net.regulariser=norm",
    )
    assert (choices["base_group"], choices["net/backbone"]) == ("se3", "conv5")
    assert (cfg.net.learn, cfg.net.regulariser) == (["rotation_x"], "norm")
    assert (
        composed("dataset=qm9", "net=augerino", "net.backbone.blocks=2")[0].net.backbone.blocks == 2
    )
    assert composed("dataset=qm9", "net=lieconv", "net.width=64")[0].net.width == 64


def test_images_are_as_they_were(composed):
    cfg, choices = composed()
    assert (choices["base_group"], choices["kind"]) == ("affine2", "images")
    assert OmegaConf.to_container(cfg.net.backbone) == {
        "_target_": "learnsym.nets.plain_cnn.SimpleConv",
        "width": 16,
    }
    assert OmegaConf.to_container(cfg.net.learn) == ["rotation"]
    preset, choices = composed("experiment=augerino/olivetti")
    assert choices["net/backbone"] == "simple_conv"
    assert preset.base_group._target_ == "learnsym.groups.planar.Affine2"


ARMS = [f"{group}_{arm}" for group in ("trivial3", "t3") for arm in ("none", "se3", "augerino")]


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("data", [(), ("dataset=molecules", "dataset.file=mine.npz")])
def test_the_arms_are_what_the_paper_says(composed, arm, data):
    cfg, choices = composed(f"experiment=augerino/qm9/{arm}", *data)
    group, _, kind = arm.partition("_")
    net = cfg.net.backbone if kind == "augerino" else cfg.net
    assert (net.group, net.width, net.blocks) == (group, 1536, 6)
    assert choices["net"] == ("augerino" if kind == "augerino" else "lieconv")
    assert cfg.dataset.augment == ("se3" if kind == "se3" else "none")
    assert cfg.dataset.target == "homo"
    assert (cfg.train.epochs, cfg.train.batch_size, cfg.train.optimizer.lr) == (500, 75, 3e-3)
    assert cfg.train.schedule.warmup_epochs == 5
    assert cfg.train.loss == "likelihood", "which is absolute error for molecules"
    if kind == "augerino":
        assert (cfg.net.regularisation, cfg.net.regulariser, cfg.net.learn, cfg.net.center) == (
            1e-3,
            "squares",
            "all",
            True,
        )
        assert cfg.net.initial_width == pytest.approx(np.log1p(np.exp(0.54)))
        assert choices["base_group"] == "affine3"
    if not data:
        assert (cfg.dataset.train_size, cfg.dataset.val_size, cfg.dataset.test_size) == (
            None,
            17_748,
            None,
        )


def test_the_papers_value_is_that_of_the_target(composed):
    for target, values in (("homo", [34.2]), ("lumo", [30.1]), ("gap", [])):
        cfg, _ = composed("experiment=augerino/qm9/t3_none", f"dataset.target={target}")
        plain = OmegaConf.to_container(
            OmegaConf.masked_copy(cfg, ["paper", "dataset"]), resolve=False
        )
        assert [entry["value"] for entry in published(plain)] == values
    own = {"_target_": "learnsym.data.molecules.files.Molecules", "target": "homo"}
    assert published({"dataset": own, "paper": [{"metric": "m", "value": 1}]}) == [
        {"metric": "m", "value": 1}
    ]
    assert published(plain | {"dataset": own}) == [], "errors on other molecules are not comparable"


# --- runs


def test_augerino_learns_twelve_widths(main, drawn):
    done = main(*TOYS, *NARROW, "net.test_copies=2")
    metrics = done.result["metrics"]
    assert len([k for k in metrics if k.startswith("learned_")]) == 12
    assert metrics["learned_rotation_x_width_rad"] != pytest.approx(1.0, abs=1e-9), "it has moved"
    assert {"test_mae_mev", "test_loss", "median_mae_mev", "test_rotation_std_mev"} <= set(metrics)
    assert "test_median_mae_mev" not in metrics
    assert all(
        name in done.out for name in ("test_mae_mev", "median_mae_mev", "test_rotation_std_mev")
    )
    (figure,) = done.result["figures"]
    assert (done.directory / figure).stat().st_size > 10_000, "the widths, without pictures"
    assert done.result["data"]["sizes"] == {"train": 24, "test": 12}


@pytest.mark.parametrize("augment", ["none", "se3"])
def test_a_network_alone(main, augment):
    done = main(
        *TOYS,
        "net=lieconv",
        "net.group=trivial3",
        "net.width=8",
        "net.blocks=1",
        f"dataset.augment={augment}",
    )
    metrics = done.result["metrics"]
    assert metrics["test_rotation_std_mev"] > 0
    assert done.result["figures"] == []
    assert done.result["paper"] == []


def test_the_baseline_is_the_training_median(main, tmp_path):
    from learnsym.data import ToyMolecules

    data = ToyMolecules(24, 0, 12)
    expected = (
        (data.splits["test"].targets - data.splits["train"].targets.quantile(0.5)).abs().mean()
    )
    metrics = main(*TOYS, *NARROW).result["metrics"]
    assert metrics["median_mae_mev"] == pytest.approx(float(expected), rel=1e-9)
    assert metrics["test_mae_mev"] == pytest.approx(
        metrics["test_loss"] * metrics["train_median_mae_mev"], rel=1e-5
    )


def test_a_checkpoint_gives_the_metrics_of_its_run(main):
    trained = main(*TOYS, *NARROW, "seed=2")
    tested = main(
        "mode=test",
        f"checkpoint={trained.directory}/checkpoints/last.pt",
        "seed=2",
        "mode.turned_molecules=6",
    )
    for key in ("test_mae_mev", "median_mae_mev", "test_rotation_std_mev", "learned_scale_width"):
        assert tested.result["metrics"][key] == trained.result["metrics"][key]
    none = main(
        "mode=test",
        f"checkpoint={trained.directory}/checkpoints/last.pt",
        "mode.turned_molecules=0",
    )
    assert "test_rotation_std_mev" not in none.result["metrics"]


def test_the_best_checkpoint_of_a_validation_set(main):
    metrics = main(*TOYS, *NARROW, "dataset.val_size=8", "train.epochs=3").result["metrics"]
    assert {"val_loss", "val_mae_mev", "test_mae_mev"} <= set(metrics)


def test_a_width_can_be_forced(main):
    words = [w for w in TOYS if not w.startswith("mode.")]
    done = main(
        *words,
        *NARROW,
        "mode=width_sweep",
        "mode.generator=rotation_z",
        "mode.points=2",
        "mode.batches=1",
        "mode.at=[2.0]",
    )
    assert np.isfinite(done.result["metrics"]["gradient_at_width_2.0"])


def test_a_killed_run_goes_on_to_the_last_bit(main, monkeypatch):
    from learnsym.training.loop import Training

    words = (*TOYS, *NARROW, "dataset.augment=se3", "train.epochs=3")
    whole = main(*words, "paths.out=whole")
    original = Training._train_epoch

    def stop(self):
        if self.progress.epoch == 2:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(Training, "_train_epoch", stop)
    assert main(*words, "paths.out=cut").code != 0
    monkeypatch.setattr(Training, "_train_epoch", original)
    again = main(*words, "paths.out=cut")
    assert "continuing after epoch 2" in again.out
    assert again.rows == whole.rows
    assert again.result["metrics"] == whole.result["metrics"]


def test_files_of_ones_own(main, tmp_path):
    draw = np.random.default_rng(0)
    charges = draw.choice([1, 6, 7, 8, 9], (30, 5))
    charges[:10, 3:] = 0
    np.savez(
        tmp_path / "mine.npz",
        charges=charges,
        positions=draw.normal(size=(30, 5, 3)),
        homo=draw.normal(size=30),
        mu=np.ones(30),
    )
    words = (
        "experiment=augerino/qm9/t3_none",
        "scale=smoke",
        "dataset=molecules",
        "dataset.file=mine.npz",
        "dataset.train_size=20",
    )
    done = main(*words, "dataset.test_size=6")
    assert done.result["metrics"]["test_mae_mev"] > 0
    assert done.result["paper"] == [], "QM9's"
    other = main(*words, "dataset.test_size=6", "dataset.target=mu")
    assert other.result["metrics"]["test_mae_debye"] >= 0
    assert other.result["paper"] == []


# --- mistakes

WRONG = [
    (["net=lieconv", "dataset=sprites"], ["LieConvNet", "dataset=sprites"]),
    (
        ["dataset=toy_molecules", "base_group=affine2"],
        ["base_group: Affine2", "ToyMolecules", "point clouds", "affine3"],
    ),
    (["base_group=affine3"], ["base_group: Affine3", "Sprites", "images", "affine2"]),
    (
        ["dataset=toy_molecules", "net=conv5"],
        ["net: Conv5 does not take point clouds", "net=lieconv"],
    ),
    (
        ["dataset=toy_molecules", "net=ckresnet", "base_group=se2"],
        ["net: CKResNet does not take point clouds", "net=lieconv"],
    ),
    (
        ["dataset=toy_molecules", "net/backbone=conv13"],
        ["net: Conv13 does not take point clouds", "net/backbone=lieconv"],
    ),
    (
        ["dataset=toy_molecules", "mode=dynamics"],
        ["mode=dynamics is for images", "ToyMolecules", "mode=train"],
    ),
    (["dataset=toy_molecules", "mode=drift"], ["mode=drift is for images"]),
    (
        ["dataset=toy_molecules", "analysis.distance_to_equivariance=true"],
        ["analysis.distance_to_equivariance=true", "images"],
    ),
    (
        ["dataset=toy_molecules", "trainer.channels_last=true"],
        ["trainer.channels_last=true", "Try trainer.channels_last=false"],
    ),
    (
        ["dataset=toy_molecules", "dataset.augment=flip"],
        ["dataset.augment=flip", "'none' or 'se3'"],
    ),
    (["dataset=sprites", "dataset.augment=se3"], ["dataset.augment=se3", "'flip'"]),
    (
        ["dataset=toy_molecules", "net.learn=[rotation]"],
        ["rotation", "rotation_x, rotation_y, rotation_z"],
    ),
    (
        ["dataset=toy_molecules", "train.loss=squared_error"],
        ["train.loss=squared_error is for classes"],
    ),
    (["train.loss=absolute_error"], ["train.loss=absolute_error is for numbers", "sprites"]),
    (
        ["dataset=toy_molecules", "mode=width_sweep"],
        ["mode.generator=rotation", "it learns translation_x"],
    ),
    (["dataset=molecules"], ["dataset.file", "Missing"]),
    (["dataset=molecules", "dataset.file=none.npz"], ["dataset.file", "none.npz"]),
    (
        ["dataset=molecules", "dataset.file=none.npz", "dataset.unit=joule"],
        ["dataset.unit=joule", "'hartree'"],
    ),
    (["dataset=qm9", "dataset.target=HOMO"], ["dataset.target=HOMO", "'homo'"]),
    (
        ["experiment=augerino/qm9/t4_none"],
        ["experiment=augerino/qm9/t4_none", "did you mean augerino/qm9/t3_none?"],
    ),
]


@pytest.mark.parametrize(
    ("words", "parts"), WRONG, ids=lambda v: " ".join(v) if isinstance(v, list) else None
)
def test_a_wrong_command_is_answered_in_one_sentence(main, words, parts):
    done = main(*words, "train.epochs=1")
    assert done.code == 2, done.out + done.err
    (line,) = done.err.strip().splitlines()
    assert line.startswith("error: ")
    assert line.endswith(".")
    for part in parts:
        assert part in line


def test_a_checkpoint_of_molecules_in_other_modes(main):
    """Its equivariance error is measured; what is for images is refused, and so are groups that
    permute pixels."""
    trained = main(*TOYS, *NARROW, "mode.turned_molecules=0")
    path = f"checkpoint={trained.directory}/checkpoints/last.pt"
    measured = main("mode=equivariance", path, "mode.angles=[40.0]", "mode.images=4")
    assert measured.code == 0, measured.err
    assert 0 < measured.result["metrics"]["equivariance_error_40deg/logits"] < 10
    for words, sentence in (
        (
            ["mode=freeze"],
            "mode=freeze is for images, but ToyMolecules is a data set of point clouds",
        ),
        (
            ["mode=equivariance", "mode.group=shift_x"],
            "group=shift_x acts on images, and these are clouds of points",
        ),
    ):
        done = main(*words, path)
        assert done.code == 2
        (line,) = done.err.strip().splitlines()
        assert sentence in line


def test_qm9_without_torch_geometric(main, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    monkeypatch.setitem(sys.modules, "torch_geometric.datasets", None)
    done = main("net=augerino", "dataset=qm9", *NARROW, "train.epochs=1")
    assert done.code == 2
    assert "dataset=qm9 needs torch-geometric" in done.err
    assert len(done.err.strip().splitlines()) == 1


# --- real data


def test_the_isomers(main, real_data):
    words = (
        "scale=smoke",
        "dataset=molecules",
        f"dataset.file={real_data}/qm9_c7h10o2.npz",
        "dataset.target=homo",
    )
    done = main("experiment=augerino/qm9/t3_augerino", *words)
    metrics = done.result["metrics"]
    assert len([k for k in metrics if k.startswith("learned_")]) == 12
    assert 200 < metrics["median_mae_mev"] < 400
    assert (
        torch.load(done.directory / "checkpoints" / "last.pt", weights_only=True)["config"][
            "dataset"
        ]["target"]
        == "homo"
    )
