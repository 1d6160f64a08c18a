"""Execute what the pages of the documentation say: `python docs_driver.py WORK.json`.

Used by test_docs.py. It runs in a copy of the project, which is on PYTHONPATH: one process for all
pages, since most of a short run is imports. WORK.json holds the files and steps of each page, and
receives what failed. Every page has a folder to itself, in which its files are written.
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
from learnsym.config.allowed_classes import allow_plugins, get_class
from learnsym.config.resolvers import register_resolvers
from learnsym.errors import LearnSymError
from learnsym.figures import style
from learnsym.run.mode import ResultsMode

TREE = Path(learnsym.run.run.__file__).parents[3]
NO_FILES = {"Sprites", "Digits", "Graphs", "Shapes", "ToyMolecules", "Npz", "Folder", "Molecules"}
NO_FILES |= {"Bars"}
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
FLAGS_WITH_VALUE = ("--config-dir", "--cfg", "--package")


class Checked(LearnSymError):
    """Everything has been checked, and the work would begin."""

    exit_code = 0


def stop_before_work(*_):
    raise Checked("checked")


def write_data(folder):
    """Write the files that stand for a reader's own."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, (40, 3, 12, 12), dtype=np.uint8)
    np.savez(folder / "my.npz", images=images, labels=np.arange(40) % 2)
    for number in range(20):
        directory = folder / "my_images" / "ab"[number % 2]
        directory.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(directory / f"{number}.png")
    atoms = [f"{kind} {' '.join(f'{x:.3f}' for x in draw.normal(size=3))}" for kind in "HCNOF"]
    molecules = [f"5\ngap={0.1 + 0.01 * number:.2f}\n" + "\n".join(atoms) for number in range(80)]
    (folder / "my.xyz").write_text("\n".join(molecules) + "\n")


def call(words):
    """Run main.py in this process; return exit code, standard output, standard error."""
    GlobalHydra.instance().clear()
    importlib.import_module("learnsym.report.sweep_callback").failed_jobs.clear()
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["main.py", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_path(str(TREE / "main.py"), run_name="__main__")
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


def split_flags(words):
    """Split the words of a command into its flags, with their values, and its overrides."""
    flags, overrides = [], []
    for word in words:
        takes_value = flags and flags[-1] in FLAGS_WITH_VALUE
        (flags if takes_value or word.startswith("-") else overrides).append(word)
    return flags, overrides


def config_dir(flags):
    """Return the folder of configurations that the page adds, or None."""
    return flags[flags.index("--config-dir") + 1] if "--config-dir" in flags else None


def two_of_each(overrides):
    """Return a sweep with at most two values of every key."""
    shortened = []
    for override in OverridesParser.create().parse_overrides(overrides):
        values = list(override.sweep_string_iterator())[:2] if override.is_sweep_override() else []
        key = override.get_key_element()
        shortened.append(f"{key}={','.join(values)}" if values else override.input_line)
    return shortened


def first_job(flags, overrides):
    """Return the configuration of a command, of its first job if it is a sweep."""
    chosen = []
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            value = next(iter(override.sweep_string_iterator()))
            chosen.append(f"{override.get_key_element()}={value}")
        else:
            chosen.append(override.input_line)
    if folder := config_dir(flags):
        chosen.append(f"hydra.searchpath=[file://{Path(folder).absolute()}]")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(TREE / "cfg"), version_base="1.3"):
        cfg = compose("config", overrides=chosen, return_hydra_config=True)
        if "experiment" in (cfg.hydra.sweeper.params or {}):
            first = str(cfg.hydra.sweeper.params.experiment).split(",")[0]
            cfg = compose("config", overrides=[*chosen, f"experiment={first}"])
    return cfg


def short_settings(cfg):
    """Return SHORT, as far as the configuration has it.

    What a checkpoint was trained with stays, and all of mode=matrix would take minutes.
    """
    if issubclass(get_class("mode", cfg.mode._target_), ResultsMode):
        return ["mode.nets=[conv5]", "mode.datasets=[digits]"] if "nets" in cfg.mode else []
    missing = object()
    settings = []
    for key, value in SHORT.items():
        present = OmegaConf.select(cfg, key, default=missing)
        if isinstance(present, int | None) and (cfg.checkpoint is None or key.startswith("mode.")):
            settings.append(f"{key}={value}")
    return settings


def with_directories(text, last_run):
    """Put directories in for `runs/RUN`, and for `runs/sweeps/A` and `B` (finished ones first)."""
    text = text.replace("runs/RUN", str(last_run))
    sweeps = Path("runs/sweeps").glob("*")
    ordered = sorted(sweeps, key=lambda sweep: not (sweep / "table.md").exists())
    for letter, sweep in zip("AB", ordered, strict=False):
        text = text.replace(f"runs/sweeps/{letter}", str(sweep))
    return text


def run_command(words, expected, last_run):
    """Run a command, shortened, or check it; return what failed, and the run's directory."""
    flags, overrides = split_flags([with_directories(word, last_run) for word in words])
    if expected:
        code, _, err = call([*flags, *overrides])
        answered = code == 2 and expected in err
        return None if answered else f"expected {expected!r}, got exit code {code}: {err}", None
    if set(flags) - {"-m", "--config-dir", config_dir(flags)}:  # --help, --cfg job
        code, _, err = call([*flags, *overrides])
        return (None if code == 0 else err), None
    allow_plugins(overrides)
    cfg = first_job(flags, overrides)  # a launcher and its settings too
    overrides = [o for o in overrides if not re.match(r"launcher=|hydra\.launcher\.", o)]
    if "mode=book" in overrides:  # refuses to record runs that were made short: writes its page
        overrides = [o for o in overrides if not o.startswith("runs=")]
    data_is_there = cfg.dataset._target_.rpartition(".")[2] in NO_FILES
    if data_is_there and not any("DIR" in o for o in overrides) and cfg.trainer.devices == 1:
        return run_shortened(flags, overrides, cfg)
    return check_only(flags, overrides), None


def run_shortened(flags, overrides, cfg):
    """Run a command with small sizes."""
    code, out, err = call([*flags, *two_of_each(overrides), *short_settings(cfg)])
    path = re.search(r"^result: (/.*)$", out, re.MULTILINE)
    written = path is None or Path(path[1]).exists()
    finished = "-m" in flags or path or "debug=true" in overrides
    directory = Path(path[1]).parent if path else None
    kept = directory if directory and (directory / "checkpoints/last.pt").exists() else None
    if code == 0 and written and finished:
        return None, kept
    return f"exit code {code}: {out[-500:]}{err[-2000:]}", kept


def check_only(flags, overrides):
    """Let a command go through all checks of main.py, and stop before it works."""
    # A debug run has no name, so `run_name` would not be asked.
    overrides = [o for o in two_of_each(overrides) if o != "debug=true"]
    if any(o.startswith("table=") for o in overrides):
        overrides.append("seed=0")
    with patch.object(learnsym.run.run, "run_name", stop_before_work):
        code, _, err = call([*flags, *overrides])
    answers = [line for line in err.splitlines() if line.startswith(("error:", "failed:"))]
    if answers and all(line.endswith(": checked") for line in answers):
        return None
    return f"exit code {code}: {err[-2000:]}"


def run_step(step, last_run):
    """Do one step; return what failed (or None) and the run's directory (or None)."""
    if step["kind"] == "command":
        with (
            patch.dict(os.environ, step["environment"]),
            patch.object(os, "_exit", sys.exit),  # one of several processes leaves by _exit
        ):
            return run_command(step["words"], step["expected"], last_run)
    if step["kind"] == "module":
        failures, _ = doctest.testmod(importlib.import_module(step["name"]))
        return (f"{failures} doctests failed" if failures else None), None
    exec(compile(with_directories(step["text"], last_run), "<documentation>", "exec"), {})
    return None, None


def run_page(steps):
    """Do all steps of a page, in its folder; return what failed."""
    failed, last_run = [], None
    for step in steps:
        begun = time.process_time()
        try:
            with patch.dict(os.environ):  # plugins are allowed for one command
                message, directory = run_step(step, last_run)
        except Exception as error:
            message, directory = f"{type(error).__name__}: {error}", None
        last_run = directory or last_run
        label = f"{step['where']}: {step.get('line', step['kind'])}"
        print(f"{time.process_time() - begun:5.1f} s  {label}", flush=True)
        if message:
            failed.append(f"{label}\n    {message}")
    return failed


def enter_page(folder, files):
    """Make a page's folder the current one, with its files in it, as its reader has them."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]  # another page's
    folder.mkdir(parents=True)
    write_data(folder)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    os.chdir(folder)
    importlib.invalidate_caches()
    sys.path.append(str(folder))


def main():
    path = Path(sys.argv[1])
    torch.set_num_threads(1)
    register_resolvers()
    style.render = lambda figure: b""  # rendering would take half of the time
    failed = []
    for page, work in json.loads(path.read_text()).items():
        with patch.object(sys, "path", list(sys.path)):
            enter_page(path.parent / "pages" / page.replace("/", "_"), work["files"])
            failed += run_page(work["steps"])
    path.write_text(json.dumps(failed))


if __name__ == "__main__":
    main()
