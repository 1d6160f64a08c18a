"""Kill runs and start them again: `python kill_driver.py SEED KILLS FOLDER WORDS...`, used by test_resume.py.

torch is imported once, here; every attempt is a fork of this process, which costs milliseconds. Prints one JSON object.
"""

import json
import os
import random
import runpy
import signal
import sys
import time
from pathlib import Path

# So that no attempt has to import them; building an optimizer imports torch._dynamo.
import lightning_fabric  # noqa: F401
import matplotlib.backends.backend_agg  # noqa: F401
import torch
import tqdm  # noqa: F401

import learnsym.analysis.angle_response
import learnsym.nets.augerino
import learnsym.results.figures
import learnsym.run
import learnsym.training.loop
import learnsym.training.sync_norm  # noqa: F401

MAIN = Path(__file__).parents[2] / "main.py"


def attempt(words, kill_after=None, kill_at_sync=None):
    """One try at the command in a process of its own: its exit status, or None if it was killed.

    Args:
        words: what is typed.
        kill_after: seconds after which it gets SIGKILL.
        kill_at_sync: it gets SIGKILL when it writes its so-manieth file to the disk, once the content is there.
    """
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        if kill_at_sync is not None:
            _die_at_sync(kill_at_sync)
        sys.argv = ["main.py", *words]
        try:
            runpy.run_path(str(MAIN), run_name="__main__")
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            code = 70
        os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)  # of our own child, which is not yet waited for: nobody else has its number
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


def main():
    seed, kills, folder, *words = sys.argv[1:]
    os.chdir(folder)
    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    draw = random.Random(int(seed))
    started = time.monotonic()
    codes = [attempt([*words, "paths.out=undisturbed"])]
    length = time.monotonic() - started

    done, tries, outs = 0, 0, ["killed0"]
    while done < int(kills) and tries < 4 * int(kills):
        tries += 1
        code = attempt([*words, f"paths.out={outs[-1]}"], kill_after=draw.uniform(0.25, 0.75) * length)
        done += code is None
        if code is not None:  # finished before it could be killed: go on with a run that starts over
            codes.append(code)
            outs.append(f"killed{len(outs)}")
    syncs = 0
    for number in draw.sample(range(1, 13), 12):  # 12: an epoch's writes, and a second one's
        syncs += attempt([*words, "paths.out=synced"], kill_at_sync=number) is None
    codes += [attempt([*words, f"paths.out={out}"]) for out in [*outs, "synced"]]
    print(json.dumps({"codes": codes, "kills": done, "syncs": syncs, "outs": [*outs, "synced"], "length": length}))


if __name__ == "__main__":
    main()
