"""main.py called in this process: quick, and just as a person calls it. And small settings, so that
a run takes a second."""

import importlib
import json
import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[2]
TINY = (
    "dataset.train_size=24",
    "dataset.test_size=12",
    "train.batch_size=12",
    "train.epochs=2",
    "net.backbone.width=2",
    "mode.response_images=0",
)
"""The default run (Augerino on sprites), made tiny."""


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def directory(self) -> Path:
        """The run's directory, from the last line on standard output."""
        last = self.out.splitlines()[-1]
        assert last.startswith("result: "), self.out + self.err
        return Path(last.removeprefix("result: ")).parent

    @property
    def result(self) -> dict:
        """result.json of a run that succeeded."""
        assert self.code == 0, self.out + self.err
        return json.loads((self.directory / "result.json").read_text())

    @property
    def rows(self) -> list[dict]:
        """metrics.jsonl."""
        return [
            json.loads(line) for line in (self.directory / "metrics.jsonl").read_text().splitlines()
        ]

    def records(self, name: str = "records.npz") -> dict[str, np.ndarray]:
        """What an ensemble recorded."""
        with np.load(self.directory / name) as file:
            return {key: file[key] for key in file.files}


@pytest.fixture
def main(monkeypatch, capfd, tmp_path):
    """main(*words) runs main.py with these words in this process, in a folder of its own, and
    returns what it left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEARNSYM_DATA", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # so that it is put back afterwards
    # By its place in sys.modules: learnsym.report.sweep_callback is what the command line will look
    # at, whoever imported it before.
    sweep = importlib.import_module("learnsym.report.sweep_callback")

    def call(*words):
        GlobalHydra.instance().clear()
        sweep.failed_jobs.clear()
        monkeypatch.setattr(sys, "argv", ["main.py", *words])
        capfd.readouterr()
        with torch.random.fork_rng():
            try:
                runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
        out, err = capfd.readouterr()
        return Done(code, out, err)

    yield call
    GlobalHydra.instance().clear()
    sweep.failed_jobs.clear()


@pytest.fixture
def process(tmp_path):
    """process(*words, **environment) runs main.py in a process of its own, one thread, in the same
    folder as `main`."""

    def call(*words, limit=120, **environment):
        done = subprocess.run(
            [sys.executable, str(ROOT / "main.py"), *words],
            capture_output=True,
            text=True,
            timeout=limit,
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def tiny():
    """Overrides that make the default run tiny."""
    return TINY


@pytest.fixture
def drawn():
    """For a test that looks at a figure: it is rendered."""


@pytest.fixture(autouse=True)
def figures_are_not_rendered(request, monkeypatch):
    """Laying out and rendering the figure would take half of a tiny run's time; an empty file
    stands for it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("learnsym.figures.style.render", lambda figure: b"")


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny networks are slower on several threads, and other tests may be running."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
