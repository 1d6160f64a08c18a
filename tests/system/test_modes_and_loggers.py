"""mode=test gives the numbers of the training run; the best checkpoint is what gets tested; loggers
write what they should."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch

GROUP_NET = (
    "net=ckresnet",
    "base_group=se2",
    "conv=partial",
    "kernel=siren",
    "dataset=digits",
    "dataset.train_size=40",
    "dataset.test_size=12",
    "net.channels=2",
    "net.kernel_size=3",
    "net.pool_blocks=[]",
    "kernel.hidden=4",
    "train.epochs=2",
    "train.batch_size=20",
    "train.symmetry_lr=0.05",
    "mode.response_images=0",
)
"""A run whose layers learn their part of the group, made tiny."""


def metrics(done):
    assert done.code == 0, done.out + done.err
    return json.loads((done.directory / "result.json").read_text())["metrics"]


@pytest.mark.parametrize(
    ("extra", "name"), [((), "last.pt"), (("dataset.val_size=12",), "best.pt")]
)
def test_a_checkpoint_gives_the_test_metrics_of_its_run(main, tiny, extra, name):
    trained = main(*tiny, *extra, "seed=3", "train.epochs=4", "net.learn=all", "net.test_copies=3")
    expected = metrics(trained)
    tested = main("mode=test", f"checkpoint={trained.directory}/checkpoints/{name}", "seed=3")
    found = metrics(tested)
    for key in ("test_loss", "test_accuracy", "learned_rotation_width_rad"):
        assert found[key] == expected[key]
    if extra:
        assert found["val_accuracy"] == expected["val_accuracy"]
    assert "-test-" in tested.directory.name
    assert not (tested.directory / "checkpoints").exists(), "testing writes no checkpoint"


def test_single_settings_of_the_data_go_on_top_of_the_checkpoint(main, tiny):
    trained = main(*tiny, "net.learn=all")
    path = f"checkpoint={trained.directory}/checkpoints/last.pt"
    same = main("mode=test", path)
    more = main("mode=test", path, "dataset.test_size=30", "dataset.seed=5")
    config = json.loads((more.directory / "result.json").read_text())
    assert config["data"]["sizes"]["test"] == 30
    assert config["data"]["sizes"]["train"] == 24, "the rest is the checkpoint's"
    assert metrics(more)["test_loss"] != metrics(same)["test_loss"]
    assert more.directory != same.directory


def test_another_checkpoint_at_the_same_place_is_another_test(main, tiny, tmp_path):
    """The name of the file does not say what is in it."""
    first, second = main(*tiny), main(*tiny, "seed=1")
    found = []
    for trained in (first, second):
        (tmp_path / "model.pt").write_bytes(
            (trained.directory / "checkpoints" / "last.pt").read_bytes()
        )
        found.append(metrics(main("mode=test", "checkpoint=model.pt"))["test_loss"])
    assert found[0] == metrics(first)["test_loss"]
    assert found[1] != found[0]


def test_the_best_checkpoint_is_what_gets_tested(main, tiny, monkeypatch):
    """The validation accuracies are dictated: epoch 2 is the best of four."""
    from learnsym.training.loop import Training

    dictated = {1: 0.1, 2: 0.9, 3: 0.3, 4: 0.2}
    original = Training.evaluate

    def evaluate(self, name):
        found = original(self, name)
        return found | {"accuracy": dictated[self.progress.epoch + 1]} if name == "val" else found

    monkeypatch.setattr(Training, "evaluate", evaluate)
    trained = main(*tiny, "dataset.val_size=12", "train.epochs=4")
    assert metrics(trained)["epochs"] == 2
    assert metrics(trained)["val_accuracy"] == 0.9
    folder = trained.directory / "checkpoints"
    monkeypatch.setattr(Training, "evaluate", original)
    losses = {
        n: metrics(main("mode=test", f"checkpoint={folder}/{n}.pt"))["test_loss"]
        for n in ("best", "last")
    }
    assert metrics(trained)["test_loss"] == losses["best"] != losses["last"]
    assert torch.load(folder / "best.pt", weights_only=True)["progress"]["epoch"] == 2


def test_half_precision_runs(main, tiny):
    done = main(
        *tiny,
        "trainer.precision=bf16-mixed",
        "train.epochs=1",
        "mode.response_images=2",
        "mode.response_angles=4",
    )
    assert 0 <= metrics(done)["test_accuracy"] <= 1


def test_tensorboard_has_the_numbers(main, tiny, recwarn):
    if importlib.util.find_spec("tensorboard") is None:
        pytest.skip("tensorboard is not installed")
    import warnings

    warnings.simplefilter("ignore")  # tensorboard's own remarks
    done = main(*tiny, "logger=tensorboard")
    rows = [
        json.loads(line) for line in (done.directory / "metrics.jsonl").read_text().splitlines()
    ]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(done.directory / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("train_loss")] == [1, 2]
    assert [e.value for e in events.Scalars("train_loss")] == pytest.approx(
        [r["train_loss"] for r in rows], rel=1e-6
    )
    assert events.Scalars("result/test_accuracy")[0].value == pytest.approx(
        metrics(done)["test_accuracy"]
    )


@pytest.mark.long
def test_wandb_writes_offline(process, tiny):
    """In a process of its own, which wandb's threads and atexit hooks ask for."""
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed")
    done = process(
        *tiny, "train.epochs=1", "logger=wandb", WANDB_SILENT="true", WANDB_MODE="offline"
    )
    assert done.code == 0, done.err
    assert list((done.directory / "wandb").glob("offline-run-*/*.wandb"))
    assert (done.directory / "metrics.jsonl").exists()


def test_the_figure_and_the_responses(main, tiny, drawn):
    done = main(*tiny, "mode.response_images=3", "mode.response_angles=4", "mode.response_copies=2")
    curve = json.loads((done.directory / "curves.json").read_text())["angle_response"]
    assert len(curve["angles_deg"]) == len(curve["probability"])
    assert all(0 <= p <= 1 for p in curve["probability"])
    figure = next(line for line in done.out.splitlines() if line.startswith("figure: "))
    assert Path(figure.removeprefix("figure: ")).read_bytes()[:4] == b"\x89PNG"


def test_one_ruler_before_and_after_a_training_and_from_its_checkpoint(main, tiny):
    """What a training measures of itself is what the mode measures of its checkpoint, and costs no
    random number."""
    plain = metrics(main(*tiny))
    trained = main(*tiny, "analysis.equivariance_angles=[90.0]")
    found = metrics(trained)
    assert {k: v for k, v in found.items() if "equivariance" not in k} == plain
    assert (
        found["initial_equivariance_error_90deg/logits"] != found["equivariance_error_90deg/logits"]
    )
    measured = main(
        "mode=equivariance",
        f"checkpoint={trained.directory}/checkpoints/last.pt",
        "mode.angles=[90.0]",
    )
    layers = {k: v for k, v in found.items() if k.startswith("equivariance_error")}
    assert metrics(measured) == pytest.approx(layers)
    assert any(k.startswith("equivariance_error_90deg/backbone.") for k in layers)
    refused = main(
        "mode=equivariance",
        f"checkpoint={trained.directory}/checkpoints/last.pt",
        "mode.layer=lift",
    )
    assert refused.code == 2
    assert "mode.layer=lift would have no effect" in refused.err


def test_equivariance_and_freezing_of_a_trained_network(main, drawn):
    """One training, then both modes: what they report, the files they leave, and what they
    refuse."""
    trained = main(*GROUP_NET, "mode.response_images=20", "mode.response_angles=5")
    metrics_of_training = metrics(trained)
    assert (trained.directory / "figures" / "learned_symmetry.png").read_bytes()[:4] == b"\x89PNG"
    path = f"checkpoint={trained.directory}/checkpoints/last.pt"

    measured = main(
        "mode=equivariance", path, "mode.images=3", "mode.angles=[45.0,180.0]", "mode.layer=last"
    )
    found = metrics(measured)
    assert found["equivariance_error_180deg/lift"] < 1e-12, "the lifting lives on the whole circle"
    assert found["equivariance_error_45deg/lift"] > 1e-3, (
        "an image of 8 x 8 pixels suffers from interpolation"
    )
    assert "equivariance_error_180deg/logits" in found
    errors = json.loads((measured.directory / "curves.json").read_text())["layer_equivariance"][
        "errors"
    ]
    assert set(errors) == {"45deg", "180deg"}
    assert errors["180deg"]["blocks.0"]["elements"] <= 8
    figures = sorted(p.name for p in (measured.directory / "figures").iterdir())
    assert figures == ["equivariance_error.png", "feature_maps.png", "sampled_kernels.png"]
    refused = main("mode=equivariance", path, "mode.layer=head")
    assert refused.code == 2
    assert (
        "mode.layer=head: the network has no such convolution; valid: lift, blocks.0.conv1"
        in refused.err
    )

    frozen = main("mode=freeze", path, "mode.batch=4", "mode.repeats=2")
    found = metrics(frozen)
    assert found["test_loss"] == pytest.approx(metrics_of_training["test_loss"], abs=1e-5)
    assert found["test_accuracy"] == metrics_of_training["test_accuracy"]
    assert 0 <= found["largest_output_difference"] < 1e-5
    assert found["frozen_parameters"] < found["network_parameters"]
    assert found["frozen_ms_per_image"] > 0
    assert (frozen.directory / "frozen.pt2").stat().st_size > 1000


def test_freezing_refuses_other_networks(main, tiny):
    trained = main(*tiny)
    refused = main("mode=freeze", f"checkpoint={trained.directory}/checkpoints/last.pt")
    assert refused.code == 2
    assert re.search("an? Augerino cannot be frozen", refused.err)
    assert len(refused.err.strip().splitlines()) == 1
    assert main("mode=freeze").code == 2
