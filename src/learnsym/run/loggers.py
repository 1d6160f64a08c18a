"""Where a run's numbers go besides metrics.jsonl; a library is imported when it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from learnsym.errors import ConfigError
from learnsym.schema import PlainMapping


class Logger:
    """Base of loggers, which keeps nothing."""

    def start(self, folder: Path, name: str, config: PlainMapping) -> None:
        """Begin, once, before the first numbers; a run that is continued has the same name."""

    def log(self, row: PlainMapping) -> None:
        """Keep one epoch's numbers; `row["epoch"]` counts from 1."""

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Keep the run's result, and end."""


class Jsonl(Logger):
    """metrics.jsonl alone, which every run writes."""


@dataclass
class Wandb(Logger):
    """Weights & Biases; what is written offline, `wandb sync RUN/wandb/...` uploads later."""

    project: str = "learnsym"
    mode: Literal["offline", "online"] = "offline"

    def start(self, folder: Path, name: str, config: PlainMapping) -> None:
        """Begin a run of wandb; the name is its id, so that a continued run stays one."""
        import wandb

        self._run = wandb.init(
            project=self.project,
            mode=self.mode,
            dir=str(folder),
            id=name,
            name=name,
            config=dict(config),
            resume="allow",
        )

    def log(self, row: PlainMapping) -> None:
        """Keep one epoch's numbers."""
        self._run.log(dict(row), step=row["epoch"])

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Write the result's metrics as the summary."""
        self._run.summary.update(dict(metrics))
        self._run.finish()


class TensorBoard(Logger):
    """Event files in the run's directory; `tensorboard --logdir runs` shows them."""

    def start(self, folder: Path, name: str, config: PlainMapping) -> None:
        """Open an event file."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "logger=tensorboard needs tensorboard. Try uv sync --extra tensorboard."
            ) from error
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, row: PlainMapping) -> None:
        """Keep one epoch's numbers, every one a scalar."""
        for key, value in row.items():
            self._writer.add_scalar(key, value, row["epoch"])

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Write the result's metrics at the end."""
        for key, value in metrics.items():
            self._writer.add_scalar(f"result/{key}", value)
        self._writer.close()
