"""Sweeps: a failed job stops no other, the same command does only what is missing, and the table's
numbers are right."""

import csv
import json
import re
import statistics
from pathlib import Path

import numpy as np
import pytest


def write_images(path, seed):
    draw = np.random.default_rng(seed)
    np.savez(path, images=draw.integers(0, 256, (24, 8, 8), np.uint8), labels=np.arange(24) % 2)


SIX = (
    "-m",
    "dataset=npz",
    "dataset.file=f0.npz,f1.npz,f2.npz,f3.npz,f4.npz,f5.npz",
    "train.epochs=1",
    "train.batch_size=12",
    "net.backbone.width=2",
    "mode.response_images=0",
)


def results(folder):
    return {
        p.parent.name: (p.stat().st_ino, p.stat().st_mtime_ns)
        for p in Path(folder).glob("*/result.json")
    }


@pytest.mark.long
def test_one_of_six_fails_and_is_all_that_is_done_again(main, tmp_path):
    for k in (0, 1, 2, 4, 5):
        write_images(tmp_path / f"f{k}.npz", k)
    (tmp_path / "f3.npz").write_bytes(b"PK\x03\x04 broken")
    done = main(*SIX)
    assert done.code == 1, done.out + done.err
    assert "failed: dataset=npz dataset.file=f3.npz" in done.err
    assert "Traceback" not in done.err
    assert "1 of 6 jobs failed" in done.out
    named = done.out.split("jobs failed")[1]
    assert "dataset.file=f3.npz" in named
    assert "f3.npz is corrupt" in named
    first = results("runs")
    assert len(first) == 5
    (error,) = Path("runs").glob("*/error.txt")
    assert "f3.npz" in error.read_text()
    (table,) = Path("runs/sweeps").glob("*/table.md")
    assert "file=f0.npz" in table.read_text()
    assert "file=f3.npz" not in table.read_text()

    # Still broken: the five are shown, not redone.
    assert main(*SIX).code == 1
    assert results("runs") == first

    write_images(tmp_path / "f3.npz", 3)
    again = main(*SIX)
    assert again.code == 0, again.err
    assert again.out.count("this run is finished") == 5
    second = results("runs")
    assert len(second) == 6
    assert {name: second[name] for name in first} == first
    assert not list(Path("runs").glob("*/error.txt"))
    assert list(Path("runs/sweeps").glob("*/table.md")) == [table], (
        "the same sweep, the same directory"
    )
    assert "file=f3.npz" in table.read_text()


def test_something_unforeseen_in_one_job(main, tiny, monkeypatch):
    """A bug, not a mistake of the user's: error.txt has the traceback, the others go on."""
    from learnsym.training.loop import Training

    original = Training.fit

    def fit(self):
        if self.seed == 1:
            raise ZeroDivisionError("a bug")
        return original(self)

    monkeypatch.setattr(Training, "fit", fit)
    done = main("-m", *tiny, "seed=0,1,2")
    assert done.code == 1
    assert "ZeroDivisionError: a bug" in done.err
    assert len(results("runs")) == 2
    (error,) = Path("runs").glob("*seed1*/error.txt")
    assert "Traceback" in error.read_text()


def test_the_table_has_means_and_deviations_over_seeds(main, tiny):
    done = main("-m", *tiny, "net.regularisation=0.01,0.2", "seed=0,1,2")
    assert done.code == 0, done.err
    by_arm = {}
    for path in Path("runs").glob("*/result.json"):
        result = json.loads(path.read_text())
        arm = re.search(r"regularisation=\S+", result["command"])[0]
        for metric, value in result["metrics"].items():
            by_arm.setdefault((arm, metric), []).append(value)
    (table,) = Path("runs/sweeps").glob("*/table.csv")
    with table.open(newline="") as file:
        rows = {(row["run"], row["metric"]): row for row in csv.DictReader(file)}
    assert set(rows) == set(by_arm)
    for key, values in by_arm.items():
        assert len(values) == 3
        assert int(rows[key]["n"]) == 3
        assert float(rows[key]["mean"]) == pytest.approx(statistics.fmean(values), rel=1e-12)
        assert float(rows[key]["sd"]) == pytest.approx(
            statistics.stdev(values), rel=1e-9, abs=1e-15
        )
    markdown = table.with_suffix(".md").read_text()
    key = "regularisation=0.2", "test_loss"
    assert f"{statistics.fmean(by_arm[key]):.4g} ± {statistics.stdev(by_arm[key]):.2g}" in markdown
    assert "(n runs)" in markdown
    assert markdown.splitlines()[2].startswith("| regularisation=0.01 | 3 |")
    assert str(table.absolute()) in done.out


def test_an_unwritable_table_is_a_failure(main, tiny, monkeypatch):
    """Hydra only warns of what goes wrong after a sweep: a script must see it in the exit code."""
    from learnsym.errors import RunError
    from learnsym.report import write as report

    def full(path, content):
        raise RunError(
            f"{path} cannot be written (No space left on device); what was there before is "
            f"unchanged."
        )

    monkeypatch.setattr(report, "write_atomically", full)
    done = main("-m", *tiny, "seed=0,1")
    assert done.code == 1
    assert "error: " in done.err
    assert "No space left on device" in done.err
    assert len(results("runs")) == 2


@pytest.mark.long
def test_jobs_side_by_side(process, tiny):
    done = process(
        "-m",
        "launcher=joblib",
        "hydra.launcher.n_jobs=2",
        *tiny,
        "train.epochs=1",
        "seed=0,1",
        limit=200,
    )
    assert done.code == 0, done.out + done.err
    (table,) = re.findall(r"^table: (.*\.csv)$", done.out, re.MULTILINE)
    with Path(table).open(newline="") as file:
        assert {int(row["n"]) for row in csv.DictReader(file)} == {2}


def test_jobs_take_a_gpu_of_their_own_where_there_are_several(main, tiny, monkeypatch, tmp_path):
    """Three GPUs that are not there: what Fabric is asked for. A single run leaves the choice to
    it."""
    import lightning_fabric

    from learnsym.run import distributed as gpus

    asked, real = [], lightning_fabric.Fabric

    def fabric(accelerator, devices, **settings):
        asked.append(devices)
        return real(accelerator="cpu", devices=1, **settings)

    monkeypatch.setattr(lightning_fabric, "Fabric", fabric)
    monkeypatch.setattr(gpus.exclusive_gpu.__wrapped__, "__defaults__", (tmp_path / "locks",))
    monkeypatch.setattr("learnsym.run.distributed.device_count", lambda: 3)
    with gpus.exclusive_gpu(3):
        done = main("-m", *tiny, "seed=0,1")
    assert done.code == 0, done.err
    assert asked == [[1], [1]], "GPU 0 is taken"
    assert main(*tiny, "seed=2").code == 0
    assert asked[2:] == [1]
    assert main("-m", *tiny, "seed=3,4", "trainer.accelerator=cpu").code == 0
    assert asked[3:] == [1, 1]
