"""Execute what the pages of the documentation say: `python docs_driver.py WORK.json`, used by
test_docs.py.

It runs in a copy of the project, which is on PYTHONPATH and to which the pages' files have been
added: one process for all pages, since most of a short run is imports. WORK.json holds the steps of
each page, and receives what went wrong. Every page has a folder of its own.
"""

import contextlib
import doctest
import importlib
import io
import json
import os
import re
import runpy
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

import learnsym.run.run
from learnsym.config.allowed_classes import get_class
from learnsym.config.resolvers import register_resolvers
from learnsym.errors import LearnSymError
from learnsym.figures import style
from learnsym.run.mode import ResultsMode

NO_FILES = {
    "Sprites",
    "Digits",
    "Graphs",
    "Shapes",
    "ToyMolecules",
    "Npz",
    "Folder",
    "Molecules",
    "Bars",
}
"""Data sets that need nothing but the code, or files that `write_data` makes."""
SHORT = {
    "train.epochs": 2,
    "train.batch_size": 12,
    "dataset.train_size": 24,
    "dataset.test_size": 12,
    "dataset.count": 24,
    "net.width": 4,
    "net.channels": 2,
    "net.backbone.width": 4,
    "net.backbone.blocks": 1,
    "mode.response_images": 0,
    "mode.turned_molecules": 2,
    "mode.repetitions": 2,
    "mode.images": 4,
    "mode.points": 3,
    "mode.batches": 1,
    "mode.order": 3,
    "mode.probes": 0,
    "mode.repeats": 1,
}
"""Appended to a command that is run, as far as its configuration has the key, and a number or
nothing under it."""


class Checked(LearnSymError):
    """Everything has been checked, and the work would begin."""

    exit_code = 0


def stop_before_work(*_):
    raise Checked("checked")


def write_data(folder):
    """The files that stand for a reader's own."""
    draw = np.random.default_rng(0)
    np.savez(
        folder / "my.npz",
        images=draw.integers(0, 255, (40, 3, 12, 12), dtype=np.uint8),
        labels=np.arange(40) % 2,
    )
    for number in range(20):
        place = folder / "my_images" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(
            place / f"{number}.png"
        )
    atoms = [f"{kind} {' '.join(f'{x:.3f}' for x in draw.normal(size=3))}" for kind in "HCNOF"]
    molecules = [f"5\ngap={0.1 + 0.01 * number:.2f}\n" + "\n".join(atoms) for number in range(80)]
    (folder / "my.xyz").write_text("\n".join(molecules) + "\n")


def call(words):
    """main.py in this process: exit code, standard output, standard error."""
    GlobalHydra.instance().clear()
    sweep = importlib.import_module("learnsym.report.sweep_callback")
    sweep.failed_jobs.clear()
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["main.py", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_path(
                str(Path(learnsym.run.run.__file__).parents[3] / "main.py"), run_name="__main__"
            )
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


def two_of_each(words):
    """A sweep with at most two values of every key."""
    parsed = OverridesParser.create().parse_overrides([w for w in words if "=" in w])
    found = [w for w in words if "=" not in w]
    for override in parsed:
        values = list(override.sweep_string_iterator())[:2] if override.is_sweep_override() else []
        found.append(
            f"{override.get_key_element()}={','.join(values)}" if values else override.input_line
        )
    return found


def first_job(words):
    """The configuration of a command, of its first job if it is a sweep; flags left out."""
    overrides = []
    for override in OverridesParser.create().parse_overrides(
        [w for w in words if "=" in w and not w.startswith("--")]
    ):
        if override.is_sweep_override():
            overrides.append(
                f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
            )
        else:
            overrides.append(override.input_line)
    GlobalHydra.instance().clear()
    with initialize_config_dir(
        str(Path(learnsym.run.run.__file__).parents[3] / "cfg"), version_base="1.3"
    ):
        cfg = compose("config", overrides=overrides, return_hydra_config=True)
        if "experiment" in (cfg.hydra.sweeper.params or {}):
            first = str(cfg.hydra.sweeper.params.experiment).split(",")[0]
            cfg = compose("config", overrides=[*overrides, f"experiment={first}"])
    return cfg


def shortened(cfg):
    """SHORT, as far as the configuration has it. What a checkpoint was trained with stays; what
    trains nothing is short."""
    if issubclass(get_class("mode", cfg.mode._target_), ResultsMode):
        return (
            ["mode.nets=[conv5]", "mode.datasets=[digits]"] if "nets" in cfg.mode else []
        )  # all of mode=matrix takes minutes
    missing = object()
    found = []
    for key, value in SHORT.items():
        now = OmegaConf.select(cfg, key, default=missing)
        if isinstance(now, int | None) and (cfg.checkpoint is None or key.startswith("mode.")):
            found.append(f"{key}={value}")
    return found


def carry_out(words, expected, last_run):
    """Run a command, shortened, or check it where it needs data; (what went wrong or None, the
    run's directory or None)."""
    words = [w.replace("runs/RUN", str(last_run)) for w in words]
    sweeps = sorted(
        Path("runs/sweeps").glob("*"), key=lambda folder: not (folder / "table.md").exists()
    )  # finished ones first
    for letter, sweep in zip("AB", sweeps, strict=False):
        words = [w.replace(f"runs/sweeps/{letter}", str(sweep)) for w in words]
    if expected:
        code, _, err = call(words)
        return (
            None
            if code == 2 and expected in err
            else f"expected {expected!r}, got exit code {code}: {err}"
        ), None
    if any(w.startswith("--") for w in words):
        code, _, err = call(words)
        return (None if code == 0 else err), None
    cfg = first_job(words)  # a launcher and its settings too
    words = [w for w in words if not re.match(r"launcher=|hydra\.launcher\.", w)]
    if (
        "mode=book" in words
    ):  # which refuses to record runs that were made short: it writes its page
        words = [w for w in words if not w.startswith("runs=")]
    elsewhere = (
        any("DIR" in w for w in words) or cfg.dataset._target_.rpartition(".")[2] not in NO_FILES
    )
    if not elsewhere and cfg.trainer.devices == 1:
        code, out, err = call([*two_of_each(words), *shortened(cfg)])
        path = re.search(r"^result: (/.*)$", out, re.MULTILINE)
        right = (
            code == 0
            and (path is None or Path(path[1]).exists())
            and ("-m" in words or path or "debug=true" in words)
        )
        directory = Path(path[1]).parent if path else None
        kept = directory if directory and (directory / "checkpoints/last.pt").exists() else None
        return (None if right else f"exit code {code}: {out[-500:]}{err[-2000:]}"), kept
    words = [
        w for w in words if w != "debug=true"
    ]  # which has no name, and `run_name` would not be asked
    with patch.object(learnsym.run.run, "run_name", stop_before_work):
        code, _, err = call(
            [
                *two_of_each(words),
                *(["seed=0"] if any(w.startswith("table=") for w in words) else []),
            ]
        )
    said = [line for line in err.splitlines() if line.startswith(("error:", "failed:"))]
    return (
        None
        if said and all(line.endswith(": checked") for line in said)
        else f"exit code {code}: {err[-2000:]}"
    ), None


def invariant(entry):
    """Whether a new entry of the tests' ZOO keeps its promise."""
    torch.manual_seed(0)
    net, inputs = entry.build().eval(), entry.inputs(3)
    with torch.no_grad():
        for name, move in entry.invariant_under.items():
            torch.testing.assert_close(net(move(inputs)), net(inputs), msg=name)


def run_python(text):
    """A block that is no file. The tests' own names are there for `entry = Case(...)`."""
    names = {}
    if "Case(" in text:
        names = runpy.run_path(str(Path(__file__).parents[1] / "nets/conftest.py"))
    exec(compile(text, "<documentation>", "exec"), names)
    if "Case(" in text:
        invariant(names["entry"])


def step(work, last_run):
    """One step; (what went wrong or None, the run's directory or None)."""
    if work["kind"] == "command":
        with (
            patch.dict(os.environ, work["environment"]),
            patch.object(os, "_exit", sys.exit),
        ):  # one of several leaves by _exit
            return carry_out(work["words"], work["expected"], last_run)
    if work["kind"] == "module":
        failures, _ = doctest.testmod(importlib.import_module(work["name"]))
        return (f"{failures} doctests failed" if failures else None), None
    run_python(work["text"])
    return None, None


def execute(steps):
    """All steps of a page, in its folder: what went wrong."""
    wrong, last_run = [], None
    for work in steps:
        begun = time.process_time()
        try:
            said, directory = step(work, last_run)
        except Exception as error:
            said, directory = f"{type(error).__name__}: {error}", None
        last_run = directory or last_run
        print(
            f"{time.process_time() - begun:5.1f} s  {work['where']}: "
            f"{work.get('line', work['kind'])}",
            flush=True,
        )
        if said:
            wrong.append(f"{work['where']}: {work.get('line', work['kind'])}\n    {said}")
    return wrong


def main():
    path = Path(sys.argv[1])
    torch.set_num_threads(1)
    register_resolvers()
    style.render = lambda figure: b""  # rendering would take half of the time
    wrong = []
    for page, steps in json.loads(path.read_text()).items():
        folder = path.parent / "places" / page.replace("/", "_")
        folder.mkdir(parents=True)
        os.chdir(folder)
        write_data(folder)
        wrong += execute(steps)
    path.write_text(json.dumps(wrong))


if __name__ == "__main__":
    main()
