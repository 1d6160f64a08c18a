"""TODO."""

import time
from dataclasses import dataclass
from pathlib import Path

from learnsym.dynamics.ensemble import Weights
from learnsym.dynamics.records import Records
from learnsym.errors import CheckpointError
from learnsym.training import checkpoint


@dataclass
class Saved:
    """A checkpoint of an ensemble: the records so far, and the weights of the chunk at work. Draws depend on seed, member and
    step alone, so nothing else is needed to go on exactly.
    """

    path: Path
    seconds: float = 30.0
    _last: float = 0.0

    def keep(
        self, records: Records, member: int, step: int = 0, weights: Weights | None = None
    ) -> None:
        """Write it, if enough time has passed for the writing not to matter; always where a chunk has ended (no weights)."""
        now = time.monotonic()
        if weights is not None and now - self._last < self.seconds:
            return
        state = {"member": member, "step": step, "series": records.series}
        if weights is not None:
            state["weights"] = weights
        checkpoint.save(self.path, state)
        self._last = time.monotonic()
        self.seconds = max(self.seconds, 10 * (self._last - now))

    def resume(self, records: Records) -> tuple[int, int, Weights | None]:
        """The first member of the next chunk, and the step and weights if that chunk has begun; fills the records."""
        self._last = time.monotonic()
        if not self.path.exists():
            return 0, 0, None
        state = checkpoint.load(self.path, "fresh=true starts over")
        try:
            records.series = dict(state["series"])
            weights = state.get("weights")
            print(
                f"continuing at repetition {state['member'] + 1}, step {state['step']}", flush=True
            )
            return int(state["member"]), int(state["step"]), weights
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"checkpoint {self.path}: it is not of an ensemble; fresh=true starts over."
            ) from error


class Lines:
    """Quiet lines of progress, at most one in ten seconds, where there is no bar."""

    def __init__(self, title: str, steps: int) -> None:
        self.title, self.steps, self._last = title, steps, time.monotonic()

    def __call__(self, step: int) -> None:
        """After a step."""
        now = time.monotonic()
        if now - self._last > 10 or step == self.steps:
            self._last = now
            print(f"{self.title}: step {step}/{self.steps}", flush=True)
