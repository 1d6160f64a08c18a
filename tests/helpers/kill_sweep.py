"""Kill a sweep of six runs of three kinds at random moments, read every file after every kill,
compare with an undisturbed sweep.

    python tests/helpers/kill_sweep.py FOLDER --kills 50 --epochs 120

starts a process for every attempt, as a person does (seventeen minutes on two cores); with --fork
an attempt is a fork of this process, which test_accidents.py uses. The last line is a report in
JSON; the exit code is 1 if anything was not as it should be.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import kill_driver

PRESETS = Path(__file__).parents[1] / "system/presets"
SIX = (
    "--config-dir",
    str(PRESETS),
    "-m",
    "experiment=kinds/augerino,kinds/partial,kinds/dynamics",
    "seed=0,1",
)
DECIDE = ("metrics", "learned_symmetry", "config_hash")
"""What of result.json does not say when or where."""


def read(path):
    """The whole of a file, by its kind; an error if a part of it is missing."""
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".jsonl":
        text = path.read_text()
        assert text.endswith("\n") or not text
        return [json.loads(line) for line in text.splitlines()]
    if path.suffix == ".pt":
        return torch.load(path, weights_only=True)
    if path.suffix == ".yaml":
        return yaml.safe_load(path.read_text())["seed"]
    if path.suffix == ".csv":
        text = path.read_text()
        assert text.endswith("\n")
        assert len({len(row) for row in csv.reader(text.splitlines())}) == 1
        return text
    if path.suffix == ".npz":
        with (
            path.open("rb") as file,
            np.load(file) as archive,
        ):  # numpy would leave open what it cannot read
            return {name: archive[name] for name in archive.files}
    if (
        path.suffix == ".png" and path.stat().st_size
    ):  # where figures are not drawn, there are empty files
        with Image.open(path) as image:
            image.load()
        return None
    content = path.read_text()  # error.txt and what a sweep ends with
    assert content.endswith(
        {".html": "</html>\n", ".md": "\n", ".tex": "\n"}.get(path.suffix, "")
    ), path
    return content


def read_all(out):
    """Every file below a folder that has the name of a whole one; how many there are."""
    files = [p for p in Path(out).rglob("*") if p.is_file() and not p.name.startswith(".")]
    for path in files:
        try:
            read(path)
        except Exception as error:
            raise AssertionError(f"{path} is not whole: {error!r}") from error
    return len(files)


def outcome(out):
    """What six finished runs and their table say, bytes where they are numbers in text."""
    found = {}
    for folder in sorted(p for p in Path(out).iterdir() if p.name != "sweeps"):
        result = read(folder / "result.json")
        run = {key: json.dumps(result[key]) for key in DECIDE}
        run["metrics.jsonl"] = (folder / "metrics.jsonl").read_bytes()
        if (folder / "curves.json").exists():
            run["curves.json"] = (folder / "curves.json").read_bytes()
        for path in folder.glob("*.npz"):
            run |= {f"{path.name}/{name}": array.tobytes() for name, array in read(path).items()}
        found[folder.name] = run
    (table,) = Path(out).glob("sweeps/*/table.csv")
    found["table"] = table.read_bytes()
    return found


def start(words):
    """main.py in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(kill_driver.MAIN), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def attempt(words, kill_after=None):
    """One try in a process: its exit code, or None if it was killed."""
    process = start(words)
    if kill_after is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(kill_after)
        process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    if process.returncode > 0:
        print(errors, file=sys.stderr)
    return None if process.returncode == -signal.SIGKILL else process.returncode


def timed(work, words):
    """Exit code and seconds."""
    started = time.monotonic()
    return work(words), time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--fork", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.folder)
    words = [*SIX, f"train.epochs={options.epochs}"]
    work, speak = attempt, sys.stdout
    if options.fork:
        work = kill_driver.attempt
        speak = os.fdopen(kill_driver.prepare(), "w")
        kill_driver.run([*words, "paths.out=imported"])  # so that no fork has to import anything
    code, whole = timed(work, [*words, "paths.out=undisturbed"])
    again, idle = timed(
        work, [*words, "paths.out=undisturbed"]
    )  # all is shown, nothing done: what starting takes
    codes = [code, again]
    draw, kills, tries, outs, read_files = random.Random(options.seed), 0, 0, ["killed0"], 0
    while kills < options.kills and tries < 4 * options.kills:
        tries += 1
        # Anywhere from the first imports to a quarter of the work.
        code = work(
            [*words, f"paths.out={outs[-1]}"],
            draw.uniform(0.3 * idle, idle + 0.25 * (whole - idle)),
        )
        read_files += read_all(outs[-1])
        kills += code is None
        print(f"kill {kills} of {options.kills} in {outs[-1]}", file=sys.stderr, flush=True)
        if (
            code is not None
        ):  # finished before it could be killed: go on with a sweep that starts over
            codes.append(code)
            outs.append(f"killed{len(outs)}")
    codes += [work([*words, f"paths.out={out}"]) for out in outs]
    expected = outcome("undisturbed")
    same = [out for out in outs if outcome(out) == expected]
    failures = [str(path) for path in Path().rglob("error.txt")]
    report = {
        "kills": kills,
        "sweeps": outs,
        "same": same,
        "codes": codes,
        "runs": len(expected) - 1,
        "errors": failures,
    }
    report |= {"files_read": read_files, "seconds_of_one": round(whole, 1), "start": round(idle, 1)}
    print(json.dumps(report), file=speak, flush=True)
    good = (
        kills == options.kills
        and same == outs
        and set(codes) == {0}
        and len(expected) == 7
        and not failures
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
