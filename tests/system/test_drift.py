"""`mode=drift` from the command line: what a run leaves, which networks drift, that interruptions
change nothing, mistakes."""

import json
from functools import partial, partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
KINDS = ("cross", "skew", "nonunitary")
LAYERS = ["conv0", "conv1", "conv2", "linear"]
SMALL = ("scale=smoke", "dataset.file=noise.npz", "dataset.side=12", "net.side=12", "net.channels=[3,4,4]",  # noqa: E501
         "dataset.train_size=25", "dataset.test_size=15", "train.batch_size=20")  # fmt: skip
"""The presets with pictures of our own instead of MNIST: 5 steps an epoch of all rotations, 2 of
the data as they are."""
BY_HAND = ("mode=drift", "train/optimizer=sgd", "train.optimizer.momentum=0", "train.optimizer.nesterov=false",  # noqa: E501
           "train/schedule=constant")  # fmt: skip


@pytest.fixture
def words(tmp_path):
    """words("cross") are those of a tiny run. Its pictures: 40 of noise that is brighter the higher
    their class."""
    draw = np.random.default_rng(0)
    labels = np.arange(40) % 10
    images = (draw.random((40, 28, 28)) * (60 + 19 * labels[:, None, None])).astype(np.uint8)
    parts = {
        "images_train": images[:25],
        "images_test": images[25:],
        "labels_train": labels[:25],
        "labels_test": labels[25:],
    }
    np.savez(tmp_path / "noise.npz", **parts)
    return lambda kind: (f"experiment=dynamics/c4_{kind}", *SMALL)


def check_run(done, repetitions, epochs, per_epoch, steps_shown):
    """What every run leaves, and that it fits together."""
    metrics, records, steps = done.result["metrics"], done.records(), epochs * per_epoch
    assert list(records["arms"]) == ["augmented"]
    assert list(records["layers"]) == LAYERS
    assert records.keys() == {"arms", "layers", "loss", "distance", "norm", "test_accuracy"}
    for name, tail in {"loss": (), "distance": (4,), "norm": (4,), "test_accuracy": ()}.items():
        assert records[name].shape == (1, repetitions, steps + 1, *tail), name
    assert np.isfinite(records["distance"]).all(), "after every step"
    assert np.isfinite(records["loss"][:, :, :-1]).all()
    for name in ("norm", "test_accuracy"):
        assert np.isfinite(records[name][:, :, ::per_epoch]).all(), "after every epoch"
    assert len(set(records["loss"][0, :, 0])) == repetitions, "repetitions have starts of their own"

    distance = np.sqrt((records["distance"][0] ** 2).sum(-1))
    norm = np.sqrt((records["norm"][0, :, -1] ** 2).sum(-1))
    expected = {
        "distance_to_equivariance": np.median(distance[:, -1]),
        "relative_distance_to_equivariance": np.median(distance[:, -1] / norm),
        "distance_to_equivariance_start": np.median(distance[:, 0]),
        "test_accuracy": np.median(records["test_accuracy"][0, :, -1]),
        "test_accuracy_start": np.median(records["test_accuracy"][0, :, 0]),
    }
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, rel=1e-9), name

    curve = json.loads((done.directory / "curves.json").read_text())["drift"]
    assert curve["steps_per_epoch"] == per_epoch
    np.testing.assert_allclose(curve["per_epoch"], distance[:, ::per_epoch])
    np.testing.assert_allclose(curve["per_step"], distance[:, : steps_shown + 1])
    rows = [
        json.loads(line) for line in (done.directory / "metrics.jsonl").read_text().splitlines()
    ]
    assert [(row["epoch"], row["step"]) for row in rows] == [
        (epoch, epoch * per_epoch) for epoch in range(epochs + 1)
    ]
    for row in rows:
        assert row["distance_to_equivariance"] == pytest.approx(np.median(distance[:, row["step"]]))
        assert row["test_accuracy"] == pytest.approx(
            np.median(records["test_accuracy"][0, :, row["step"]])
        )
        assert ("loss" in row) == (row["step"] < steps)
    assert done.result["figures"] == ["figures/drift.png"]
    assert (done.directory / "figures" / "drift.png").exists()
    assert done.err == ""
    return metrics


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_leaves(main, words, kind):
    done = main(*words(kind), "train.epochs=3", "mode.steps_shown=4")
    metrics = check_run(done, 2, 3, 5, 4)
    assert metrics["distance_to_equivariance"] > 100 * metrics["distance_to_equivariance_start"]
    assert metrics["distance_to_equivariance_start"] < (1e-5 if kind == "nonunitary" else 1e-7)
    assert {entry["metric"] for entry in done.result["paper"]} <= set(metrics)
    assert not list((done.directory / "checkpoints").glob("best*"))


@pytest.mark.usefixtures("drawn")
def test_the_figure_is_a_figure(main, words):
    done = main(*words("skew"))
    check_run(done, 2, 1, 5, 5)
    assert (done.directory / "figures" / "drift.png").read_bytes().startswith(b"\x89PNG")


def test_whole_orbits_keep_the_cross_and_not_the_others(main, words):
    extra = ("trainer.precision=64-true", "train.epochs=4", "train.optimizer.lr=0.01")
    found = {}
    for kind in KINDS:
        done = main(*words(kind), *extra, "augmentation.batching=whole_orbits")
        found[kind] = check_run(done, 2, 4, 5, 20)["distance_to_equivariance"]
    shuffled = main(*words("cross"), *extra).result["metrics"]
    assert found["cross"] < 1e-12
    assert min(shuffled["distance_to_equivariance"], found["skew"], found["nonunitary"]) > 1e-4


def test_both_trainings_lower_the_loss(main, words):
    long = main(*words("skew"), "mode.equivariant_epochs=40", "mode.equivariant_lr=0.05")
    short = main(*words("skew"), "mode.equivariant_lr=0.05")
    after = [np.median(done.records()["loss"][0, :, 0]) for done in (long, short)]
    assert after[0] < 0.9 * after[1]
    assert long.result["metrics"]["distance_to_equivariance_start"] < 1e-6
    free = main(*words("skew"), "train.optimizer.lr=0.1", "train.epochs=20").records()["loss"][0]
    assert (free[:, -6:-1].mean(1) < 0.9 * free[:, :5].mean(1)).all()


@pytest.mark.parametrize("kind", ["cross", "nonunitary"])
def test_chunks_change_nothing_but_rounding(main, words, kind):
    expected = main(*words(kind), "mode.repetitions=3", "mode.ensemble_chunk=3").records()
    for chunk in (1, 2):
        found = main(*words(kind), "mode.repetitions=3", f"mode.ensemble_chunk={chunk}").records()
        for name in ("loss", "distance", "norm"):
            np.testing.assert_allclose(
                found[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name
            )


@pytest.mark.parametrize(
    ("kind", "batching"),
    [("cross", "whole_orbits"), ("skew", "shuffled"), ("nonunitary", "whole_orbits")],
)
def test_real_data(main, real_data, kind, batching):
    """The presets as they are, at the smallest scale."""
    done = main(
        f"experiment=dynamics/c4_{kind}",
        "scale=smoke",
        f"paths.data={real_data}",
        f"augmentation.batching={batching}",
    )
    metrics = check_run(done, 2, 1, 16, 2400)
    if (kind, batching) == ("cross", "whole_orbits"):
        assert metrics["distance_to_equivariance"] < 1e-5
    else:
        assert metrics["distance_to_equivariance"] > 1e-5


# --- interruptions


@pytest.mark.long
@pytest.mark.parametrize(("kind", "stops"), [("cross", (3, 9, 16)), ("nonunitary", (4, 6, 12, 18))])
def test_an_interrupted_run_goes_on_to_the_last_bit(main, words, monkeypatch, kind, stops):
    """Two chunks of 4 equivariant and 5 free steps: stopped within either, between them, between
    the chunks, after all steps."""
    from learnsym.dynamics.sgd import MiniBatchSGD
    from learnsym.modes import ensemble_mode

    class Always(ensemble_mode.EnsembleCheckpoint):
        """Writes at every step, however long that takes; may stop before it writes that a chunk is
        done."""

        def save(self, *args, **settings):
            if len(taken) == 18 and len(args) == 2:
                raise KeyboardInterrupt
            self.seconds = 0.0
            super().save(*args, **settings)

    command = (
        *words(kind),
        "mode.repetitions=3",
        "mode.ensemble_chunk=2",
        "mode.equivariant_epochs=2",
    )
    expected = main(*command, "paths.out=undisturbed")
    step, taken = MiniBatchSGD.step, []

    def counting(self, most=100):
        if len(taken) == most:
            raise KeyboardInterrupt
        taken.append((self.equivariant, self.step_number))
        return step(self)

    for calls in stops:
        taken.clear()
        out = f"paths.out=stopped{calls}"
        with monkeypatch.context() as patch:
            patch.setattr(ensemble_mode, "EnsembleCheckpoint", partial(Always, seconds=0.0))
            patch.setattr(MiniBatchSGD, "step", partialmethod(counting, most=calls))
            assert main(*command, out).code == 130
        with monkeypatch.context() as patch:
            patch.setattr(MiniBatchSGD, "step", counting)
            torch.randn(5)  # whatever has been drawn meanwhile
            again = main(*command, out)
        assert again.code == 0, again.err
        first, done = (1, calls) if calls < 9 else (3, calls - 9)
        assert f"continuing at repetition {first}, step {done}" in again.out
        assert taken == [*((True, n) for n in range(4)), *((False, n) for n in range(5))] * 2, (
            "every step is done once"
        )
        whole, mended = expected.records(), again.records()
        assert whole.keys() == mended.keys()
        for name, series in whole.items():
            np.testing.assert_array_equal(mended[name], series, err_msg=name)
        for name in ("metrics.jsonl", "curves.json"):
            assert (again.directory / name).read_bytes() == (expected.directory / name).read_bytes()
        assert again.result["metrics"] == expected.result["metrics"]
    assert "this run is finished" in main(*command, out).out


def test_a_training_that_diverges_says_so(main, words):
    done = main(*words("cross"), "train.optimizer.lr=1e38")
    assert done.code == 1
    assert "the training has diverged" in done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_debug_runs_little_and_leaves_nothing(main, words):
    done = main(
        *words("nonunitary"), "debug=true", "mode.repetitions=5", "mode.equivariant_epochs=100000"
    )
    assert done.code == 0, done.out + done.err
    assert "repetitions 1-2 of 2" in done.out
    assert not list(Path.cwd().glob("**/records.npz"))


# --- mistakes


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (
            ("augmentation.batching=whole_orbits", "train.batch_size=50"),
            "train.batch_size=50 is no multiple of the 4 elements",
        ),
        (("train.optimizer.momentum=0.9",), "mode=drift is plain gradient descent"),
        (("train.optimizer.weight_decay=0.1",), "mode=drift is plain gradient descent"),
        (("train/schedule=cosine",), "Try train/schedule=constant"),
        (("net.support=corner",), "net.support"),
        (("net.basis=skew",), "net.basis"),
        (("net.side=28",), "net does not fit dataset=mnist"),
        (("net.side=8",), "side=8: two poolings"),
        (("net.side=30", "dataset.side=30"), "side=30: two poolings"),
        (("mode.equivariant_lr=0",), "mode.equivariant_lr"),
        (("augmentation.batching=orbits",), "augmentation.batching"),
        (("augmentation.passes=3",), "augmentation.passes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_refused_in_a_sentence(main, words, extra, said):
    check_refusal(main(*words("cross"), *extra), said)


def test_another_network_is_refused(main):
    check_refusal(main(*BY_HAND, "net=conv5", "dataset=digits"), "mode=drift is of net=c4_conv")
    check_refusal(
        main(*BY_HAND, "net=c4_conv", "net.side=8", "dataset=digits"),
        "side=8: two poolings need a multiple of 4",
    )


def check_refusal(done, said):
    assert done.code == 2, done.out + done.err
    assert said in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in done.err
