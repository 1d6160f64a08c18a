"""What ends a sweep: the report of its runs (`learnsym.results.report`), and the names of those that failed."""

import json
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from learnsym.errors import LearnSymError
from learnsym.results.collect import Run, jobs_of

failed_jobs: list[str] = []
"""Failures of the sweep of this process; `learnsym.cli` makes an exit code of them."""


class SweepTable(Callback):
    """Hydra's callback around a multirun. The jobs leave a record each (see `learnsym.cli.job`), on whatever machine they ran."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget the records of an earlier call of the same sweep (the runs themselves stay), and tell all jobs its directory.

        It is named after the overrides of the whole sweep, and a job knows only its own.
        """
        with read_write(config), open_dict(config):
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={config.hydra.sweep.dir}")
        for record in (Path(config.hydra.sweep.dir) / "jobs").glob("*.json"):
            record.unlink()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report and print its table, name the failures."""
        folder = Path(config.hydra.sweep.dir)
        runs = list(jobs_of(folder))
        records = [json.loads(p.read_text()) for p in sorted((folder / "jobs").glob("*.json"), key=lambda p: int(p.stem))]
        failures = [(" ".join(r["overrides"]), r["error"]) for r in records if r["status"] != "finished"]
        failures += [(" ".join(run.overrides), run.error) for run in runs if run.status == "missing"]
        failed_jobs.extend(words for words, _ in failures)
        if any(run.status == "finished" for run in runs) and not config.get("debug"):
            words = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
            assert isinstance(words, list)
            _try(summarise, folder, runs, words)
        if failures:
            print(f"\n{len(failures)} of {len(runs)} jobs failed; the same command again does only these:")
            for words, error in failures:
                print(f"  {words}\n    {error}")


def summarise(folder: Path, runs: Sequence[Run], words: Sequence[str]) -> None:
    """Tables, figure and page of a sweep's jobs, in its directory; `words` are its overrides as typed."""
    from learnsym.results.grouping import group
    from learnsym.results.report import write_report

    write_report(folder, f"Sweep: {folder.name}", shlex.join(["main.py", "-m", *words]), runs, group(runs))


def _try(work: Callable[..., None], *arguments: Any) -> None:
    """Do it; a failure counts as one of the sweep. (Hydra makes a warning of what a callback raises, and exits with 0.)"""
    try:
        work(*arguments)
    except Exception as error:
        if not isinstance(error, LearnSymError):
            traceback.print_exc()
        failed_jobs.append("the table")
        print(f"error: {error}", file=sys.stderr)
