"""mode=report on runs that main.py has made, and the report that ends a sweep."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import make_run

FILES = {"table.md", "table.csv", "table.tex", "report.html"}


@pytest.mark.long
def test_a_sweep_ends_with_a_report_and_mode_report_makes_the_same_of_its_runs(main, tiny, drawn):
    done = main("-m", *tiny, "net.regularisation=0.01,0.2", "seed=0,1")
    assert done.code == 0, done.err
    (sweep,) = Path("runs/sweeps").iterdir()
    assert FILES | {"sweep.png"} <= {p.name for p in sweep.iterdir()}
    for line in (
        "report: {}/report.html",
        "figure: {}/sweep.png",
        *(f"table: {{}}/table.{e}" for e in ("md", "csv", "tex")),
    ):
        assert line.format(sweep.absolute()) in done.out.splitlines()
    page = (sweep / "report.html").read_text()
    assert "main.py -m " in page
    assert "regularisation=0.01,0.2" in page
    assert page.count('<figure><img src="data:image/png;base64,') == 5, (
        "the sweep's figure and those of four runs"
    )

    again = main("mode=report", "runs=runs/*")
    assert again.code == 0, again.err
    last = Path(again.out.splitlines()[-1].removeprefix("result: "))
    assert last.name == "report.html"
    assert last.parent.parent == Path("runs/reports").absolute()
    assert FILES | {"sweep.png"} == {p.name for p in last.parent.iterdir()}
    assert rows(last.parent) == rows(sweep)
    assert main("mode=report", "runs=runs/sweeps").code == 2, (
        "sweeps in a folder are not looked for"
    )
    assert main("mode=report", f"runs={sweep}", "mode.out=elsewhere").code == 0
    assert rows(Path("elsewhere")) == rows(sweep)

    # The process that started the jobs has not trained anything: it waits for no torch before it
    # shows the table.
    script = """
import sys
from pathlib import Path
from learnsym.results.collect import jobs_of
from learnsym.report.sweep_callback import summarise
summarise(Path("lean"), list(jobs_of(Path(sys.argv[1]), False)), [])
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, sweep], check=True)
    assert rows(Path("lean")) == rows(sweep)
    assert (Path("lean") / "sweep.png").exists()


def rows(folder: Path) -> list[tuple[str, ...]]:
    with (folder / "table.csv").open(newline="") as file:
        return sorted(
            (r["run"], r["metric"], r["mean"], r["sd"], r["n"]) for r in csv.DictReader(file)
        )


@pytest.fixture
def runs(tmp_path):
    """Two finished runs of different scales, and one that failed."""
    folder = tmp_path / "runs"
    for seed, scale in enumerate(("cpu", "smoke")):
        make_run(
            folder,
            seed,
            scale=scale,
            metrics={"test_loss": 1.0, "test_accuracy": 0.5},
            rows=[{"epoch": 1, "loss": 1.0}],
        )
    make_run(folder, 3, name="broken", error="RunError: train_loss is nan")
    return folder


def test_failed_runs_are_named_everywhere(main, runs):
    done = main("mode=report", "runs=runs/*", "mode.out=out")
    assert done.code == 0, done.err
    for name in FILES:
        text = (Path("out") / name).read_text().replace(r"\_", "_")
        assert "broken" in text
        assert "RunError: train_loss is nan" in text
    assert "(cpu)" in done.out
    assert "(smoke)" in done.out


def test_metrics_and_a_list_of_patterns(main, runs):
    done = main(
        "mode=report",
        "runs=[runs/net*smoke*,runs/net*cpu*]",
        "mode.metrics=[test_acc*]",
        "mode.out=out",
    )
    assert done.code == 0, done.err
    assert Path("out/table.md").read_text().splitlines()[0] == "| run | n | test_accuracy |"
    assert "test_loss" in Path("out/table.csv").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["runs=none/*"],
            "runs=none/*: there is no run; directories of runs, a sweep's or a folder of runs are "
            "wanted.",
        ),
        (
            ["runs=runs/*", "mode.metrics=[test_los]"],
            "mode.metrics=test_los: no run has such a metric; valid: test_accuracy",
        ),
        (["runs=runs/*", "mode.metrics=[]"], "metrics=[]: at least one name or pattern is needed"),
        (
            ["runs=runs/*", "mode.out=file"],
            "mode.out=file: a folder is wanted, and there is a file of this name.",
        ),
        (["runs=runs/*", "mode.across_code=yes please"], "mode.across_code=yes please"),
        (
            ["runs=runs/*", "mode.format=pdf"],
            "mode.format: there is no such setting; Valid: across_code, metrics, out.",
        ),
        (["runs=runs/*", "train.epochs=3"], "train.epochs=3 would have no effect with mode=report"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_is_answered_in_one_sentence_and_writes_nothing(main, runs, words, said):
    Path("file").write_text("kept")
    before = sorted(Path().rglob("*"))
    done = main("mode=report", *words)
    assert done.code == 2, done.out + done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert sorted(Path().rglob("*")) == before


def test_nothing_heavy_is_loaded_for_tables_and_page():
    code = "import sys, learnsym.modes.report, learnsym.report.sweep_callback; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "matplotlib", "pandas", "numpy"} & set(done.stdout.split())


def test_across_code(main, runs):
    for seed in (0, 1):
        make_run(runs / "more", seed, code=f"{seed}" * 12, metrics={"test_loss": float(seed)})
    main("mode=report", "runs=runs/more/*", "mode.out=apart")
    main("mode=report", "runs=runs/more/*", "mode.out=together", "mode.across_code=true")
    assert "| net-data, code 0000000 | 1 |" in Path("apart/table.md").read_text()
    together = Path("together/table.md").read_text()
    assert "| net-data | 2 | 0.5 ± 0.71 |" in together
    assert "2 versions of the code" in together


def test_jobs_of_a_sweep_that_left_no_record_are_missing(main, tiny):
    """A sweep that was killed: what it did is in the table, what it was to do is named."""
    assert main("-m", *tiny, "train/schedule=glob(co*)", "seed=0,1").code == 0
    (sweep,) = Path("runs/sweeps").iterdir()
    (sweep / "jobs/2.json").unlink()
    done = main("mode=report", f"runs={sweep}", "mode.out=out")
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if "(missing)" in line]
    assert "train/schedule=cosine seed=0 (missing)" in line
    assert line.endswith("it never ran or was killed; the sweep's command does it.")
    assert "3 finished, 1 missing" in Path("out/report.html").read_text()


def test_a_job_without_a_record_fails_its_sweep(main, tiny, monkeypatch):
    """Whatever ended it: a machine that went away leaves nothing."""
    from learnsym import cli

    original = cli.write_atomically

    def write(path, content):
        if path.name != "1.json":
            original(path, content)

    monkeypatch.setattr(cli, "write_atomically", write)
    done = main("-m", *tiny, "seed=0,1")
    assert done.code == 1
    assert "1 of 2 jobs failed" in done.out
    assert "seed=1\n    it never ran or was killed" in done.out


@pytest.mark.parametrize(
    "section", ["metrics", "learned_symmetry", "versions", "data", "true_widths", "paper"]
)
def test_a_result_that_holds_nonsense_is_named(main, runs, section):
    """JSON, and no result."""
    (path,) = runs.glob("*cpu*")
    (path / "result.json").write_text(json.dumps({"metrics": {"test_loss": 1.0}} | {section: 3}))
    done = main("mode=report", "runs=runs/*", "mode.out=out")
    assert done.code == 0, done.err
    assert (
        f"{path.name} (unreadable): {path}/result.json cannot be read (its {section} is a int)"
        in done.out
    )


def test_numbers_that_are_none_are_left_out(main, runs):
    (path,) = runs.glob("*cpu*")
    (path / "result.json").write_text(
        json.dumps({"metrics": {"test_loss": 1.0, "test_name": "x"}, "device": None, "seconds": {}})
    )
    (path / "metrics.jsonl").write_text('{"epoch": "x", "loss": null, "other": [1]}\n')
    done = main("mode=report", "runs=runs/*", "mode.out=out")
    assert done.code == 0, done.err
    assert "test_name" not in done.out
