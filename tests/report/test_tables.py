"""Tables: the numbers are right, the paper's stand beside them, who is missing is named, and no
string breaks out of a cell."""

import csv
import io
import math
import shutil
import statistics
import subprocess
from pathlib import Path

import pytest
from fake_runs import make_run

from learnsym.errors import ConfigError
from learnsym.report.latex import PAGE, head, latex, pages_of, tex
from learnsym.report.tables import RunTable, csv_text, make_table, markdown
from learnsym.results.collect import collect
from learnsym.results.grouping import group_runs

PAPER = [{"metric": "test_accuracy", "value": 0.938, "status": "S", "where": "table 2"}]
HOSTILE = (
    r"</script><script>alert('&amp;')</script> 100% a_b {x} $y$ #1 ~ ^ "
    r"\input{/etc/passwd} | `z` -- λ " + '"q"'
)


def table_of(folder: Path, metrics: list[str] | None = None) -> RunTable:
    runs = collect(str(folder / "*"))
    return make_table(group_runs(runs), runs, metrics)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two rows of three seeds and of one, one run that failed, one that goes on."""
    for level, values in ((0.01, (0.5, 0.7, 0.9)), (0.1, (0.25,))):
        for seed, value in enumerate(values):
            metrics = {
                "train_loss": 1.0,
                "learned_rotation_width_rad": value,
                "test_accuracy": 1 - value,
            }
            words, config = [f"net.regularisation={level}"], {"net": {"regularisation": level}}
            make_run(
                tmp_path,
                seed,
                words=words,
                config=config,
                metrics=metrics,
                paper=PAPER if level == 0.1 else [],
            )
    make_run(tmp_path, 7, error="Traceback ...\nRunError: train_loss is nan\n", name="y-failed")
    make_run(tmp_path, 8, name="z-goes-on")
    return tmp_path


def numbers(table: RunTable) -> dict[tuple[str, str], tuple[object, ...]]:
    lines = table.values[["run", "metric", "mean", "sd", "n"]].itertuples(index=False, name=None)
    return {line[:2]: line[2:] for line in lines}


def test_means_and_deviations(folder: Path) -> None:
    found = numbers(table_of(folder))
    assert found["regularisation=0.01", "test_accuracy"] == (
        statistics.fmean((0.5, 0.3, 0.1)),
        pytest.approx(0.2),
        3,
    )
    assert found["regularisation=0.1", "test_accuracy"] == (0.75, "", 1), "one has no deviation"


def test_markdown_of_a_whole_table(folder: Path) -> None:
    assert markdown(table_of(folder)) == (
        "| run | n | test_accuracy | learned_rotation_width_rad |\n"
        "| --- | --- | --- | --- |\n"
        "| regularisation=0.01 | 3 | 0.3 ± 0.2 | 0.7 ± 0.2 |\n"
        "| regularisation=0.1 | 1 | 0.75 (0.938 [S, table 2]) | 0.25 |\n"
        "\n"
        "Mean ± standard deviation over seeds (n runs). "
        "In brackets: the paper's value and its status (S: quoted by another paper).\n"
        "\n"
        "Not in the table, 2 of 6 runs:\n"
        "\n"
        "- y-failed (failed): RunError: train_loss is nan\n"
        "- z-goes-on (unfinished): it has not finished; its command goes on with it.\n"
    )


def test_csv_has_every_metric_and_those_that_are_missing(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(table_of(folder)))))
    found = {(r["run"], r["metric"]): r for r in rows}
    assert len(rows) == 2 * 3 + 2
    row = found["regularisation=0.01", "train_loss"]
    assert (row["mean"], row["sd"], row["n"], row["seeds"], row["scale"]) == (
        "1.0",
        "0.0",
        "3",
        "0 1 2",
        "full",
    )
    row = found["regularisation=0.1", "test_accuracy"]
    assert (row["sd"], row["paper"], row["paper_status"], row["code"]) == (
        "",
        "0.938",
        "S",
        "a" * 12,
    )
    assert found["y-failed", ""]["reason"] == "RunError: train_loss is nan"
    assert found["z-goes-on", ""]["status"] == "unfinished"


def test_a_metric_that_some_seeds_lack_says_how_many_have_it(tmp_path: Path) -> None:
    make_run(tmp_path, 0, metrics={"test_loss": 1.0, "test_accuracy": 0.5})
    make_run(tmp_path, 1, metrics={"test_loss": 3.0})
    assert "| net-data | 2 | 2 ± 1.4 | 0.5 (n=1) |" in markdown(table_of(tmp_path))


def test_what_is_no_number_is_not_averaged_away(tmp_path: Path) -> None:
    for seed, value in enumerate((1.0, math.nan, math.inf)):
        make_run(tmp_path, seed, metrics={"test_loss": value, "test_name": "a", "test_flag": True})
    ((key, (mean, sd, n)),) = numbers(table_of(tmp_path)).items()
    assert key == ("net-data", "test_loss")
    assert math.isnan(mean)
    assert math.isnan(sd)
    assert n == 3
    assert "net-data,test_loss,nan,nan,3," in csv_text(table_of(tmp_path))
    assert "| net-data | 3 | nan ± nan |" in markdown(table_of(tmp_path))


def test_metrics_of_layers_and_what_was_given(tmp_path: Path) -> None:
    """The lifting is always whole: a column of ones tells nothing. Another run of the table may
    have learned it."""
    extent = {"metric": "learned_rotation_fraction"}
    symmetry = {
        "lift": {"rotation": extent | {"learned": False}},
        "last": {"rotation": extent | {"learned": True}},
    }
    metrics = {f"learned_rotation_fraction/{layer}": 0.5 for layer in symmetry} | {"test_loss": 1.0}
    make_run(tmp_path, 0, metrics=metrics, learned_symmetry=symmetry)
    assert table_of(tmp_path).blocks == [["test_loss"], ["learned_rotation_fraction/last"]]
    assert "Extents that were given" in markdown(table_of(tmp_path))
    assert "learned_rotation_fraction/lift" in csv_text(table_of(tmp_path))
    symmetry["lift"]["rotation"]["learned"] = True
    make_run(tmp_path, 1, metrics=metrics, learned_symmetry=symmetry)
    assert len(table_of(tmp_path).blocks[1]) == 2


def test_metrics_may_be_chosen(folder: Path) -> None:
    assert table_of(folder, ["train_*", "test_accuracy"]).blocks == [
        ["train_loss", "test_accuracy"]
    ]
    with pytest.raises(
        ConfigError,
        match=r"mode\.metrics=loss: no run has such a metric; valid: learned_rotation_width_rad",
    ):
        table_of(folder, ["test_*", "loss"])


def test_without_a_finished_run_there_is_only_the_list(tmp_path: Path) -> None:
    make_run(tmp_path, name="a", error="it broke")
    table = table_of(tmp_path)
    assert (
        markdown(table)
        == "No run has finished.\n\nNot in the table, 1 of 1 runs:\n\n- a (failed): it broke\n"
    )
    assert "a (failed): it broke" in latex(table)


def test_two_absent_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place in ("one", "two"):
        make_run(tmp_path / place, name="same", error="x" * 1000)
    runs = collect(str(tmp_path / "*"))
    text = markdown(make_table([], runs))
    assert f"- {tmp_path}/one/same (failed): xxx" in text
    assert f"- {tmp_path}/two/same (failed): xxx" in text
    assert "x" * 401 not in text


# --- strings that mean something elsewhere


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    for seed, level in enumerate((HOSTILE, "plain")):
        paper = [{"metric": "test_loss", "value": HOSTILE, "status": HOSTILE, "where": HOSTILE}]
        words, config = [f"net.note={level}"], {"net": {"note": level}}
        make_run(
            tmp_path,
            seed,
            words=words,
            config=config,
            metrics={"test_loss": 1.0, f"test_{HOSTILE}": 2.0},
            paper=paper,
        )
    make_run(tmp_path, 5, name="failed", error=HOSTILE)
    return tmp_path


def test_no_string_makes_a_cell_or_html_in_markdown(hostile: Path) -> None:
    text = markdown(table_of(hostile))
    assert "<" not in text.replace("&lt;", "")
    counts = {
        line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")
    }
    assert len(counts) == 1


def test_every_character_has_its_place_in_latex() -> None:
    assert tex(r"\a{b}") == r"\textbackslash{}a\{b\}"
    assert tex("5% & $1 #2 _3 ~ ^") == r"5\% \& \$1 \#2 \_3 \textasciitilde{} \textasciicircum{}"
    assert tex("a---b\nc\x07d") == "a-{}-{}-b c d"
    assert tex("é λ ±") == r"é [U+03BB] $\pm$"


def test_columns_are_as_many_as_fit_on_a_page(tmp_path: Path) -> None:
    metrics = {f"learned_rotation_fraction/blocks.{n}.conv1.elements": 0.123456 for n in range(9)}
    make_run(tmp_path, metrics=metrics)
    table = table_of(tmp_path)
    parts = list(pages_of(table.block_frame(table.blocks[0])))
    assert [m for part in parts for m in part.columns[2:]] == list(metrics)
    assert 1 < len(parts) < 9
    for part in parts:
        widths = [3 + max(map(len, head(m))) for m in part.columns[2:]]
        assert sum(widths) + len("net-data") + 7 <= PAGE
    assert latex(table).count(r"\toprule") == len(parts)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here")
@pytest.mark.parametrize("which", ["folder", "hostile"])
def test_latex_compiles(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(latex(table_of(request.getfixturevalue(which))))
    needed = r"\usepackage[T1]{fontenc}\usepackage{textcomp}\usepackage{booktabs}"
    (tmp_path / "page.tex").write_text(
        rf"\documentclass{{article}}{needed}\begin{{document}}\input{{table}}\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    if which == "folder":
        assert "Overfull" not in done.stdout, "it fits on the page"
