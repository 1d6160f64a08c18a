"""mode=book as it is typed: it writes where it is told, records runs that main.py made, and refuses
what would have no effect."""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from learnsym.report.experiments_page import read_measured
from learnsym.run import run_id as record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def book(tmp_path):
    """A folder with a copy of results/, and pages that are to be written anew."""
    folder = tmp_path / "book"
    shutil.copytree(ROOT / "results", folder / "results")
    (folder / "EXPERIMENTS.md").write_text("to be written anew\n")
    return folder


def test_the_page_is_written_anew(main, book):
    done = main("mode=book", f"mode.folder={book}")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == f"result: {book / 'EXPERIMENTS.md'}"
    for page in ("EXPERIMENTS.md", "docs/fidelity.md"):
        assert (book / page).read_text() == (ROOT / page).read_text()
    again = main("mode=book", "mode.folder=book")
    assert again.code == 0, "relative to where it is typed"


def test_a_run_that_main_made_is_on_the_page(main, tiny, book):
    """A preset at a size of a test's own; another of no preset is left out and named."""
    sized = [w for w in tiny if not w.startswith("net.")]
    preset = ["experiment=augerino/mario_iggy", "dataset=sprites", "net.backbone.width=2", *sized]
    first = main(*preset, "seed=0")
    assert first.code == 0, first.err
    assert main(*preset, "seed=1").code == 0
    other = main(*tiny)
    recorded = main("mode=book", f"mode.folder={book}", "runs=runs/*")
    assert recorded.code == 0, recorded.err
    assert f"left out: {other.directory.name}: it is of no preset" in recorded.out
    assert "new: python main.py experiment=augerino/mario_iggy/mid dataset=sprites" in recorded.out
    measured = read_measured(book / "results")
    new = measured[measured["command"].str.contains("dataset=sprites")]
    assert set(new["n"]) == {"2"}
    assert set(new["seeds"]) == {"0 1"}
    entry = new.iloc[0]
    assert entry["scale"] == "full"
    versions = first.result["versions"]
    assert versions["commit"] == record.commit()
    assert (entry["commit"], entry["torch"]) == (versions["commit"], versions["torch"])
    assert entry["hardware"].startswith(first.result["device"].partition("(")[0])
    ended = datetime.fromisoformat(first.result["finished"])
    assert 0 <= (datetime.now(UTC) - ended).total_seconds() < 600
    page = (book / "EXPERIMENTS.md").read_text()
    assert f"`{entry['command']}`" in page
    assert set((ROOT / "EXPERIMENTS.md").read_text().splitlines()) <= set(page.splitlines()), (
        "nothing else has changed"
    )


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["seed=1"], ["seed=1 would have no effect with mode=book"]),
        (
            ["experiment=augerino/mario_iggy"],
            ["experiment=augerino/mario_iggy would have no effect"],
        ),
        (["runs=none/*"], ["runs=none/*", "there is no run"]),
        (["runs=7"], ["runs=7", "valid string"]),
        (["mode.folder=none"], ["mode.folder", "results/book.yaml", "none"]),
        (["mode.folder=7"], ["mode.folder=7", "valid string"]),
        (["mode.page=x"], ["mode.page", "Valid: folder"]),
        (["checkpoint=x.pt"], ["checkpoint=x.pt", "no effect"]),
    ],
)
def test_a_wrong_command_is_answered_in_one_sentence(main, book, words, parts):
    folder = [] if words[0].startswith("mode.") else [f"mode.folder={book}"]
    done = main("mode=book", *words, *folder)
    assert done.code == 2, done.out + done.err
    (line,) = done.err.strip().splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line
    assert (book / "EXPERIMENTS.md").read_text() == "to be written anew\n"


def test_a_hostile_file_of_results_is_refused(main, book, tmp_path):
    path = book / "results" / "default.yaml"
    path.write_text("title: !!python/object/apply:os.mkdir [executed]\n")
    done = main("mode=book", f"mode.folder={book}")
    assert done.code == 2
    (line,) = done.err.strip().splitlines()
    assert str(path) in line
    assert not (tmp_path / "executed").exists()


# --- which commit made a result


def git(folder, *words):
    person = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *person, *words], cwd=folder, check=True, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout that looks like this one, whose run_id.py is asked for its commit."""
    package = tmp_path / "there" / "src" / "learnsym"
    (package / "run").mkdir(parents=True)
    for file in (
        package / "run" / "run.py",
        package / "run" / "run_id.py",
        tmp_path / "there" / "main.py",
    ):
        file.write_text("")
    (tmp_path / "there" / "cfg").mkdir()
    monkeypatch.setattr(record, "__file__", str(package / "run" / "run_id.py"))
    return tmp_path / "there"


def test_the_commit_of_a_checkout(checkout):
    commit = record.commit.__wrapped__
    assert commit() is None, "no checkout"
    git(checkout, "init")
    assert commit() is None, "no commit"
    (checkout / ".gitignore").write_text("src\n")
    git(checkout, "add", ".gitignore")
    git(checkout, "commit", "-m", "of somebody who has this package inside a checkout of their own")
    assert commit() is None, "not tracked"
    git(checkout, "add", "-f", ".")
    git(checkout, "commit", "-m", "all")
    (checkout / "notes.txt").write_text("decides nothing")
    clean = commit()
    assert clean
    assert len(clean) >= 7
    assert "+" not in clean
    (checkout / "cfg" / "new.yaml").write_text("a: 1\n")
    assert commit() == f"{clean}+changes"
