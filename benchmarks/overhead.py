"""What the framework costs: in a training step, until the first step, and how much faster jobs of a
sweep are side by side.

    python benchmarks/overhead.py

* step: the default experiment (Augerino on sprites) in batches of 128. Ours is an epoch of
  `learnsym.training.loop`, whole:
  batches, metrics, schedule, lightning Fabric. Theirs is the loop of any tutorial around the same
  network and the same images. Epochs of both alternate, and seconds per step are compared pair by
  pair: in the median ours may take up to 3 % more.
* start: `main.py` in a process of its own, from the moment it is started to the end of the first
  optimiser step: under 6 s on two cores.
* sweep: 64 jobs of scale=smoke one after another (launcher=local) and side by side
  (launcher=joblib, a process for every core), one thread a job in both, so that all results are the
  same to the last bit, which is checked. On two cores joblib has to be 1.7 times as fast.

Needs idle cores. Exit code 1 if a claim is missed.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import nn
from torch.nn import functional as F

from learnsym.config.resolvers import register_resolvers
from learnsym.config.search_path import CONFIG_DIR
from learnsym.run.context import build_context
from learnsym.run.directory import RunDirectory

MAIN = Path(__file__).parents[1] / "main.py"
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
"""Python keeps compiled modules unless it is told not to; where it is, all of torch is compiled at
every start (two seconds)."""
MOST_ADDED = 0.03
SECONDS_TO_FIRST_STEP = 6.0
FASTER_SIDE_BY_SIDE = 1.7
SMOKE = ("experiment=augerino/mario_iggy", "dataset=sprites", "scale=smoke", "trainer.threads=1")
"""A job of the sweep: Augerino on a few sprites, a second or so."""
FIRST_STEP = """
import os, runpy, sys, time
from torch.optim.optimizer import register_optimizer_step_post_hook
def stop(*_):
    print(f"first step {{time.time()}}", flush=True)
    os._exit(0)
register_optimizer_step_post_hook(stop)
sys.argv = ["main.py", *sys.argv[1:]]
runpy.run_path({main!r}, run_name="__main__")
"""
"""main.py, stopped after the first step. torch is imported a little earlier than main.py would, in
the same way."""


# --- a step


def tutorial(
    net: nn.Module, images: torch.Tensor, labels: torch.Tensor, data: Any, batch: int
) -> Callable[[], int]:
    """One epoch as anybody writes it; returns the number of steps."""
    optimizer = torch.optim.Adam(net.parameters())
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.info.mean, data.info.std))
    scale = 255.0 if images.dtype == torch.uint8 else 1.0

    def epoch() -> int:
        net.train()
        steps = 0
        for rows in torch.randperm(len(images)).split(batch):
            inputs = (images[rows].float() / scale - mean) / std
            loss = F.cross_entropy(net(inputs), labels[rows]) + net.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
        return steps

    return epoch


def both(folder: Path, batch: int, images: int) -> tuple[Callable[[], int], Callable[[], int]]:
    """An epoch of ours and one of theirs, on copies of one network."""
    from lightning_fabric import Fabric

    register_resolvers()
    words = [
        f"train.batch_size={batch}",
        f"dataset.train_size={images}",
        "trainer.accelerator=cpu",
        "trainer.progress=false",
    ]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", overrides=words)
    session = build_context(Fabric(accelerator="cpu", devices=1), cfg, RunDirectory(folder))
    training, split = session.training, session.data.splits["train"]
    theirs = tutorial(copy.deepcopy(session.net), split.inputs, split.targets, session.data, batch)

    def ours() -> int:
        training._train_epoch()
        return training.steps_per_epoch

    return ours, theirs


def seconds_per_step(
    epochs: dict[str, Callable[[], int]], repetitions: int
) -> dict[str, list[float]]:
    """Of each, taken in turns so that a busy machine slows all alike."""
    found: dict[str, list[float]] = {name: [] for name in epochs}
    for repetition in range(repetitions + 1):
        for name, epoch in epochs.items():
            started = time.perf_counter()
            steps = epoch()
            if repetition:  # the first ones warm up
                found[name].append((time.perf_counter() - started) / steps)
    return found


def step(options: argparse.Namespace) -> bool:
    """Whether ours adds no more than claimed."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = both(Path(folder), options.batch, options.images)
        found = seconds_per_step({"ours": ours, "theirs": theirs}, options.repetitions)
    # Each epoch of ours beside the one of theirs that followed it.
    added = (
        statistics.median(a / b for a, b in zip(found["ours"], found["theirs"], strict=True)) - 1
    )
    times = ", ".join(
        f"{name} {1e3 * statistics.median(values):.2f} ms" for name, values in found.items()
    )
    print(f"step: {times}; added {100 * added:.1f} % (<= {100 * MOST_ADDED:.0f} %)", flush=True)
    return added <= MOST_ADDED


# --- the start


def seconds_to_first_step(folder: Path) -> float:
    """Of the default experiment, in a new process."""
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", FIRST_STEP.format(main=str(MAIN)), f"paths.out={folder}"],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("first step "))
    return float(line.split()[-1]) - started


def start(options: argparse.Namespace) -> bool:
    """Whether the first step comes soon enough; the first process, which compiles modules, does not
    count."""
    with tempfile.TemporaryDirectory() as folder:
        found = [
            seconds_to_first_step(Path(folder) / str(number))
            for number in range(options.starts + 1)
        ][1:]
    seconds = statistics.median(found)
    print(f"start: first step after {seconds:.2f} s (< {SECONDS_TO_FIRST_STEP:.0f})", flush=True)
    return seconds < SECONDS_TO_FIRST_STEP


# --- a sweep


def seconds_of_sweep(folder: Path, launcher: str, jobs: int) -> float:
    """All jobs, from the command to the table."""
    seeds = ",".join(map(str, range(jobs)))
    words = ["-m", f"launcher={launcher}", *SMOKE, f"seed={seeds}", f"paths.out={folder}"]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, str(MAIN), *words], check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT
    )
    return time.perf_counter() - started


def metrics(folder: Path) -> dict[str, Any]:
    """Of every run."""
    return {
        path.parent.name: json.loads(path.read_text())["metrics"]
        for path in folder.glob("*/result.json")
    }


def sweep(options: argparse.Namespace) -> bool:
    """Whether joblib is as much faster as claimed."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / name for name in ("local", "joblib")}
        found = {
            name: seconds_of_sweep(folder, name, options.jobs) for name, folder in folders.items()
        }
        one, other = (metrics(folder) for folder in folders.values())
    if len(one) != options.jobs or one != other:
        raise SystemExit("sweep: the two launchers did not give the same numbers")
    faster = found["local"] / found["joblib"]
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.items())
    print(
        f"sweep of {options.jobs} jobs: {times}; {faster:.2f} times as fast (>= "
        f"{FASTER_SIDE_BY_SIDE})",
        flush=True,
    )
    return faster >= FASTER_SIDE_BY_SIDE


PARTS = {"step": step, "start": start, "sweep": sweep}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=2560, help="of an epoch: 20 steps")
    parser.add_argument("--repetitions", type=int, default=15, help="epochs of both")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=64)
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        flush=True,
    )
    held = [PARTS[name](options) for name in options.parts]
    print("all claims held" if all(held) else "a claim failed")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
