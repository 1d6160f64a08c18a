"""Where a training stands, and who keeps its numbers."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from learnsym.schema import PlainDict
from learnsym.utils.rng import BatchRows


class Recorder:
    """Base of what keeps the numbers of a training (see `learnsym.run.console`); keeps none."""

    def log(self, row: PlainDict) -> None:
        """Keep one epoch's numbers."""

    def truncate(self, epochs: int) -> None:
        """Forget the rows after so many epochs: a resumed run writes them again."""

    def progress(
        self, epoch: int, epochs: int, steps: int
    ) -> AbstractContextManager[Callable[[], object]]:
        """Show the steps of an epoch; the function is called after each."""
        return nullcontext(lambda: None)

    def finish(self, metrics: dict[str, float]) -> None:
        """Keep the result of the run."""


@dataclass
class Progress:
    """Where a training stands; all of it is in a checkpoint."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_epoch: int = 0


class Batch(NamedTuple):
    """This process's rows of a global batch; `rows` None: all.

    Data parallelism averages gradients over processes; `share`, rows of this process x processes /
    rows in all, makes that the mean over the global batch.
    """

    inputs: Tensor
    targets: Tensor
    share: float
    rows: BatchRows | None
