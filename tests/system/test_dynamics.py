"""`mode=dynamics` from the command line: what a run leaves, that chunks and interruptions change
nothing, what is refused."""

from functools import partial, partialmethod
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
ARMS = ("nominal", "equivariant", "augmented")
GRAPHS = ("experiment=dynamics/permutation", "scale=smoke", "dataset.count=20", "dataset.test_size=10", "net.channels=[3]",  # noqa: E501
          "net.features=4", "net.hidden=[3]")  # fmt: skip
"""The permutation experiment, made tiny."""
CLASSIFIED, SEGMENTED = ("accuracy",), ("pixel_accuracy", "iou")
PLAIN = ("mode=dynamics", "train/optimizer=sgd", "train.optimizer.momentum=0", "train.optimizer.nesterov=false",  # noqa: E501
         "train/schedule=constant")  # fmt: skip
LINEAR = ("net=projected_linear", "base_group=permutation", "dataset=graphs")


def check_records(records, repetitions, steps, layers, scores):
    assert list(records["arms"]) == list(ARMS)
    assert list(records["layers"]) == layers
    assert records.keys() == {
        "arms",
        "layers",
        "loss",
        "change",
        "distance",
        "norm",
        *(f"test_{s}" for s in scores),
    }
    for name in set(records) - {"arms", "layers"}:
        tail = (len(layers),) if name in ("change", "distance", "norm") else ()
        assert records[name].shape == (3, repetitions, steps + 1, *tail), name
        assert records[name].dtype == np.float64
        assert np.isfinite(records[name]).all(), name
    assert (records["change"][:, :, 0] == 0).all()
    assert (records["change"][:, :, 1:] > 0).all()
    assert (records["distance"][:, :, 0] == 0).all(), "all arms start at equivariant weights"
    for name in ("loss", "norm"):
        np.testing.assert_allclose(
            records[name][1:, :, 0],
            records[name][[0, 0], :, 0],
            rtol=1e-6,
            err_msg="all arms start alike",
        )
    first = records["loss"][0, :, 0]
    assert len(set(first)) == repetitions, "repetitions have starts of their own"
    nominal, equivariant, augmented = np.sqrt((records["distance"][:, :, -1] ** 2).sum(-1))
    assert (equivariant < 1e-6 * np.sqrt((records["norm"][1, :, -1] ** 2).sum(-1))).all()
    assert (nominal > 100 * equivariant).all()
    assert (augmented > 100 * equivariant).all(), "two passes do not average over the group"


def check_metrics(metrics, records, suffix=""):
    """Medians over repetitions of the last step."""
    total = {
        name: np.sqrt((records[name] ** 2).sum(-1))[:, :, -1]
        for name in ("change", "distance", "norm")
    }
    for place, arm in enumerate(ARMS):
        expected = {
            "final_loss": np.median(records["loss"][place, :, -1]),
            "change": np.median(total["change"][place]),
            "distance_to_equivariance": np.median(total["distance"][place]),
            "relative_distance_to_equivariance": np.median(
                total["distance"][place] / total["norm"][place]
            ),
        }
        expected |= {
            name: np.median(records[name][place, :, -1])
            for name in records
            if name.startswith("test_")
        }
        for layer, change, distance in zip(
            records["layers"],
            *(np.median(records[name][place, :, -1], axis=0) for name in ("change", "distance")),
            strict=True,
        ):
            assert metrics[f"change_{arm}/{layer}{suffix}"] == pytest.approx(change, rel=1e-9)
            assert metrics[f"distance_to_equivariance_{arm}/{layer}{suffix}"] == pytest.approx(
                distance, rel=1e-9
            )
        for name, value in expected.items():
            assert metrics[f"{name}_{arm}{suffix}"] == pytest.approx(value, rel=1e-9), name


def check_run(done, repetitions, steps, layers, scores):
    result, records = done.result, done.records()
    check_records(records, repetitions, steps, layers, scores)
    check_metrics(result["metrics"], records)
    rows = done.rows
    assert [row["step"] for row in rows] == list(range(steps + 1))
    for place, arm in enumerate(ARMS):
        assert [row[f"loss_{arm}"] for row in rows] == pytest.approx(
            np.median(records["loss"][place], axis=0)
        )
        assert (
            rows[-1][f"distance_to_equivariance_{arm}"]
            == result["metrics"][f"distance_to_equivariance_{arm}"]
        )
    assert result["figures"] == ["figures/dynamics.png"]
    assert (done.directory / "figures" / "dynamics.png").exists()
    assert done.err == ""
    return result


@pytest.mark.usefixtures("drawn")
def test_graphs(main):
    done = main("experiment=dynamics/permutation", "scale=smoke")
    result = check_run(done, 2, 2, ["linear0", "invariant"], CLASSIFIED)
    assert (done.directory / "figures" / "dynamics.png").read_bytes().startswith(b"\x89PNG")
    assert {entry["metric"] for entry in result["paper"]} <= set(result["metrics"])


def test_shapes(main):
    done = main("experiment=dynamics/rotation", "scale=smoke")
    result = check_run(done, 2, 2, ["linear0", "linear1", "linear2", "linear3"], SEGMENTED)
    assert {entry["metric"] for entry in result["paper"]} <= set(result["metrics"])


def test_exact_averages_stay(main):
    """Unlike two random passes: the augmented arm then moves like the equivariant one."""
    done = main(
        "experiment=dynamics/rotation",
        "scale=smoke",
        "augmentation.passes=exact",
        "train.optimizer.lr=1e-3",
    )
    metrics = done.result["metrics"]
    assert metrics["relative_distance_to_equivariance_augmented"] < 1e-7
    assert metrics["relative_distance_to_equivariance_nominal"] > 1e-6
    assert metrics["change_augmented"] == pytest.approx(metrics["change_equivariant"], rel=1e-3)


def test_real_data(main, real_data):
    done = main("experiment=dynamics/translation", "scale=smoke", f"paths.data={real_data}")
    check_run(done, 2, 2, ["linear0", "linear1", "invariant"], CLASSIFIED)


@pytest.mark.usefixtures("drawn")
def test_real_data_under_several_groups(main, real_data):
    done = main(
        "experiment=dynamics/groups",
        "scale=smoke",
        f"paths.data={real_data}",
        "mode.groups=[quarter_turns,shift_x]",
    )
    result, rows = done.result, done.rows
    for name in ("quarter_turns", "shift_x"):
        records = done.records(f"records_{name}.npz")
        check_records(records, 2, 2, ["linear0", "linear1", "invariant"], CLASSIFIED)
        check_metrics(result["metrics"], records, f"/{name}")
        assert (
            (done.directory / "figures" / f"dynamics_{name}.png")
            .read_bytes()
            .startswith(b"\x89PNG")
        )
        assert [row["step"] for row in rows if row["group"] == name] == [0, 1, 2]
    assert [row["epoch"] for row in rows] == list(range(6)), "loggers want a number that grows"
    assert (
        result["metrics"]["change_nominal/shift_x"]
        != result["metrics"]["change_nominal/quarter_turns"]
    )
    assert result["figures"] == [
        "figures/dynamics_quarter_turns.png",
        "figures/dynamics_shift_x.png",
    ]


@pytest.mark.usefixtures("drawn")
def test_the_published_convention_is_that_of_the_figure_alone(main):
    plain, published = main(*GRAPHS), main(*GRAPHS, "mode.convention=published")
    assert plain.result["metrics"] == published.result["metrics"]
    images = [
        (done.directory / "figures" / "dynamics.png").read_bytes() for done in (plain, published)
    ]
    assert images[0] != images[1]


def test_chunks_batches_and_the_equivariant_arm_change_nothing_but_rounding(main):
    # In float64: the published start makes so narrow a network so steep that rounding grows with
    # every step.
    words = (*GRAPHS, "trainer.precision=64-true", "mode.repetitions=3", "train.epochs=4")
    expected = main(*words, "mode.ensemble_chunk=3").records()
    for extra in (
        ("mode.ensemble_chunk=1",),
        ("mode.ensemble_chunk=2", "train.batch_size=7", "mode.equivariant=free_numbers"),
    ):
        found = main(*words, *extra).records()
        for name in ("loss", "change", "norm"):
            np.testing.assert_allclose(
                found[name],
                expected[name],
                rtol=1e-10,
                atol=1e-10 * expected[name].max(),
                err_msg=name,
            )
        for arm in (0, 2):
            np.testing.assert_allclose(
                found["distance"][arm], expected["distance"][arm], rtol=1e-8, atol=1e-12
            )


# --- interruptions


def test_an_interrupted_run_goes_on_to_the_last_bit(main, monkeypatch):
    """Two chunks of four steps: stopped within the first, and within the second."""
    from learnsym.dynamics.gradient_flows import GradientFlows
    from learnsym.modes import ensemble_mode

    class Always(ensemble_mode.EnsembleCheckpoint):
        """Writes at every step, however long that takes."""

        def save(self, *args, **settings):
            self.seconds = 0.0
            super().save(*args, **settings)

    words = (*GRAPHS, "mode.repetitions=3", "mode.ensemble_chunk=2", "train.epochs=4")
    expected = main(*words, "paths.out=undisturbed")
    step, taken = GradientFlows.step, []

    def counting(self, most=100):
        if len(taken) == most:
            raise KeyboardInterrupt
        taken.append(self.step_number)
        return step(self)

    for calls in (2, 7):
        taken.clear()
        out = f"paths.out=stopped{calls}"
        with monkeypatch.context() as patch:
            patch.setattr(ensemble_mode, "EnsembleCheckpoint", partial(Always, seconds=0.0))
            patch.setattr(GradientFlows, "step", partialmethod(counting, most=calls))
            assert main(*words, out).code == 130
        monkeypatch.setattr(GradientFlows, "step", counting)
        again = main(*words, out)
        assert again.code == 0, again.err
        assert f"continuing at repetition {1 if calls < 4 else 3}, step {calls % 4}" in again.out
        assert taken == [0, 1, 2, 3] * 2, "every step is done once"
        whole, mended = expected.records(), again.records()
        assert whole.keys() == mended.keys()
        for name, series in whole.items():
            np.testing.assert_array_equal(mended[name], series, err_msg=name)
        assert (again.directory / "metrics.jsonl").read_bytes() == (
            expected.directory / "metrics.jsonl"
        ).read_bytes()
        assert again.result["metrics"] == expected.result["metrics"]


def test_groups_that_were_done_are_not_done_again(main, monkeypatch):
    from learnsym.dynamics.gradient_flows import GradientFlows

    words = (*GRAPHS, "mode.groups=[quarter_turns,permutation]")
    expected = main(*words, "paths.out=undisturbed")
    step, done, allowed = GradientFlows.step, [], ["QuarterTurns(10)"]

    def stopping(self):
        if repr(self.net.group) not in allowed:
            raise KeyboardInterrupt
        done.append(repr(self.augmentation.group))
        return step(self)

    monkeypatch.setattr(GradientFlows, "step", stopping)
    assert main(*words).code == 130
    allowed.append("SymmetricGroup(10)")
    again = main(*words)
    assert done == ["QuarterTurns(10)"] * 2 + ["SymmetricGroup(10)"] * 2
    assert again.result["metrics"] == expected.result["metrics"]


def test_a_training_that_diverges_says_so(main):
    done = main(*GRAPHS, "train.optimizer.lr=1e38", "train.epochs=4")
    assert done.code == 1
    assert "the training has diverged (try a smaller train.optimizer.lr)" in done.err
    assert len(done.err.strip().splitlines()) <= 2


# --- mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mode=dynamics", "net=conv5", "dataset.train_size=9"), "net=projected_linear; Conv5"),
        (("mode=dynamics", *LINEAR), "train.optimizer: mode=dynamics is plain gradient descent"),
        (("mode=dynamics", *LINEAR, "train/optimizer=sgd"), "train.optimizer: mode=dynamics is plain gradient descent"),  # noqa: E501
        ((*GRAPHS, "train.optimizer.momentum=0.9"), "without momentum=0.9"),
        ((*GRAPHS, "train.optimizer.weight_decay=0.1"), "without weight_decay=0.1"),
        ((*GRAPHS, "train/schedule=cosine"), "Try train/schedule=constant"),
        ((*GRAPHS, "train.schedule.warmup_epochs=1"), "train.schedule: mode=dynamics has a constant step size"),  # noqa: E501
        ((*GRAPHS, "train.clip_norm=0.5"), "train.clip_norm=0.5 would have no effect with mode=dynamics"),  # noqa: E501
        ((*GRAPHS, "train.max_steps=1"), "train.max_steps=1 would have no effect with mode=dynamics"),  # noqa: E501
        ((*GRAPHS, "trainer.channels_last=true"), "trainer.channels_last=True would have no effect with mode=dynamics. Try false"),  # noqa: E501
        ((*GRAPHS, "trainer.precision=bf16-mixed"), "Try 32-true or 64-true"),
        ((*PLAIN, "net=projected_linear", "base_group=se2", "dataset=digits"), "base_group: SE2 cannot stand"),  # noqa: E501
        ((*PLAIN, "net=projected_linear", "base_group=quarter_turns", "dataset=shapes", "net.features=32"),  # noqa: E501
         "features=32 does not go with a segmentation"),
        ((*GRAPHS, "net.features=null", "net.hidden=[]"), "features=null does not go with a classification"),  # noqa: E501
        ((*GRAPHS, "mode.groups=[turns]"), "mode.groups"),
        ((*GRAPHS, "mode.ensemble_chunk=0"), "mode.ensemble_chunk"),
        ((*GRAPHS, "augmentation.passes=exact"), "augmentation.passes=exact: SymmetricGroup(10) has 3628800 elements"),  # noqa: E501
        ((*GRAPHS, "base_group.n=9"), "net does not fit dataset=graphs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_a_sentence(main, words, said):
    done = main(*words)
    assert done.code == 2, done.out + done.err
    assert said in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in done.err
