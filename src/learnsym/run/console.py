"""Where the numbers of a training go: the console, metrics.jsonl, the chosen logger."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from learnsym.config.build import build
from learnsym.run.directory import RunDirectory
from learnsym.run.loggers import Logger

SECONDS_BETWEEN_LINES = 1.0


class Console:
    """A progress bar on a terminal, a line an epoch elsewhere."""

    def __init__(self, progress: bool | str) -> None:
        self.bar = sys.stderr.isatty() if progress == "auto" else bool(progress)
        self._last = 0.0

    @contextmanager
    def progress(self, epoch: int, epochs: int, steps: int) -> Iterator[Callable[[], Any]]:
        """Show a bar over the steps of one epoch; the yielded function is called after each."""
        from tqdm import tqdm

        title = f"epoch {epoch}/{epochs}"
        with tqdm(total=steps, desc=title, leave=False, disable=not self.bar) as bar:
            yield bar.update

    def log(self, row: Mapping[str, Any], epochs: int) -> None:
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

    def progress(self, epoch: int, epochs: int, steps: int) -> Any:
        """Show a bar over the steps of an epoch."""
        self._epochs = epochs
        return self.console.progress(epoch, epochs, steps)

    def log(self, row: dict[str, Any]) -> None:
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
            config: Any = OmegaConf.to_container(self.cfg, resolve=True)
            self.logger.start(self.directory.path, self.directory.path.name, config)
        return self.logger


class SilentRecorder:
    """Keeps nothing: for the other ranks of a run."""

    def truncate(self, epochs: int) -> None:
        """Forget nothing."""

    def progress(self, epoch: int, epochs: int, steps: int) -> Any:
        """Show nothing."""
        return Console(progress=False).progress(epoch, epochs, steps)

    def log(self, row: dict[str, Any]) -> None:
        """Keep nothing."""

    def finish(self, metrics: dict[str, float]) -> None:
        """Keep nothing."""
