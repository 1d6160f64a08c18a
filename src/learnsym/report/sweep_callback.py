"""End a sweep with the report of its runs and the names of those that failed."""

import json
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from learnsym.errors import LearnSymError, RunError
from learnsym.results.collect import PLANNED, Run, jobs_of
from learnsym.run.directory import lock_folder
from learnsym.utils.files import write_atomically

failed_jobs: list[str] = []
"""Failures of the sweep of this process; `learnsym.cli` makes an exit code of them."""
held = ExitStack()
"""The lock of the sweep of this process."""


class SweepTable(Callback):
    """Hydra's callback around a multirun, whose jobs leave a record each (`learnsym.cli.job`)."""

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """Lock the sweep, list its jobs, and forget the records of an earlier call of it.

        All jobs are told its directory: it is named after the overrides of the whole sweep, and a
        job knows only its own.
        """
        with read_write(config), open_dict(config):
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={config.hydra.sweep.dir}")
        folder = Path(config.hydra.sweep.dir)
        held.close()  # an earlier sweep of this process may have been interrupted
        try:
            held.callback(lock_folder(folder, "sweep").release)
            write_atomically(folder / PLANNED, json.dumps(_planned_jobs(config)))
        except RunError as error:  # Hydra would make a warning of it
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from error
        for record in (folder / "jobs").glob("*.json"):
            record.unlink()

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        """Write the report, print its table and name the failures."""
        folder, debug = Path(config.hydra.sweep.dir), bool(config.get("debug"))
        with held:
            runs = list(jobs_of(folder, debug))
            failures = [run for run in runs if run.status != "finished"]
            failed_jobs.extend(" ".join(run.overrides) for run in failures)
            if len(failures) < len(runs) and not debug:
                summarise(folder, runs, _typed(config))
            if failures:
                count = f"{len(failures)} of {len(runs)} jobs failed"
                print(f"\n{count}; the same command again does only these:")
            for run in failures:
                print(f"  {' '.join(run.overrides) or f'job {run.path.stem}'}\n    {run.error}")


def _typed(config: DictConfig) -> list[str]:
    """Return the overrides of the sweep as typed."""
    words = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    return [str(word) for word in words or ()]


def _planned_jobs(config: DictConfig) -> list[list[str]]:
    """Return the overrides of all jobs; nothing where a sweeper chooses them as it goes."""
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(BasicSweeper.__name__):
        return []
    words = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*words, *_typed(config)])
    return [jobs for batch in BasicSweeper.split_arguments(overrides, None) for jobs in batch]


def summarise(folder: Path, runs: Sequence[Run], words: Sequence[str]) -> None:
    """Write tables, figure and page of a sweep's jobs; `words` are its overrides as typed.

    A failure counts as one of the sweep: Hydra makes a warning of what a callback raises.
    """
    from learnsym.report.write import write_report
    from learnsym.results.grouping import group_runs

    command = shlex.join(["main.py", "-m", *words])
    try:
        write_report(folder, f"Sweep: {folder.name}", command, runs, group_runs(runs))
    except Exception as error:
        if not isinstance(error, LearnSymError):
            traceback.print_exc()
        failed_jobs.append("the table")
        print(f"error: {error}", file=sys.stderr)
