"""Where the numbers of a training go: the console, metrics.jsonl, the chosen logger."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

from omegaconf import DictConfig

from learnsym.config.build import build, to_plain
from learnsym.run.directory import RunDirectory
from learnsym.run.loggers import Logger
from learnsym.schema import PlainDict
from learnsym.training.progress import Recorder
from learnsym.utils.files import append_line, to_json


class RunRecorder(Recorder):
    """Keeps the numbers of a run on rank 0: in its directory, on the console, with its logger."""

    def __init__(self, cfg: DictConfig, directory: RunDirectory) -> None:
        self.cfg = cfg
        self.directory = directory
        self._epochs = 0
        self._last_line = 0.0

    @cached_property
    def logger(self) -> Logger:
        """The logger, which begins when there is something to keep."""
        logger: Logger = build(self.cfg, "logger")
        logger.start(self.directory.path, self.directory.path.name, to_plain(self.cfg))
        return logger

    def truncate(self, epochs: int) -> None:
        """Forget the rows after so many epochs."""
        self.directory.truncate(epochs)
        if epochs:
            print(f"continuing after epoch {epochs}", flush=True)

    @contextmanager
    def progress(self, epoch: int, epochs: int, steps: int) -> Iterator[Callable[[], object]]:
        """Show a bar over the steps of an epoch."""
        from tqdm import tqdm

        self._epochs = epochs
        progress = self.cfg.trainer.progress
        hidden = None if progress == "auto" else not progress  # None: unless this is a terminal
        title = f"epoch {epoch}/{epochs}"
        with tqdm(total=steps, desc=title, leave=False, disable=hidden) as bar:
            yield bar.update

    def log(self, row: PlainDict) -> None:
        """Keep one epoch's numbers; print those that a person follows, at most once a second."""
        append_line(self.directory.rows_path, to_json(row))
        if row["epoch"] == self._epochs or time.monotonic() - self._last_line >= 1:
            self._last_line = time.monotonic()
            shown = [k for k in row if k.endswith(("loss", "accuracy")) or "learned_rotation" in k]
            numbers = "  ".join(f"{k} {row[k]:.4g}" for k in shown)
            print(f"epoch {row['epoch']}/{self._epochs}  {numbers}", flush=True)
        self.logger.log(row)

    def finish(self, metrics: dict[str, float]) -> None:
        """Hand the run's result to the logger."""
        self.logger.finish(metrics)
