"""What a loss of power may leave, and what a hand may: every damaged file is named, with what to
do, and survived."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from command_line import check_one_sentence

from learnsym.errors import RunError
from learnsym.run.directory import RunDirectory, read_rows
from learnsym.training import checkpoint
from learnsym.utils.files import append_line, write_atomically

# --- the order of what reaches the disk


@pytest.fixture
def calls(monkeypatch):
    """What is asked of the system, in order: (what, file or files), the real things being done."""
    seen = []

    def watch(name, describe):
        real = getattr(os, name)

        def call(*arguments, **keywords):
            seen.append((name, *describe(*arguments)))
            return real(*arguments, **keywords)

        monkeypatch.setattr(os, name, call)

    watch("fsync", lambda descriptor: [Path(os.readlink(f"/proc/self/fd/{descriptor}")).name])
    watch("replace", lambda old, new: [Path(old).name, Path(new).name])
    return seen


def test_a_checkpoint_is_the_old_one_or_the_new_one(tmp_path, calls):
    """Its content, then its name, then the folder that holds the name: in any other order a loss of
    power could leave neither."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    checkpoint.save(folder / "last.pt", {"net": {}})
    assert calls == [
        ("fsync", ".last.pt.partial"),
        ("replace", ".last.pt.partial", "last.pt"),
        ("fsync", "checkpoints"),
    ]


def test_so_is_every_other_file(tmp_path, calls):
    write_atomically(tmp_path / "result.json", "{}")
    assert calls == [
        ("fsync", ".result.json.partial"),
        ("replace", ".result.json.partial", "result.json"),
        ("fsync", tmp_path.name),
    ]


def test_new_folders_are_on_the_disk_before_what_is_in_them(tmp_path, calls):
    write_atomically(tmp_path / "a" / "b" / "c.txt", "c")
    assert calls == [
        ("fsync", tmp_path.name),
        ("fsync", "a"),
        ("fsync", ".c.txt.partial"),
        ("replace", ".c.txt.partial", "c.txt"),
        ("fsync", "b"),
    ]


def test_a_row_is_on_the_disk_before_its_checkpoint(main, tiny, calls):
    main(*tiny)
    names = [call[-1] for call in calls]
    first = names.index("metrics.jsonl")
    assert names[first + 1].startswith("augerino-"), "the folder, for the name of a new file"
    assert (
        first
        < names.index("last.pt")
        < names.index("metrics.jsonl", first + 1)
        < names.index("result.json")
    )


def test_a_line_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """A disk that fills up in the middle of a line."""
    path = tmp_path / "metrics.jsonl"
    append_line(path, '{"epoch": 1}')
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:4]))
        with pytest.raises(
            RunError, match=r"metrics\.jsonl cannot be written \(No space left on device\)"
        ):
            append_line(path, '{"epoch": 2}')
    assert path.read_text() == '{"epoch": 1}\n'


def test_starting_over_forgets_first_that_it_had_finished(tmp_path, monkeypatch):
    """A process that is killed in the middle of it leaves neither a result nor a checkpoint without
    its rows."""
    run = RunDirectory(tmp_path)
    for name in (
        "result.json",
        "metrics.jsonl",
        "config.yaml",
        "checkpoints/last.pt",
        "checkpoints/old/x.npy",
        "figures/a.png",
    ):
        write_atomically(tmp_path / name, "x")
    order, real = [], Path.unlink

    def unlink(self, missing_ok=False):
        order.append(self.relative_to(tmp_path).as_posix())
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    run.clear()
    assert order[0] == "result.json"
    assert set(order[1:3]) == {"checkpoints/last.pt", "checkpoints/old/x.npy"}
    assert list(tmp_path.iterdir()) == []


# --- damaged by hand


def cut(path, keep=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])


def test_rows_are_read_as_far_as_a_crash_may_have_cut_them(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"epoch": epoch, "loss": 0.5} for epoch in (1, 2, 3)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for end in range(len(text) + 1):
        path.write_text(text[:end])
        assert read_rows(path) == rows[: text[: end + 1].count("\n")], text[:end]
    for damaged, line in (
        (text.replace('2, "loss"', '2, "lo\0'), 2),
        ("\0\0\n" + text, 1),
        (text + "[]\n", 4),
        (text + "{}\n", 4),
    ):
        path.write_text(damaged)
        with pytest.raises(
            RunError,
            match=rf"metrics\.jsonl, line {line} cannot be read.*delete the folder .*fresh=true",
        ):
            read_rows(path)
    path.write_text(text[:-5])
    with pytest.raises(RunError, match="line 3"):
        read_rows(path, whole=True)


def unfinished(main, tiny):
    folder = main(*tiny).directory
    (folder / "result.json").unlink()
    return folder


def test_a_row_in_the_middle(main, tiny):
    tiny = [*tiny, "train.epochs=3"]
    folder = unfinished(main, tiny)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text(lines[0] + lines[1][:20] + "\n" + lines[2])
    done = main(*tiny)
    check_one_sentence(done, 1, "metrics.jsonl, line 2", "fresh=true")
    assert len((folder / "checkpoints" / "last.pt").read_bytes()), (
        "nothing is thrown away before the user says so"
    )
    assert main(*tiny, "fresh=true").code == 0
    assert (folder / "metrics.jsonl").read_text() == "".join(lines)


def test_a_best_checkpoint(main, tiny):
    tiny = [*tiny, "dataset.val_size=12"]
    folder = unfinished(main, tiny)
    cut(folder / "checkpoints" / "best.pt")
    check_one_sentence(main(*tiny), 2, "best.pt", "cannot be read", "fresh=true")


RESULTS = {
    "{": "cannot be read as JSON",
    "[]": "no JSON object",
    "{}": "has no status, metrics, data, versions",
    "\xff": "JSON",
}


@pytest.mark.parametrize("content", RESULTS)
def test_a_result(main, tiny, content):
    """Deleted, as the sentence advises, it is made again with the same numbers."""
    folder = main(*tiny).directory
    before = json.loads((folder / "result.json").read_text())["metrics"]
    (folder / "result.json").write_bytes(content.encode("latin-1"))
    check_one_sentence(main(*tiny), 1, "result.json", RESULTS[content], "delete it", "fresh=true")
    (folder / "result.json").unlink()
    assert main(*tiny).result["metrics"] == before


@pytest.mark.parametrize("damage", ["cut", "other", "gone", "binary"])
def test_a_config_of_a_finished_run(main, tiny, damage):
    """What it should say is known: the run's directory is named after it."""
    folder = main(*tiny).directory
    path = folder / "config.yaml"
    right = path.read_text()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_text(right[: right.index("epochs:")])  # still YAML
    else:
        path.write_bytes(
            b"\0\xff{" if damage == "binary" else right.replace("seed: 0", "seed: 1").encode()
        )
    done = main(*tiny)
    assert done.code == 0, done.err
    assert f"remark: {path} was damaged; it has been written again" in done.out
    assert path.read_text() == right
    assert "remark" not in main(*tiny).out


def test_records_of_an_ensemble(main):
    words = (
        "experiment=dynamics/rotation",
        "scale=smoke",
        "dataset.count=12",
        "dataset.test_size=8",
    )
    folder = main(*words).directory
    (folder / "result.json").unlink()
    cut(folder / "checkpoints" / "dynamics.pt")
    check_one_sentence(main(*words), 2, "dynamics.pt", "cannot be read", "fresh=true")


# --- a sweep goes on with the others


def runs():
    """The three runs' directories by seed."""
    found = {
        json.loads(p.read_text())["seed"]: p.parent for p in Path("runs").glob("*/result.json")
    }
    return [found[seed] for seed in sorted(found)]


def torn_checkpoint(folder):
    (folder / "result.json").unlink()
    cut(folder / "checkpoints" / "last.pt")


def torn_row(folder):
    cut(folder / "metrics.jsonl", 0.7)


DAMAGES = {
    "checkpoint": (torn_checkpoint, "last.pt: it cannot be read"),
    "row": (torn_row, "metrics.jsonl, line"),
    "result": (lambda folder: cut(folder / "result.json"), "result.json cannot be read"),
    "curves": (
        lambda folder: (folder / "curves.json").write_text('{"angle'),
        "curves.json cannot be read",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_sweep_with_a_damaged_run(main, tiny, kind):
    sweep = ("-m", *tiny, "seed=0,1,2")
    assert main(*sweep).code == 0
    (table,) = Path("runs/sweeps").glob("*/table.csv")
    whole = table.read_text()
    damage, part = DAMAGES[kind]
    folder = runs()[1]
    damage(folder)
    done = main(*sweep)
    assert done.code == 1
    named = done.out.split("1 of 3 jobs failed")[1]
    assert "seed=1" in named
    assert part in named
    assert "Traceback" not in done.err
    assert {row.split(",")[4] for row in table.read_text().splitlines()[1:]} == {"2", "0"}, (
        "the others have their table"
    )
    assert main(*sweep).code == 1, "still"
    advised = {"result": [folder / "result.json"], "curves": [folder / "result.json"]}.get(
        kind, [folder]
    )
    for path in advised:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = main(*sweep)
    assert again.code == 0, again.out + again.err
    assert table.read_text() == whole


@pytest.mark.long
@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_record_of_a_sweep(main, tiny, monkeypatch, content):
    """Written atomically, it takes a hand to damage one between a job's end and the sweep's."""
    from learnsym.report import sweep_callback as sweep

    real = sweep.jobs_of

    def damaged(folder, *arguments):
        (folder / "jobs" / "1.json").write_text(content)
        return real(folder, *arguments)

    monkeypatch.setattr(sweep, "jobs_of", damaged)
    done = main("-m", *tiny, "seed=0,1,2")
    assert done.code == 1
    named = done.out.split("1 of 3 jobs failed")[1]
    assert "job 1" in named
    assert "1.json" in named
    assert "the sweep's command writes it again" in named
    monkeypatch.undo()


def test_a_checkpoint_that_a_crash_has_left_beside_the_old_one(main, tiny):
    """Half a new file under its other name is nothing."""
    tiny = [*tiny, "train.epochs=3"]
    folder = unfinished(main, tiny)
    (folder / "checkpoints" / ".last.pt.partial").write_bytes(b"half")
    assert main(*tiny).code == 0
    assert (
        torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["progress"]["epoch"] == 3
    )
