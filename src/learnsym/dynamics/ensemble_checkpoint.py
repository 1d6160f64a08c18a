"""Checkpoints of an ensemble at work, and its lines of progress."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from learnsym.dynamics.ensemble import Weights
from learnsym.dynamics.records import Records
from learnsym.errors import CheckpointError
from learnsym.training import checkpoint


@dataclass
class EnsembleCheckpoint:
    """The records so far, and the weights of the members that are being trained.

    All draws depend on seed, member and step alone, so that this is enough to go on exactly.

    Attributes:
        path: of the file.
        seconds: between two writes, at least; ten times what a write takes, if that is more.
    """

    path: Path
    seconds: float = 30.0
    _written: float = 0.0

    def save(
        self, records: Records, member: int, step: int = 0, weights: Weights | None = None
    ) -> None:
        """Write the state if it is time to, or if a chunk has ended: then without weights."""
        now = time.monotonic()
        if weights is not None and now - self._written < self.seconds:
            return
        state = {"member": member, "step": step, "series": records.series}
        if weights is not None:
            state["weights"] = weights
        checkpoint.save(self.path, state)
        self._written = time.monotonic()
        self.seconds = max(self.seconds, 10 * (self._written - now))

    def load(self, records: Records) -> tuple[int, int, Weights | None]:
        """Fill the records; return the next member, its step and weights.

        Raises:
            CheckpointError: the file is not a checkpoint of an ensemble.
        """
        self._written = time.monotonic()
        if not self.path.exists():
            return 0, 0, None
        state = checkpoint.load(self.path, "fresh=true starts over")
        try:
            records.series = dict(state["series"])
            member, step, weights = int(state["member"]), int(state["step"]), state.get("weights")
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"checkpoint {self.path}: it is not of an ensemble; fresh=true starts over."
            ) from error
        print(f"continuing at repetition {member + 1}, step {step}", flush=True)
        return member, step, weights


@dataclass
class ProgressLines:
    """Print a title and the step, at most once in ten seconds."""

    title: str
    steps: int
    _printed: float = field(default_factory=time.monotonic)

    def __call__(self, step: int) -> None:
        """Print the step if it is time to."""
        now = time.monotonic()
        if now - self._printed > 10 or step == self.steps:
            self._printed = now
            print(f"{self.title}: step {step}/{self.steps}", flush=True)
