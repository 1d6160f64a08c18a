"""Run sweeps in the background, kill their processes, compare results: for tests of launchers."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONG = 600
"""Epochs of a job that is killed at work: they take much longer than killing it."""


def needs(package):
    """Mark a test that is skipped where a package is not installed."""
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None,
        reason=f"{package} is not installed (uv sync --all-extras)",
    )


@contextmanager
def sweep(folder, *words, by=(sys.executable,), **environment):
    """Run main.py -m in the background; yield a function that waits for it.

    The function returns the exit code and the output.
    """
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    command = [*by, str(ROOT / "main.py"), "-m", *words]
    output = folder / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=file, stderr=subprocess.STDOUT
        )

    def wait(limit=300):
        return process.wait(limit), output.read_text()

    wait.process = process
    try:
        yield wait
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def run_at_work(folder, epochs, rows=3, seconds=300):
    """Return the directory of the run with so many epochs, once it has done some of them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for path in Path(folder).glob("runs/*/metrics.jsonl"):
            config = path.with_name("config.yaml").read_text()
            if f"epochs: {epochs}\n" in config and len(path.read_text().splitlines()) >= rows:
                return path.parent
        time.sleep(0.05)
    raise AssertionError("the job did not start")


def process_of(run):
    """Return the process that holds a run's lock."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it has ended meanwhile
            if any(
                os.readlink(f"/proc/{process}/fd/{name}") == str(run / ".lock")
                for name in os.listdir(f"/proc/{process}/fd")
            ):
                return int(process)
    raise AssertionError(f"nobody is at work on {run}")


def metrics(folder, out="runs"):
    """Return the metrics of all finished runs, by their names."""
    return {
        p.parent.name: json.loads(p.read_text())["metrics"]
        for p in Path(folder, out).glob("*/result.json")
    }


def rows(folder, run, out="runs"):
    return Path(folder, out, run, "metrics.jsonl").read_text()


def undisturbed(main, tiny, *words):
    """Run the same sweep, one job after another in this process."""
    done = main("-m", *tiny, *words, "paths.out=undisturbed")
    assert done.code == 0, done.err


def assert_as_undisturbed(folder, count):
    """Compare the metrics and those of every epoch, to the last bit."""
    finished = metrics(folder)
    assert len(finished) == count
    assert finished == metrics(folder, "undisturbed")
    for run in finished:
        assert rows(folder, run) == rows(folder, run, "undisturbed")


def kill_one(folder, arguments, epochs, **environment):
    """Run the sweep, kill the process of its long job with SIGKILL; this job alone is missing."""
    with sweep(folder, *arguments, **environment) as wait:
        killed = run_at_work(folder, epochs)
        os.kill(process_of(killed), signal.SIGKILL)
        code, out = wait()
    assert code == 1, out
    assert not (killed / "result.json").exists()
    return out


def assert_named(out, count, epochs):
    assert f"1 of {count} jobs failed; the same command again does only these:" in out
    named, reason = out.split("does only these:\n")[1].splitlines()[:2]
    assert f"train.epochs={epochs}" in named.split()
    return reason
