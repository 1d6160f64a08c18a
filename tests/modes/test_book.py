"""Runs become lines of measured.csv: grouped by what was run; newer ones replace older ones."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from book_texts import COMMAND, ENTRY, MARIO, make_results

from learnsym.errors import ConfigError
from learnsym.modes.book import digits, record, rounded
from learnsym.report.experiments_page import experiments_page, read_measured
from learnsym.results.collect import collect

WIDTH, ACCURACY = "learned_rotation_width_rad", "test_accuracy"


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([1.0, 2.0, 4.0], ("2.3", "1.5")),  # sd sqrt(7/3) = 1.528, with n - 1
        ([0.8135, 0.839], ("0.826", "0.018")),
        ([0.5, 0.5, 0.5], ("0.5000", "0")),
        ([0.123456], ("0.1235", "")),
        ([1234.56], ("1235", "")),
        ([12345.6], ("12350", "")),
        ([6.81234e-7], ("6.812e-7", "")),
        ([0.0], ("0", "")),
        ([100.0, 140.0, 2000.0], ("700", "1100")),
        ([2e-9, 4e-9], ("3.0e-9", "1.4e-9")),
        ([-0.5, -0.7], ("-0.60", "0.14")),
    ],
)
def test_mean_and_deviation_as_they_are_written(
    values: list[float], written: tuple[str, str]
) -> None:
    assert digits(values) == written


def test_rounding() -> None:
    assert [rounded(v, 3) for v in (57.04, 276.0, 1788.09, 0.5)] == ["57.0", "276", "1790", "0.500"]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """make(name, seed=...) writes the directory of a run as main.py leaves it."""

    def run(
        name: str,
        seed: int = 0,
        width: object = 1.5,
        words: str = f"experiment={MARIO}/low",
        **changes: object,
    ) -> Path:
        path = tmp_path / "runs" / name
        path.mkdir(parents=True)
        (path / "config.yaml").write_text(
            changes.pop("config", f"seed: {seed}\nnet: {{width: 16}}\npaths: {{out: {name}}}\n")
        )
        result = {
            "metrics": {WIDTH: width, ACCURACY: 0.98 + seed / 100, "train_loss": 0.1},
            "seconds": 50.0 + 10 * seed,
            "device": "cpu (X, 2 threads)",
            "seed": seed,
            "scale": "cpu",
            "finished": f"2026-11-21T10:0{seed}:00+00:00",
            "versions": {"torch": "2.15.0", "code": "abc", "commit": "1234567"},
            "command": f"main.py {words} seed={seed} scale=cpu paths.data=/my/data",
        }
        (path / "result.json").write_text(json.dumps(result | changes))
        return path

    return run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A table without runs."""
    return make_results(tmp_path / "results")


def recorded(results: Path, runs: Path) -> pd.DataFrame:
    """Record, and read again; indexed by command and metric."""
    record(results, collect(str(runs)))
    return read_measured(results).set_index(["command", "metric"])


def test_seeds_become_one_entry(results: Path, tmp_path: Path, make: Callable[..., Path]) -> None:
    for seed, width in enumerate((1.0, 2.0, 4.0)):
        make(f"a{seed}", seed, width)
    make("failed").joinpath("result.json").unlink()
    make("other", words=f"experiment={MARIO}/low net.regularisation=0.3")
    measured = recorded(results, tmp_path / "runs")
    other = COMMAND.replace(" scale", " net.regularisation=0.3 scale")
    assert list(measured.index) == [(c, m) for c in (COMMAND, other) for m in (WIDTH, ACCURACY)]
    width = measured.loc[(COMMAND, WIDTH)]
    assert (width["n"], width["seeds"], width["seconds"]) == ("3", "0 1 2", "60.0")
    assert (width["mean"], width["sd"]) == ("2.3", "1.5")
    accuracy = measured.loc[(COMMAND, ACCURACY)]
    assert (accuracy["mean"], accuracy["sd"]) == ("0.990", "0.010")
    where = (width["hardware"], width["torch"], width["date"], width["commit"])
    assert where == ("cpu (X, 2 threads)", "2.15.0", "2026-11-21 10:02", "1234567")
    assert (measured.loc[(other, WIDTH)]["n"], measured.loc[(other, WIDTH)]["sd"]) == ("1", "")
    before = (results / "measured.csv").read_text()
    recorded(results, tmp_path / "runs")
    assert (results / "measured.csv").read_text() == before


def test_the_same_command_is_replaced_by_a_newer_one_and_others_stay(
    tmp_path: Path, make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    results = make_results(tmp_path / "results", ENTRY)
    make("new")
    make("elsewhere", device="NVIDIA X")
    full = f"main.py experiment={MARIO}/low"
    make("full", scale="full", command=full)
    measured = recorded(results, tmp_path / "runs").reset_index()
    entries = measured[measured["metric"] == WIDTH][["command", "hardware", "n"]]
    assert sorted(entries.itertuples(index=False, name=None)) == [
        (f"python {full}", "cpu (X, 2 threads)", "1"),
        (COMMAND, "NVIDIA X", "1"),
        (COMMAND, "cpu (X, 2 threads)", "1"),
    ]
    text = capsys.readouterr().out
    assert "replaced: " in text
    assert "there was n=3, 2026-11-20, d7efeda" in text
    make("old", width=9.0, finished="2026-11-21T09:00:00+00:00")
    again = recorded(results, tmp_path / "runs/old").reset_index()
    assert again.equals(measured)
    assert "kept: " in capsys.readouterr().out


def test_a_metric_that_some_runs_lack_counts_those_that_have_it(
    results: Path, tmp_path: Path, make: Callable[..., Path]
) -> None:
    make("a0", 0)
    make("a1", 1, metrics={ACCURACY: 0.5})
    measured = recorded(results, tmp_path / "runs")
    assert measured["n"].to_dict() == {(COMMAND, WIDTH): "1", (COMMAND, ACCURACY): "2"}


def test_of_one_seed_and_of_a_changed_preset_the_newer_counts(
    results: Path, tmp_path: Path, make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make("a0", 0, 1.0)
    make("b0", 0, 3.0, finished="2026-11-21T11:00:00+00:00")
    make("c1", 1, 9.0, config="seed: 1\nnet: {width: 8}\n")
    width = recorded(results, tmp_path / "runs").loc[(COMMAND, WIDTH)]
    assert (width["seeds"], width["mean"]) == ("0", "3.000")
    text = capsys.readouterr().out
    assert "left out: a0: a newer run has the same seed." in text
    assert "left out: c1: its preset or defaults have changed; b0 is newer." in text


def test_a_preset_under_its_other_name_is_the_same(
    results: Path, tmp_path: Path, make: Callable[..., Path]
) -> None:
    make("a0", 0, config="dataset: {data_dir: a, side: 3}\ntrainer: {progress: true}\n")
    make(
        "a1",
        1,
        config="dataset: {data_dir: b, side: 3}\ntrainer: {progress: auto}\n",
        words=f"experiment={MARIO}",
    )
    assert set(recorded(results, tmp_path / "runs")["n"]) == {"2"}


def test_a_continued_run_counts_all_of_its_training(
    results: Path, make: Callable[..., Path]
) -> None:
    path = make("a", seconds_of_training=700.4)
    assert set(recorded(results, path)["seconds"]) == {"700"}


def test_results_of_before_there_were_commits_are_recorded_too(
    results: Path, make: Callable[..., Path]
) -> None:
    path = make("a", versions={"code": "abc"})
    result = json.loads((path / "result.json").read_text())
    del result["finished"]
    (path / "result.json").write_text(json.dumps(result))
    entry = recorded(results, path).iloc[0]
    assert entry["commit"] == "code abc"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d", entry["date"])


LEFT_OUT = {
    "smoke": ({"scale": "smoke"}, "measures nothing"),
    "nan": ({"width": float("nan")}, f"{WIDTH} is nan"),
    "text": ({"width": "1.5"}, f"{WIDTH} is 1.5, not a finite number"),
    "nothing to show": ({"metrics": {"train_loss": 1.0}}, "none of the quantities"),
    "checkpoint": ({"config": "checkpoint: x.pt\n"}, "started from a checkpoint"),
    "no preset": ({"words": "net=conv5"}, "it is of no preset, and not the default: net=conv5"),
    "in no table": (
        {"words": "experiment=augerino/olivetti"},
        "experiment=augerino/olivetti is in no table",
    ),
    "no device": ({"device": ""}, "result.json: device"),
    "no seconds": ({"seconds": -1}, "result.json: seconds"),
    "another scale": ({"scale": "full"}, "its command says scale=cpu, its result full"),
    "no command": ({"command": "main.py what scale=cpu"}, "'what' is not of the form key=value"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_cannot_be_recorded_is_named(
    results: Path, make: Callable[..., Path], capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    changes, message = LEFT_OUT[kind]
    path = make("run", **changes)
    before = (results / "measured.csv").read_text()
    with pytest.raises(ConfigError, match="None of these runs can be recorded"):
        record(results, collect(str(path)))
    text = capsys.readouterr().out
    assert text.startswith("left out: run: ")
    assert message in text
    assert (results / "measured.csv").read_text() == before


def test_what_a_hostile_result_says_stays_in_its_cell(
    results: Path, make: Callable[..., Path]
) -> None:
    path = make("run", device="X | y\n\n# heading <script>alert(1)</script>: {a}")
    assert len(recorded(results, path)) == 2
    (row,) = [line for line in experiments_page(results).splitlines() if "heading" in line]
    assert row.startswith("| low |")
    assert "X \\| y # heading &lt;script>" in row
