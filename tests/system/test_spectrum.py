"""mode=spectrum from the command line: after training and from a checkpoint, interrupted,
restricted, swept, and mistaken."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
SMALL = (
    "mode=spectrum",
    "mode.order=6",
    "mode.probes=2",
    "mode.probe_order=3",
    "mode.images=20",
    "mode.batch_size=8",
)
NET = (
    "dataset.train_size=24",
    "dataset.test_size=12",
    "train.batch_size=12",
    "train.epochs=1",
    "net.backbone.width=2",
    "net.learn=all",
    "dataset.augment=flip_crop",
)
LINEAR = (
    "net=projected_linear",
    "base_group=quarter_turns",
    "base_group.side=8",
    "net.channels=[2]",
    "net.features=3",
    "dataset=digits",
    "dataset.train_size=24",
    "dataset.test_size=12",
    "train.epochs=1",
)


def curve(done) -> dict:
    return json.loads((done.directory / "curves.json").read_text())["spectrum"]


@pytest.mark.usefixtures("drawn")
def test_after_training(main):
    done = main(*SMALL, *NET)
    metrics, found = done.result["metrics"], done.records("spectrum.npz")
    assert done.err == ""
    assert done.result["figures"] == ["figures/spectrum.png"]
    assert (done.directory / "figures" / "spectrum.png").read_bytes().startswith(b"\x89PNG")
    values = found["eigenvalues"]
    assert values.shape == found["bounds"].shape == (6,)
    assert (np.diff(values) <= 0).all()
    assert (metrics["largest_eigenvalue"], metrics["smallest_eigenvalue"]) == (
        values[0],
        values[-1],
    )
    assert found["weights"].sum() == pytest.approx(1)
    assert np.trapezoid(found["density"], found["grid"]) == pytest.approx(1, abs=1e-6)
    assert metrics["trace"] == pytest.approx(
        metrics["dimension"] * found["weights"] @ found["nodes"]
    )
    assert metrics["dimension"] == done.result["parameters"]
    positive = values[values > 0]
    for z in (0.1, 1, 10):
        assert metrics[f"n_eff_at_{z}"] == pytest.approx((positive / (positive + z)).sum())
    at_one = np.interp(0, np.log(found["z"]), found["n_eff"])
    assert at_one == pytest.approx(metrics["n_eff_at_1"], rel=1e-2)
    assert "test_accuracy" in metrics
    assert "learned_rotation_width_rad" in metrics
    assert not (done.directory / "checkpoints" / "spectrum").exists(), (
        "what was kept for an interruption is gone"
    )


@pytest.mark.long
def test_from_a_checkpoint_and_for_every_size_of_batch(main):
    after = main(*SMALL, *NET)
    checkpoint = f"checkpoint={after.directory}/checkpoints/last.pt"
    same = main(*SMALL, checkpoint)
    assert curve(same)["eigenvalues"] == curve(after)["eigenvalues"]
    # Draws belong to the images: all at once, one by one, the same function but for rounding.
    for size in (20, 1):
        other = main(*SMALL, checkpoint, f"mode.batch_size={size}")
        assert curve(other)["eigenvalues"] == pytest.approx(
            curve(after)["eigenvalues"], rel=1e-3, abs=1e-4
        )
    more = main(*SMALL, checkpoint, "mode.copies=3")
    assert curve(more)["eigenvalues"] != pytest.approx(curve(after)["eigenvalues"], rel=1e-2)
    ggn = main(*SMALL, checkpoint, "mode.matrix=ggn")
    assert ggn.result["metrics"]["smallest_eigenvalue"] > -1e-5
    alone = main(*SMALL, checkpoint, "mode.probes=0")
    assert curve(alone)["eigenvalues"] == curve(after)["eigenvalues"]
    assert "trace_standard_error" not in alone.result["metrics"]


def test_debug_is_quick(main):
    done = main(*SMALL, *NET, "mode.order=1000", "mode.images=null", "debug=true")
    assert done.code == 0, done.err


def test_an_interrupted_run_goes_on_to_the_last_bit(main, monkeypatch):
    """Stopped in the first run, and in a probe; every product is done once, save those that were
    not written."""
    from learnsym.analysis.curvature import Curvature
    from learnsym.modes.spectrum import Spectrum

    monkeypatch.setattr(Spectrum, "seconds_between_writes", 0.0)
    expected = main(*SMALL, *NET, "paths.out=undisturbed")
    product, made = Curvature.__call__, []

    def counting(most):
        def call(self, vector, tick):
            if len(made) == most:
                raise KeyboardInterrupt
            made.append(1)
            return product(self, vector, tick)

        return call

    for most in (3, 8):
        made.clear()
        words = (*SMALL, *NET, f"paths.out=stopped{most}")
        with monkeypatch.context() as patch:
            patch.setattr(Curvature, "__call__", counting(most))
            assert main(*words).code == 130
            patch.setattr(Curvature, "__call__", counting(100))
            again = main(*words)
        assert (
            f"continuing {'leading' if most == 3 else 'probe0'} after product {most % 6 or 6}"
            in again.out
        )
        assert len(made) == 12, "6 products and twice 3"
        assert again.result["metrics"] == expected.result["metrics"]
        assert curve(again) == curve(expected)


@pytest.mark.long
def test_a_process_that_is_killed(tmp_path, main):
    """SIGKILL during the products, then the same command."""
    words = (*SMALL, *NET, "mode.order=20", "mode.batch_size=4", "mode.probes=0")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    code = (
        "import runpy, sys; from learnsym.modes.spectrum import Spectrum; "
        "Spectrum.seconds_between_writes = 0.0; "
        f"sys.argv = ['main.py', *sys.argv[1:]]; runpy.run_path({str(ROOT / 'main.py')!r}, "
        f"run_name='__main__')"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", code, *words, "paths.out=killed"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not list(
        tmp_path.glob("killed/*/checkpoints/spectrum/leading/vector_0003.npy")
    ):
        assert victim.poll() is None
        time.sleep(0.02)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    assert not list(tmp_path.glob("killed/*/result.json"))
    again, expected = main(*words, "paths.out=killed"), main(*words, "paths.out=undisturbed")
    assert "continuing leading after product" in again.out
    assert again.result["metrics"] == expected.result["metrics"]
    assert curve(again) == curve(expected)


def test_weights_that_have_overflowed(main):
    trained = main(*NET, "mode.response_images=0")
    path = trained.directory / "checkpoints" / "last.pt"
    state = torch.load(path, weights_only=True)
    state["net"]["backbone.head.weight"][0, 0] = float("inf")
    torch.save(state, path)
    done = main(*SMALL, f"checkpoint={path}")
    assert done.code == 1
    assert "a product with the curvature is not finite" in done.err


@pytest.mark.long
def test_blocks_of_a_network_of_the_dynamics(main):
    """The dimensions of E and of its complement add up, and so do the traces of their blocks."""
    trained = main(*LINEAR, "mode.response_images=0")
    checkpoint = f"checkpoint={trained.directory}/checkpoints/last.pt"
    found = {
        name: main(
            *SMALL,
            checkpoint,
            f"mode.restrict={name}",
            "mode.order=40",
            "mode.probe_order=4",
            "mode.probes=10",
        )
        for name in ("none", "equivariant", "complement")
    }
    size, trace, error = (
        {name: done.result["metrics"][key] for name, done in found.items()}
        for key in ("dimension", "trace", "trace_standard_error")
    )
    assert size["none"] == size["equivariant"] + size["complement"]
    apart = (
        trace["none"] - trace["equivariant"] - trace["complement"]
    )  # tr H = tr PHP + tr (1 - P)H(1 - P)
    assert abs(apart) <= 4 * sum(e * e for e in error.values()) ** 0.5
    assert error["none"] < 0.2 * abs(trace["none"])
    moved = main(*SMALL, checkpoint, "mode.project_weights=true")
    assert curve(moved)["eigenvalues"] != curve(found["none"])["eigenvalues"]


@pytest.mark.long
@pytest.mark.usefixtures("drawn")
def test_the_table(main, real_data):
    done = main(
        "-m", "table=augerino/effective_dimension", "scale=smoke", f"paths.data={real_data}"
    )
    assert done.code == 0, done.err
    (table,) = Path("runs/sweeps").glob("*/table.md")
    text = table.read_text()
    assert all(
        f"effective_dimension/lambda{level} |" in text for level in ("0", "0001", "0005", "001")
    )
    assert all(
        name in text.splitlines()[0]
        for name in ("n_eff_at_0.1", "n_eff_at_1", "n_eff_at_10", "test_accuracy")
    )
    assert (table.parent / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(curve_of(p)["regularisation"] for p in Path("runs").glob("*/curves.json")) == [
        0.0,
        0.001,
        0.005,
        0.01,
    ]


def curve_of(path: Path) -> dict:
    return json.loads(path.read_text())["spectrum"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mode.matrix=fisher",), "mode.matrix=fisher"),
        (("mode.order=0",), "mode.order=0"),
        (("mode.z=[]",), "z=[]: at least one z is needed"),
        (("mode.z=[1,0]",), "mode.z[1]"),
        (("mode.generator=rotation",), "mode.generator: there is no such setting"),
        (("mode.restrict=equivariant",), "mode.restrict=equivariant: Augerino knows no projection"),
        (
            ("mode.project_weights=true", "net=conv5"),
            "mode.project_weights=True: Conv5 knows no projection",
        ),
        (
            ("mode.restrict=complement", "net=c4_conv", "net.basis=random"),
            "Try net.basis=orthonormal",
        ),
        (
            ("mode.copies=2", "net=conv5"),
            "mode.copies=2 would have no effect: Conv5 draws no copies. Try null",
        ),
        (
            ("trainer.devices=2", "trainer.accelerator=cpu"),
            "trainer.devices=2: mode=spectrum works in one process",
        ),
        (("checkpoint=nothing.pt",), "checkpoint nothing.pt: there is no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_refused_in_a_sentence(main, words, said):
    done = main("mode=spectrum", *words)
    assert done.code == 2, done.out + done.err
    assert said in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in done.err
