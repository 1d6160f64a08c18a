"""The same command again: a killed run goes on and ends with the same numbers to the last bit, a
finished one is shown."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
# Whatever holds state: dropout, learned draws, a fixed augmentation, momentum, a schedule, a best
# checkpoint.
STATEFUL = (
    "net/backbone=conv5",
    "net.backbone.width=2",
    "net.learn=all",
    "train/schedule=cosine",
    "train/optimizer=sgd",
    "train.optimizer.lr=0.02",
    "dataset.train_size=40",
    "dataset.val_size=24",
    "dataset.test_size=24",
    "dataset.augment=rotation",
    "train.batch_size=16",
    "net.test_copies=1",
    "mode.response_images=2",
    "mode.response_angles=2",
    "mode.response_copies=2",
)


def outcome(out):
    """metrics.jsonl and the metrics of result.json (and curves.json), as written."""
    (folder,) = (p for p in Path(out).iterdir() if p.is_dir())
    result = json.loads((folder / "result.json").read_text())
    return (
        (folder / "metrics.jsonl").read_bytes(),
        json.dumps(result["metrics"]),
        json.dumps(result["learned_symmetry"]),
        (folder / "curves.json").read_bytes(),
    )


@pytest.mark.long
def test_a_run_killed_at_ten_random_moments_ends_as_if_nothing_had_been(tmp_path):
    """And one that is killed at many of its writes to the disk, when the old file and the new one
    are both there."""
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "tests/helpers/kill_driver.py"),
            "0",
            "10",
            str(tmp_path),
            *STATEFUL,
            "train.epochs=10",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report["codes"]) == {0}, done.stderr
    assert report["kills"] >= 10
    assert report["syncs"] >= 5
    expected = outcome(tmp_path / "undisturbed")
    assert expected[0].count(b"\n") == 10
    for out in report["outs"]:
        assert outcome(tmp_path / out) == expected
    assert not list(tmp_path.rglob("error.txt"))


@pytest.mark.long
def test_a_process_that_is_killed(tmp_path, main):
    """The whole of it, as a person would see it: SIGKILL in the middle of the training, then the
    same command."""
    words = (*STATEFUL, "train.epochs=60", "mode.response_images=0")
    victim = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *words, "paths.out=killed"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not list(tmp_path.glob("killed/*/checkpoints/last.pt")):
        time.sleep(0.01)
    time.sleep(0.1)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL, "it had ended before it could be killed"
    again = main(*words, "paths.out=killed")
    assert again.code == 0, again.err
    assert "continuing after epoch" in again.out
    result = json.loads((again.directory / "result.json").read_text())
    assert result["metrics"]["epochs"] <= 60
    rows = [
        json.loads(line) for line in (again.directory / "metrics.jsonl").read_text().splitlines()
    ]
    assert [row["epoch"] for row in rows] == list(range(1, 61))


KINDS = {
    "plateau": ("train/schedule=plateau", "train.schedule.patience=1", "dataset.val_size=12"),
    "multistep": (
        "train/schedule=multistep",
        "train.schedule.milestones=[2,3]",
        "train/optimizer=sgd",
    ),
    "warm-up": ("train.schedule.warmup_epochs=3", "train.symmetry_lr=0.001", "train.clip_norm=0.5"),
    "plain": ("train/schedule=cosine", "dataset.augment=flip_crop"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_schedule_goes_on_where_it_was(main, tiny, kind):
    from learnsym.training.loop import Training

    words = (*tiny, "train.epochs=5", *KINDS[kind])
    expected = main(*words, "paths.out=undisturbed")
    assert expected.code == 0, expected.err
    original = Training._train_epoch

    def stop_once(self):
        if self.progress.epoch == 2:
            raise KeyboardInterrupt
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_train_epoch", stop_once)
        stopped = main(*words)
    assert stopped.code == 130
    assert "goes on" in stopped.err
    torch.manual_seed(99)  # a new process would not be where this one is
    again = main(*words)
    assert "continuing after epoch 2" in again.out
    for name in ("metrics.jsonl", "checkpoints/last.pt"):
        one, other = expected.directory / name, again.directory / name
        if name.endswith("jsonl"):
            assert one.read_bytes() == other.read_bytes()
        else:
            one, other = (torch.load(p, weights_only=True) for p in (one, other))
            assert one["schedule"] == other["schedule"]
            torch.testing.assert_close(one["net"], other["net"], rtol=0, atol=0)
            torch.testing.assert_close(
                one["optimizer"]["state"], other["optimizer"]["state"], rtol=0, atol=0
            )


def unfinish(folder):
    """Make a finished run one that was stopped after its last epoch but one."""
    (folder / "result.json").unlink()


def test_a_torn_last_line_and_leftovers(main, tiny):
    """What a power cut leaves: half a row, a half-written file beside the whole one."""
    whole = main(*tiny).directory
    expected = (whole / "metrics.jsonl").read_bytes()
    unfinish(whole)
    first, second = expected.splitlines(keepends=True)
    (whole / "metrics.jsonl").write_bytes(first + second[:20])
    (whole / "checkpoints" / ".last.pt.partial").write_bytes(b"half")
    (whole / ".result.json.partial").write_bytes(b"{")
    # The last checkpoint is older than the torn row: it is that of epoch 1.
    state = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)
    assert state["progress"]["epoch"] == 2
    shutil.rmtree(whole / "checkpoints")
    again = main(*tiny)
    assert again.code == 0, again.err
    assert (again.directory / "metrics.jsonl").read_bytes() == expected


def test_rows_of_a_checkpoint_that_were_lost(main, tiny):
    """A last.pt of epoch 2 with the second row torn: rows are written before the checkpoint, so
    this takes a broken disk."""
    whole = main(*tiny).directory
    expected = (whole / "metrics.jsonl").read_bytes()
    unfinish(whole)
    (whole / "metrics.jsonl").write_bytes(expected[: len(expected) - 20])
    again = main(*tiny)
    assert again.code == 1
    assert "metrics.jsonl" in again.err
    assert "fresh=true" in again.err
    assert main(*tiny, "fresh=true").code == 0
    assert (whole / "metrics.jsonl").read_bytes() == expected


def test_a_finished_run_is_shown_and_not_done_again(main, tiny):
    first = main(*tiny)
    result = first.directory / "result.json"
    before = (result.read_bytes(), result.stat().st_mtime_ns)
    again = main(*tiny)
    assert again.code == 0
    assert again.out.splitlines()[-1] == first.out.splitlines()[-1]
    assert "this run is finished; fresh=true starts over" in again.out
    assert "another version" not in again.out
    assert "test_accuracy" in again.out
    assert (result.read_bytes(), result.stat().st_mtime_ns) == before


def test_fresh_starts_over(main, tiny):
    first = main(*tiny).directory
    before = json.loads((first / "result.json").read_text())
    (first / "leftover").write_text("of an earlier version")
    again = main(*tiny, "fresh=true")
    assert again.directory == first
    assert "finished" not in again.out
    assert "continuing" not in again.out
    assert not (first / "leftover").exists()
    assert json.loads((first / "result.json").read_text())["metrics"] == before["metrics"]


def test_a_result_of_another_version_of_the_code_says_so(main, tiny):
    folder = main(*tiny).directory
    result = json.loads((folder / "result.json").read_text())
    result["versions"]["code"] = "0" * 12
    (folder / "result.json").write_text(json.dumps(result))
    assert "remark: this result was made by another version of the code" in main(*tiny).out


def test_what_decides_a_result_decides_the_directory(main, tiny):
    """Where things are kept and how they are shown does not; everything else does."""
    first = main(*tiny).directory
    elsewhere = main(
        *tiny,
        "paths.out=elsewhere",
        "paths.data=somewhere",
        "trainer.progress=false",
        "logger=jsonl",
    ).directory
    assert elsewhere.name == first.name
    assert elsewhere.parent.name == "elsewhere"
    assert (elsewhere / "metrics.jsonl").read_bytes() == (first / "metrics.jsonl").read_bytes()
    names = {first.name}
    for change in (
        "seed=1",
        "net.regularisation=0.0123",
        "dataset.seed=1",
        "train.optimizer.lr=0.0123",
    ):
        names.add(main(*tiny, change).directory.name)
    assert len(names) == 5


def test_what_a_run_leaves(main, tiny):
    """The contract of the design: files, and what is in result.json."""
    done = main(*tiny)
    files = {
        p.relative_to(done.directory).as_posix() for p in done.directory.rglob("*") if p.is_file()
    }
    assert {
        "config.yaml",
        "metrics.jsonl",
        "result.json",
        "checkpoints/last.pt",
        "figures/learned_symmetry.png",
    } <= files
    assert not [f for f in files if f.endswith(".partial") or f == "error.txt"]
    result = json.loads((done.directory / "result.json").read_text())
    assert {
        "status",
        "metrics",
        "learned_symmetry",
        "paper",
        "seconds",
        "device",
        "versions",
        "config_hash",
        "command",
    } <= set(result)
    assert result["status"] == "finished"
    assert result["config_hash"] in done.directory.name
    assert result["command"] == "main.py " + " ".join(tiny)
    assert {"test_accuracy", "learned_rotation_width_rad"} <= set(result["metrics"])
    assert result["learned_symmetry"]["augmentation"]["rotation"]["learned"] is True
    assert done.err == ""


def test_debug_keeps_nothing(main, tiny, tmp_path):
    done = main(*tiny, "debug=true")
    assert done.code == 0, done.err
    assert "result: none" in done.out.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
