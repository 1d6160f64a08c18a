"""Runs become entries of results/: grouped by what was run, with mean and deviation; newer ones
replace older ones."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from book_texts import ENTRY, SECTION

from learnsym.errors import ConfigError
from learnsym.modes.book import record
from learnsym.report.book_page import page
from learnsym.report.commands import read_command, take_apart
from learnsym.report.measured import Entry, Outline, Section, load, put, write_runs
from learnsym.report.recording import digits, rounded

MARIO = "augerino/mario_iggy"
WIDTH, ACCURACY = "learned_rotation_width_rad", "test_accuracy"


# --- commands


def test_a_command_says_what_was_run_and_not_where_or_with_which_seed() -> None:
    words = [
        "experiment=a/b",
        "seed=2",
        "table=a/b",
        "dataset=molecules",
        "dataset.file=../data/x.npz",
        "paths.data=/d",
        "paths.out=/o",
    ]
    words += [
        "scale=cpu",
        "launcher=joblib",
        "logger=wandb",
        "hydra.verbose=true",
        "fresh=true",
        "trainer.progress=false",
        "~train.x",
    ]
    command = take_apart(words)
    assert (
        str(command)
        == "python main.py experiment=a/b dataset=molecules dataset.file=DIR/x.npz '~train.x' scale=cpu paths.data=DIR"
    )
    assert read_command(str(command)) == command
    assert take_apart(["trainer.threads=1", "dataset.seed=3"]).overrides == (
        "trainer.threads=1",
        "dataset.seed=3",
    )
    assert (
        str(take_apart(["net.learn=[rotation, scale]"]))
        == "python main.py 'net.learn=[rotation, scale]'"
    )


# --- numbers


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([1.0, 2.0, 4.0], ("2.3", "1.5")),  # sd sqrt(7/3) = 1.528, with n - 1
        ([0.8135, 0.839], ("0.826", "0.018")),
        ([0.5, 0.5, 0.5], ("0.5000", "0")),
        ([0.123456], ("0.1235", None)),
        ([1234.56], ("1235", None)),
        ([12345.6], ("12350", None)),
        ([6.81234e-7], ("6.812e-7", None)),
        ([0.0], ("0", None)),
        ([100.0, 140.0, 2000.0], ("700", "1100")),
        ([2e-9, 4e-9], ("3.0e-9", "1.4e-9")),
        ([-0.5, -0.7], ("-0.60", "0.14")),
    ],
)
def test_mean_and_deviation_as_they_are_written(
    values: list[float], written: tuple[str, str | None]
) -> None:
    assert digits(values) == written


def test_rounding() -> None:
    assert [rounded(v, 3) for v in (57.04, 276.0, 1788.09, 0.5)] == ["57.0", "276", "1790", "0.500"]


# --- runs become entries


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
def file(tmp_path: Path) -> Path:
    """A table without runs."""
    path = tmp_path / "results" / "t.yaml"
    path.parent.mkdir()
    path.write_text(SECTION)
    return path


def recorded(file: Path, runs: str | list[str]) -> list[Entry]:
    """Record, write, and read again."""
    sections = {"t": load(file, Section)}
    for name in record(sections, runs):
        write_runs(file.with_name(f"{name}.yaml"), sections[name])
    assert load(file, Section) == sections["t"]
    return sections["t"].runs


def test_seeds_become_one_entry_and_the_file_keeps_what_people_wrote(
    file: Path, tmp_path: Path, make: Callable[..., Path]
) -> None:
    for seed, width in enumerate((1.0, 2.0, 4.0)):
        make(f"a{seed}", seed, width)
    make("failed").joinpath("result.json").unlink()
    make("other", words=f"experiment={MARIO}/low net.regularisation=0.3")
    first, second = recorded(file, str(tmp_path / "runs"))
    assert first.command == f"python main.py experiment={MARIO}/low scale=cpu paths.data=DIR"
    assert (first.n, first.seeds, first.seconds) == (3, [0, 1, 2], "60.0")
    assert (first.metrics[WIDTH].mean, first.metrics[WIDTH].sd) == ("2.3", "1.5")
    assert (first.metrics[ACCURACY].mean, first.metrics[ACCURACY].sd) == ("0.990", "0.010")
    assert list(first.metrics) == [WIDTH, ACCURACY], "what the table shows and nothing else"
    assert (first.hardware, first.torch, first.date, first.commit) == (
        "cpu (X, 2 threads)",
        "2.15.0",
        "2026-11-21 10:02",
        "1234567",
    )
    assert (
        second.command
        == f"python main.py experiment={MARIO}/low net.regularisation=0.3 scale=cpu paths.data=DIR"
    )
    assert (second.n, second.metrics[WIDTH].sd) == (1, None)
    text = file.read_text()
    assert text.startswith(SECTION)
    assert f"      {WIDTH}: {{mean: 2.3, sd: 1.5}}\n" in text
    before = text
    recorded(file, str(tmp_path / "runs"))
    assert file.read_text() == before


def test_the_same_command_is_replaced_by_a_newer_one_and_others_stay(
    file: Path, tmp_path: Path, make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(SECTION + ENTRY)
    assert load(file, Section).runs[0].n == 3
    make("new")
    make("elsewhere", device="NVIDIA X")
    full = f"main.py experiment={MARIO}/low"
    make("full", scale="full", command=full)
    runs = recorded(file, str(tmp_path / "runs"))
    assert [(e.hardware, e.typed.scale, e.n) for e in runs] == [
        ("cpu (X, 2 threads)", "cpu", 1),
        ("NVIDIA X", "cpu", 1),
        ("cpu (X, 2 threads)", "full", 1),
    ]
    said = capsys.readouterr().out
    assert "replaced: " in said
    assert "was: n=3, 2026-11-20, d7efeda" in said
    make("old", width=9.0, finished="2026-11-21T09:00:00+00:00")
    recorded(file, str(tmp_path / "runs/old"))
    assert load(file, Section).runs == runs
    assert "kept: " in capsys.readouterr().out


def test_put_tells_what_became_of_an_entry(file: Path) -> None:
    file.write_text(SECTION + ENTRY)
    section = load(file, Section)
    (entry,) = section.runs
    assert put(section, entry) == (section, "unchanged", entry)
    newer = entry.model_copy(update={"date": "2026-11-20 08:00"})
    replaced, outcome, before = put(section, newer)
    assert (replaced.runs, outcome, before) == ([newer], "replaced", entry)
    assert put(replaced, entry) == (replaced, "kept", newer)
    high = entry.model_copy(update={"command": entry.command.replace("/low", "/high")})
    low = entry.model_copy(update={"hardware": "another"})
    both = put(put(section, high)[0], low)[0]
    assert both.runs == [entry, low, high], "in the order of the presets"


def test_of_one_seed_and_of_a_changed_preset_the_newer_counts(
    file: Path, tmp_path: Path, make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make("a0", 0, 1.0)
    make("b0", 0, 3.0, finished="2026-11-21T11:00:00+00:00")
    make("c1", 1, 9.0, config="seed: 1\nnet: {width: 8}\n")
    (entry,) = recorded(file, str(tmp_path / "runs"))
    assert (entry.seeds, entry.metrics[WIDTH].mean) == ([0], "3.000")
    said = capsys.readouterr().out
    assert "left out: a0: b0 is newer and of the same seed." in said
    assert "left out: c1: its preset or defaults have changed since; b0 is newer." in said


def test_a_preset_under_its_other_name_is_the_same(
    file: Path, tmp_path: Path, make: Callable[..., Path]
) -> None:
    make("a0", 0, config="dataset: {data_dir: a, side: 3}\ntrainer: {progress: true}\n")
    make(
        "a1",
        1,
        config="dataset: {data_dir: b, side: 3}\ntrainer: {progress: auto}\n",
        words=f"experiment={MARIO}",
    )
    (entry,) = recorded(file, str(tmp_path / "runs"))
    assert entry.n == 2
    assert entry.typed.preset == f"{MARIO}/low"


def test_a_continued_run_counts_all_of_its_training(file: Path, make: Callable[..., Path]) -> None:
    path = make("a", seconds_of_training=700.4)
    assert recorded(file, str(path))[0].seconds == "700"


def test_results_of_before_there_were_commits_are_recorded_too(
    file: Path, make: Callable[..., Path]
) -> None:
    path = make("a", versions={"code": "abc"})
    result = json.loads((path / "result.json").read_text())
    del result["finished"]
    (path / "result.json").write_text(json.dumps(result))
    (entry,) = recorded(file, str(path))
    assert entry.commit == "code abc"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d", entry.date)


LEFT_OUT = {
    "smoke": ({"scale": "smoke"}, "measures nothing"),
    "nan": ({"width": float("nan")}, f"{WIDTH} is nan"),
    "text": ({"width": "1.5"}, f"{WIDTH} is 1.5 in run, not a finite number"),
    "nothing to show": ({"metrics": {"train_loss": 1.0}}, "none of the quantities"),
    "checkpoint": ({"config": "checkpoint: x.pt\n"}, "started from a checkpoint"),
    "no preset": ({"words": "net=conv5"}, "it is of no preset, and net=conv5"),
    "in no table": (
        {"words": "experiment=augerino/olivetti"},
        "experiment=augerino/olivetti is in no table",
    ),
    "no device": ({"device": ""}, "result.json: device"),
    "no seconds": ({"seconds": -1}, "result.json: seconds"),
    "another scale": ({"scale": "full"}, "its command says scale=cpu, its result scale=full"),
    "no command": ({"command": "main.py what scale=cpu"}, "'what' is not of the form key=value"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_cannot_be_recorded_is_named(
    file: Path, make: Callable[..., Path], capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    changes, part = LEFT_OUT[kind]
    path = make("run", **changes)
    with pytest.raises(ConfigError, match="none of these runs can be recorded"):
        recorded(file, str(path))
    said = capsys.readouterr().out
    assert said.startswith("left out: run: ")
    assert part in said
    assert file.read_text() == SECTION


def test_what_a_hostile_result_says_stays_in_its_cell(
    file: Path, make: Callable[..., Path]
) -> None:
    path = make("run", device="X | y\n\n# heading <script>alert(1)</script>: {a}")
    (entry,) = recorded(file, str(path))
    assert load(file, Section).runs == [entry]
    outline = Outline(about="All.", parts=[{"title": "One", "sections": ["t"]}])
    lines = page(outline, {"t": load(file, Section)}).splitlines()
    (row,) = [line for line in lines if "heading" in line]
    assert row.startswith("| low |")
    assert "X \\| y # heading &lt;script>" in row


def test_what_stands_after_the_runs_is_not_lost(file: Path, make: Callable[..., Path]) -> None:
    file.write_text(SECTION + "runs: []\nremarks: Mine.\n")
    with pytest.raises(ConfigError, match="runs must be the last key"):
        recorded(file, str(make("a")))
    assert "remarks: Mine." in file.read_text()
