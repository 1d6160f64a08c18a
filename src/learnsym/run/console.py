"""Where the numbers of a training go: the console, metrics.jsonl, the chosen logger."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from omegaconf import DictConfig

from learnsym.config.build import build, to_plain
from learnsym.run.directory import RunDirectory
from learnsym.run.loggers import Logger
from learnsym.schema import PlainDict, PlainMapping

SECONDS_BETWEEN_LINES = 1.0
Ticking = AbstractContextManager[Callable[[], object]]


class Console:
    """A progress bar on a terminal, a line an epoch elsewhere."""

    def __init__(self, progress: bool | str) -> None:
        self.bar = sys.stderr.isatty() if progress == "auto" else bool(progress)
        self._last = 0.0

    @contextmanager
    def progress(self, epoch: int, epochs: int, steps: int) -> Iterator[Callable[[], object]]:
        """Show a bar over the steps of one epoch; the yielded function is called after each."""
        from tqdm import tqdm

        title = f"epoch {epoch}/{epochs}"
        with tqdm(total=steps, desc=title, leave=False, disable=not self.bar) as bar:
            yield bar.update

    def log(self, row: PlainMapping, epochs: int) -> None:
        """Print the numbers that a person follows, at most once a second."""
        last = row["epoch"] == epochs
        if not last and time.monotonic() - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = time.monotonic()
        shown = [k for k in row if k.endswith(("loss", "accuracy")) or "learned_rotation" in k]
        numbers = "  ".join(f"{k} {row[k]:.4g}" for k in shown)
        print(f"epoch {row['epoch']}/{epochs}  {numbers}", flush=True)


class RunRecorder:
    """Keeps the numbers of a run on rank 0: in its directory, on the console, with its logger."""

    def __init__(self, cfg: DictConfig, directory: RunDirectory) -> None:
        self.cfg = cfg
        self.directory = directory
        self.console = Console(cfg.trainer.progress)
        self.logger: Logger = build(cfg, "logger")
        self._epochs = 0
        self._started = False

    def truncate(self, epochs: int) -> None:
        """Forget the rows after so many epochs."""
        self.directory.truncate(epochs)
        if epochs:
            print(f"continuing after epoch {epochs}", flush=True)

    def progress(self, epoch: int, epochs: int, steps: int) -> Ticking:
        """Show a bar over the steps of an epoch."""
        self._epochs = epochs
        return self.console.progress(epoch, epochs, steps)

    def log(self, row: PlainDict) -> None:
        """Keep one epoch's numbers."""
        self.directory.log(row)
        self.console.log(row, self._epochs)
        self._start().log(row)

    def finish(self, metrics: dict[str, float]) -> None:
        """Hand the run's result to the logger."""
        self._start().finish(metrics)

    def _start(self) -> Logger:
        if not self._started:
            self._started = True
            self.logger.start(self.directory.path, self.directory.path.name, to_plain(self.cfg))
        return self.logger


class SilentRecorder:
    """Keeps nothing: for the other ranks of a run."""

    def truncate(self, epochs: int) -> None:
        """Forget nothing."""

    def progress(self, epoch: int, epochs: int, steps: int) -> Ticking:
        """Show nothing."""
        return Console(progress=False).progress(epoch, epochs, steps)

    def log(self, row: PlainDict) -> None:
        """Keep nothing."""

    def finish(self, metrics: dict[str, float]) -> None:
        """Keep nothing."""
