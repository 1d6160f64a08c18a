"""A sweep of three kinds of runs that is killed again and again, and two people who start the same
thing at once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import check_one_sentence
from filelock import FileLock

HERE = Path(__file__).parents[1] / "helpers"
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


def driver(script, *words, limit):
    return subprocess.run(
        [sys.executable, str(HERE / script), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=limit,
        env=ALONE,
    )


def report(done):
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_a_sweep_of_six_killed_at_six_random_moments(tmp_path):
    """Six forks; every file is read after every kill (fifty real processes: the slow test
    below)."""
    found = report(
        driver("kill_sweep.py", tmp_path, "--kills", 6, "--epochs", 5, "--fork", limit=400)
    )
    assert found["kills"] == 6
    assert found["runs"] == 6
    assert found["same"] == found["sweeps"]
    assert found["files_read"] > 20
    assert found["errors"] == []


@pytest.mark.slow
def test_a_sweep_of_six_killed_at_fifty_random_moments(tmp_path):
    """As a person does it: every attempt is a process of its own. Seventeen minutes on two
    cores."""
    found = report(driver("kill_sweep.py", tmp_path, "--kills", 50, "--epochs", 120, limit=7200))
    assert found["kills"] == 50
    assert found["same"] == found["sweeps"]


def test_what_the_killing_test_would_see(tmp_path):
    """Half a file of any kind, and a last digit."""
    sys.path.insert(0, str(HERE))
    try:
        from kill_sweep import read_all
    finally:
        sys.path.remove(str(HERE))
    import numpy as np
    import torch
    from PIL import Image

    torch.save({"a": torch.zeros(50)}, tmp_path / "a.pt")
    np.savez(tmp_path / "a.npz", a=np.zeros(50))
    Image.effect_noise((20, 20), 50).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text('{"a": [1, 2]}')
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "a.yaml").write_text("seed: 0\n")
    (tmp_path / "a.md").write_text("| a |\n\nMean ± standard deviation over seeds (n runs).\n")
    (tmp_path / "a.html").write_text("<html>\n<p>all of it</p>\n</html>\n")
    (tmp_path / ".a.json.partial").write_text('{"a')
    assert read_all(tmp_path) == 9
    for path in sorted(tmp_path.glob("a.*")):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(0.6 * len(whole))])
        with pytest.raises(AssertionError, match=rf"{path.name} is not whole"):
            read_all(tmp_path)
        path.write_bytes(whole)


BOTH = """
import json, os, sys
sys.path.insert(0, {here!r})
import kill_driver
report = kill_driver.prepare()
words = json.loads(sys.argv[1])
kill_driver.run([*words, "paths.out=alone"])
children = []
for name in ("one", "other"):
    child = os.fork()
    if child == 0:
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), 2)
        os._exit(kill_driver.run([*words, "paths.out=shared"]))
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
codes.append(kill_driver.run([*words, "paths.out=shared"]))
os.write(report, json.dumps([codes, [open(name).read() for name in ("one", "other")]]).encode())
"""


@pytest.mark.long
@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_two_who_start_the_same_at_once(tmp_path, tiny, kind):
    """One works, the other says so, and nothing is the worse for it."""
    words = (
        [*tiny, "train.epochs=12"] if kind == "run" else ["-m", *tiny, "train.epochs=6", "seed=0,1"]
    )
    script = BOTH.format(here=str(HERE))
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(words)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=ALONE,
    )
    assert done.returncode == 0, done.stderr
    codes, said = json.loads(done.stdout)
    assert sorted(codes[:2]) == [0, 1], said
    assert codes[2] == 0
    refused, worked = sorted(said, key=len, reverse=True)
    assert f"another process is at work on this {kind}" in refused
    assert refused.count("error: ") == 1
    assert worked == ""
    alone = {
        p.parent.name: json.loads(p.read_text())["metrics"]
        for p in tmp_path.glob("alone/*/result.json")
    }
    shared = {
        p.parent.name: json.loads(p.read_text())["metrics"]
        for p in tmp_path.glob("shared/*/result.json")
    }
    assert len(alone) == (1 if kind == "run" else 2)
    assert shared == alone
    if kind == "sweep":
        assert len(list(tmp_path.glob("shared/sweeps/*/jobs/*.json"))) == 2


@pytest.mark.long
def test_a_sweep_that_another_process_is_at(main, tiny):
    """Its records of jobs stay: the other process counts on them."""
    sweep = ("-m", *tiny, "seed=0,1")
    assert main(*sweep).code == 0
    (folder,) = Path("runs/sweeps").iterdir()
    before = {path.name: path.read_bytes() for path in (folder / "jobs").iterdir()}
    with FileLock(folder / ".lock"):
        check_one_sentence(
            main(*sweep), 1, str(folder), "another process is at work on this sweep", "paths.out"
        )
    assert {path.name: path.read_bytes() for path in (folder / "jobs").iterdir()} == before
    assert main(*sweep).code == 0, "and it is given back"


def test_a_sweep_whose_folder_cannot_be_made(main, tiny, tmp_path):
    (tmp_path / "a_file").write_text("not a folder")
    check_one_sentence(
        main("-m", *tiny, "seed=0,1", "paths.out=a_file"), 1, "a_file", "cannot be written"
    )


def test_an_interrupted_sweep_gives_its_lock_back(main, tiny):
    from learnsym.training.loop import Training

    def stop(self):
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal should have come")

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs ignore it
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Training, "fit", stop)
            assert main("-m", *tiny, "seed=0,1").code == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert main("-m", *tiny, "seed=0,1").code == 0
