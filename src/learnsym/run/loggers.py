"""Where a run's numbers go besides metrics.jsonl. Each library is imported only when its logger is
asked for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from learnsym.errors import ConfigError


class Jsonl:
    """metrics.jsonl alone, which every run writes."""

    def start(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        """Nothing to start."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Nothing more to write."""

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Nothing to close."""


class Wandb(Jsonl):
    """Weights & Biases: offline unless told otherwise; `wandb sync <run directory>/wandb/...`
    uploads later.
    """

    def __init__(
        self, project: str = "learnsym", mode: Literal["offline", "online"] = "offline"
    ) -> None:
        self.project, self.mode = project, mode

    def start(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        """Begin a wandb run in the run's directory; the run's name is its id, so that a continued
        run stays one.
        """
        try:
            import wandb
        except ImportError as error:
            raise ConfigError(
                "logger=wandb needs wandb; install it with: uv sync --extra wandb."
            ) from error
        self._run = wandb.init(
            project=self.project,
            mode=self.mode,
            dir=str(folder),
            id=name,
            name=name,
            config=dict(config),
            resume="allow",
        )

    def log(self, row: Mapping[str, Any]) -> None:
        """One epoch."""
        self._run.log(dict(row), step=row["epoch"])

    def finish(self, metrics: Mapping[str, float]) -> None:
        """The result's metrics as the summary."""
        self._run.summary.update(dict(metrics))
        self._run.finish()


class TensorBoard(Jsonl):
    """TensorBoard event files in the run's directory; `tensorboard --logdir runs` shows them."""

    def start(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        """Open an event file."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "logger=tensorboard needs tensorboard; install it with: uv sync --extra tensorboard."
            ) from error
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, row: Mapping[str, Any]) -> None:
        """One epoch, every number a scalar."""
        for key, value in row.items():
            self._writer.add_scalar(key, value, row["epoch"])

    def finish(self, metrics: Mapping[str, float]) -> None:
        """The result's metrics, at the end."""
        for key, value in metrics.items():
            self._writer.add_scalar(f"result/{key}", value)
        self._writer.close()
