"""Kill runs and start them again: `python kill_driver.py SEED KILLS FOLDER WORDS...`, used by
test_resume.py.

torch is imported once, here; every attempt is a fork of this process, which costs milliseconds
(torch has no threads here).
"""

import json
import os
import random
import runpy
import signal
import sys
import time
from pathlib import Path

import torch
from hydra.core.global_hydra import GlobalHydra

from learnsym.figures import style

MAIN = Path(__file__).parents[2] / "main.py"


def run(words):
    """The command in this process: its exit code."""
    sys.argv = ["main.py", *words]
    GlobalHydra.instance().clear()
    try:
        runpy.run_path(str(MAIN), run_name="__main__")
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def attempt(words, kill_after=None, kill_at_sync=None):
    """One try at the command in a process of its own: its exit status, or None if it was killed.

    Args:
        words: what is typed.
        kill_after: seconds after which it gets SIGKILL.
        kill_at_sync: it gets SIGKILL when it writes its so-manieth file to the disk, once the
            content is there.
    """
    child = os.fork()
    if child == 0:
        if kill_at_sync is not None:
            _die_at_sync(kill_at_sync)
        code = 70
        try:
            code = run(words)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(
            child, signal.SIGKILL
        )  # of our own child, which is not yet waited for: nobody else has its number
    status = os.waitpid(child, 0)[1]
    return None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def _die_at_sync(number):
    real, count = os.fsync, 0

    def fsync(descriptor):
        nonlocal count
        real(descriptor)
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = fsync


def prepare():
    """Settings of this process that its forks inherit; returns where it may still write its
    report."""
    torch.set_num_threads(1)
    report = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the runs speak there
    style.render = lambda figure: b""  # rendering would take half of the time
    return report


def main():
    seed, kills, folder, *words = sys.argv[1:]
    os.chdir(folder)
    draw = random.Random(int(seed))
    report = prepare()
    codes = [
        run([*words, "paths.out=undisturbed"])
    ]  # here, so that no attempt has to import anything
    started = time.monotonic()
    codes.append(attempt([*words, "paths.out=again"]))
    length = time.monotonic() - started

    done, tries, outs = 0, 0, ["killed0"]
    while done < int(kills) and tries < 4 * int(kills):
        tries += 1
        code = attempt(
            [*words, f"paths.out={outs[-1]}"], kill_after=draw.uniform(0.25, 0.75) * length
        )
        done += code is None
        if (
            code is not None
        ):  # finished before it could be killed: go on with a run that starts over
            codes.append(code)
            outs.append(f"killed{len(outs)}")
    syncs = 0
    for number in draw.sample(range(1, 21), 7):  # an epoch has up to 6, the start and the end some
        syncs += attempt([*words, "paths.out=synced"], kill_at_sync=number) is None
    codes += [attempt([*words, f"paths.out={out}"]) for out in [*outs, "synced"]]
    found = {
        "codes": codes,
        "kills": done,
        "syncs": syncs,
        "outs": ["again", *outs, "synced"],
        "length": length,
    }
    os.write(report, json.dumps(found).encode())


if __name__ == "__main__":
    main()
