"""TODO."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from learnsym.config.build import build
from learnsym.run.directory import RunDirectory

if TYPE_CHECKING:
    pass


class Console:
    """What a person sees while a run goes on: a progress bar on a terminal, a quiet line an epoch elsewhere."""

    def __init__(self, progress: bool | str) -> None:
        self.bar = sys.stderr.isatty() if progress == "auto" else bool(progress)
        self._last = 0.0

    @contextmanager
    def progress(self, epoch: int, epochs: int, steps: int) -> Iterator[Callable[[], Any]]:
        """A bar over the steps of one epoch; the value is called after every step."""
        from tqdm import tqdm

        with tqdm(
            total=steps, desc=f"epoch {epoch}/{epochs}", leave=False, disable=not self.bar
        ) as bar:
            yield bar.update

    def log(self, row: Mapping[str, Any], epochs: int) -> None:
        """One line an epoch, at most one a second: the numbers that a person follows."""
        last = row["epoch"] == epochs
        if not last and time.monotonic() - self._last < 1.0:
            return
        self._last = time.monotonic()
        shown = [k for k in row if k.endswith(("loss", "accuracy")) or "learned_rotation" in k]
        print(
            f"epoch {row['epoch']}/{epochs}  " + "  ".join(f"{k} {row[k]:.4g}" for k in shown),
            flush=True,
        )


class Recorder:
    """The training's numbers, to the run's directory, the console and the chosen logger."""

    def __init__(
        self, cfg: DictConfig | None, directory: RunDirectory, progress: bool | str
    ) -> None:
        self.cfg, self.directory = cfg, directory
        self.console = Console(progress)
        self.logger = build(cfg, "logger") if cfg is not None else None
        self._epochs = 0
        self._started = False

    def truncate(self, epochs: int) -> None:
        """Forget the rows after so many epochs."""
        if self.cfg is not None:
            self.directory.truncate(epochs)
            if epochs:
                print(f"continuing after epoch {epochs}", flush=True)

    def progress(self, epoch: int, epochs: int, steps: int) -> Any:
        """A bar over the steps of an epoch."""
        self._epochs = epochs
        return self.console.progress(epoch, epochs, steps)

    def log(self, row: dict[str, Any]) -> None:
        """One epoch's numbers."""
        self.directory.log(row)
        self.console.log(row, self._epochs)
        self._start().log(row)

    def finish(self, metrics: dict[str, float]) -> None:
        """The run's result."""
        self._start().finish(metrics)

    def _start(self) -> Any:
        assert self.cfg is not None
        if not self._started:
            self._started = True
            config = OmegaConf.to_container(self.cfg, resolve=True)
            self.logger.start(self.directory.path, self.directory.path.name, config)
        return self.logger
