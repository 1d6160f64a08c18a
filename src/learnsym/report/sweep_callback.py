"""What ends a sweep: the report of its runs (`learnsym.modes.report`), and the names of those that
failed.
"""

import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from learnsym.errors import LearnSymError, RunError
from learnsym.results.collect import Run, jobs_of
from learnsym.utils.files import make_folder, unwritable

failed_jobs: list[str] = []
"""Failures of the sweep of this process; `learnsym.cli` makes an exit code of them."""
held: list[BaseFileLock] = []
"""The lock of the sweep of this process."""


class SweepTable(Callback):
    """Hydra's callback around a multirun. The jobs leave a record each (see `learnsym.cli.job`), on
    whatever machine they ran.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hold the sweep for this process, forget the records of an earlier call of it (the runs
        themselves stay), and tell all jobs its directory.

        It is named after the overrides of the whole sweep, and a job knows only its own.
        """
        with read_write(config), open_dict(config):
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={config.hydra.sweep.dir}")
        folder = Path(config.hydra.sweep.dir)
        _give_back()  # an earlier sweep of this process may have been interrupted
        try:
            held.append(lock(folder))
        except RunError as error:  # Hydra would make a warning of it
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from error
        for record in (folder / "jobs").glob("*.json"):
            record.unlink()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report and print its table, name the failures."""
        try:
            _end(config)
        finally:
            _give_back()


def _give_back() -> None:
    while held:
        held.pop().release()


def lock(folder: Path) -> BaseFileLock:
    """The lock of a sweep's directory, held until it is released or the process ends.

    Raises:
        RunError: another process has it, or the directory cannot be made.
    """
    held_by_us = FileLock(folder / ".lock", blocking=False)
    try:
        make_folder(folder)
        held_by_us.acquire()
    except Timeout as error:
        raise RunError(
            f"{folder}: another process is at work on this sweep; wait for it, or change paths.out."
        ) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    return held_by_us


def _end(config: DictConfig) -> None:
    folder, debug = Path(config.hydra.sweep.dir), bool(config.get("debug"))
    runs = list(jobs_of(folder, debug))
    failures = [run for run in runs if run.status != "finished"]
    failed_jobs.extend(" ".join(run.overrides) for run in failures)
    if len(failures) < len(runs) and not debug:
        words = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        assert isinstance(words, list)
        _try(summarise, folder, runs, words)
    if failures:
        print(
            f"\n{len(failures)} of {len(runs)} jobs failed; the same command again does only these:"
        )
        for run in failures:
            print(f"  {' '.join(run.overrides) or f'job {run.path.stem}'}\n    {run.error}")


def summarise(folder: Path, runs: Sequence[Run], words: Sequence[str]) -> None:
    """Tables, figure and page of a sweep's jobs, in its directory; `words` are its overrides as
    typed.
    """
    from learnsym.report.write import write_report
    from learnsym.results.grouping import group

    write_report(
        folder, f"Sweep: {folder.name}", shlex.join(["main.py", "-m", *words]), runs, group(runs)
    )


def _try(work: Callable[..., None], *arguments: Any) -> None:
    """Do it; a failure counts as one of the sweep. (Hydra makes a warning of what a callback
    raises, and exits with 0.)
    """
    try:
        work(*arguments)
    except Exception as error:
        if not isinstance(error, LearnSymError):
            traceback.print_exc()
        failed_jobs.append("the table")
        print(f"error: {error}", file=sys.stderr)
