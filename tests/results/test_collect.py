"""Runs as they are found: a directory, a sweep, a folder of runs; what is broken is named and the
others are read."""

import json
from pathlib import Path

import pytest

from learnsym.errors import ConfigError
from learnsym.results.collect import collect


def make_run(path: Path, *, result: object = None, error: str | None = None, rows: int = 2) -> Path:
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("seed: 3\nnet:\n  width: 8\n")
    (path / "metrics.jsonl").write_text(
        "".join(json.dumps({"epoch": e + 1, "train_loss": 1.0}) + "\n" for e in range(rows))
    )
    if result is not None:
        (path / "result.json").write_text(result if isinstance(result, str) else json.dumps(result))
    if error is not None:
        (path / "error.txt").write_text(error)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four runs: finished, failed, unfinished, and one with half a result.json."""
    make_run(
        tmp_path / "runs/a",
        result={"metrics": {"test_loss": 0.5}, "command": "main.py seed=3 scale=cpu"},
    )
    make_run(tmp_path / "runs/b", error="Traceback ...\nRunError: it diverged\n")
    make_run(tmp_path / "runs/c")
    make_run(tmp_path / "runs/d", result='{"metrics": {"test_lo')
    return tmp_path / "runs"


def test_a_folder_a_pattern_and_a_list_give_the_same_runs(folder: Path) -> None:
    whole = collect(str(folder))
    assert [r.path.name for r in whole] == ["a", "b", "c", "d"]
    assert collect(str(folder / "*")) == whole
    assert collect([str(folder / "a"), str(folder)]) == whole


def test_each_run_says_how_it_stands(folder: Path) -> None:
    a, b, c, d = collect(str(folder))
    assert (a.status, a.result["metrics"], a.config["seed"], len(a.rows)) == (
        "finished",
        {"test_loss": 0.5},
        3,
        2,
    )
    assert a.overrides == ("seed=3", "scale=cpu")
    assert (b.status, b.error) == ("failed", "RunError: it diverged")
    assert c.status == "unfinished"
    assert d.status == "unreadable"
    assert d.error is not None
    assert "result.json cannot be read" in d.error


def test_a_sweep_gives_its_jobs_in_order_with_those_that_never_ran(folder: Path) -> None:
    jobs = folder / "sweeps/one/jobs"
    jobs.mkdir(parents=True)
    for number, (name, error) in enumerate(
        [("b", "it diverged"), ("a", None), (None, "no such key")] + [("a", None)] * 8
    ):
        record = {
            "overrides": [f"seed={number}"],
            "status": "finished",
            "directory": name and str(folder / name),
            "error": error,
        }
        (jobs / f"{number}.json").write_text(json.dumps(record))
    (jobs / "11.json").write_text("{")
    runs = collect(str(folder / "sweeps/*"))
    assert [r.path.name for r in runs] == ["b", "a", "2.json", "11.json"]
    assert [r.status for r in runs] == ["failed", "finished", "failed", "unreadable"]
    assert runs[1].overrides == ("seed=1",)


def test_a_pattern_without_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no run")
    with pytest.raises(ConfigError, match="there is no run"):
        collect(str(tmp_path / "*"))
