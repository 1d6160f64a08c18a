"""Series that the training of an ensemble records, and its checkpoints."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learnsym.dynamics.ensemble import Weights
from learnsym.errors import CheckpointError
from learnsym.training import checkpoint
from learnsym.utils.files import write_atomically

PER_LAYER = ("change", "distance", "norm")
"""Series with a number for every layer; their total is the root of the sum of squares."""


@dataclass
class Records:
    """Series [arms, members, steps + 1], or [..., layers] for those of `PER_LAYER`.

    Float64; not a number where nothing was recorded. `change` is ||A - A_0||, `distance`
    ||A - Pi_E A||, `norm` ||A||, `loss` the mean loss on the training examples as they are.
    """

    arms: Sequence[str]
    members: int
    steps: int
    layers: Sequence[str]
    series: dict[str, Tensor] = field(default_factory=dict)

    def record(self, name: str, arms: slice, members: range, step: int, values: Tensor) -> None:
        """Record values [arms, members] or [arms, members, layers]."""
        if name not in self.series:
            layers = (len(self.layers),) if name in PER_LAYER else ()
            shape = (len(self.arms), self.members, self.steps + 1, *layers)
            self.series[name] = torch.full(shape, float("nan"), dtype=torch.float64)
        of_members = self.series[name][arms, members.start : members.stop]
        of_members[:, :, step] = values.to("cpu", torch.float64)

    def total(self, name: str) -> Tensor:
        """Combine the layers of a series: [arms, members, steps + 1]."""
        series = self.series[name]
        return series.square().sum(-1).sqrt() if name in PER_LAYER else series

    def median(self, name: str) -> Tensor:
        """Take the median over members, [arms, steps + 1]."""
        return self.total(name).quantile(0.5, dim=1)

    def rows(self, offset: int = 0) -> list[dict[str, float]]:
        """Return one row a step with the medians of all series, for metrics.jsonl."""
        medians = {
            f"{metric_name(name)}_{arm}": values
            for name in self.series
            for arm, values in zip(self.arms, self.median(name), strict=True)
        }
        return [
            {"epoch": step + offset, "step": step}
            | {key: float(m[step]) for key, m in medians.items() if not m[step].isnan()}
            for step in range(self.steps + 1)
        ]

    def save(self, path: Path) -> None:
        """Write all series and the names as an npz file."""
        arrays = {name: series.numpy() for name, series in self.series.items()}
        arrays |= {"arms": np.array(self.arms), "layers": np.array(self.layers)}
        write_atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def metric_name(series: str) -> str:
    """Return the name under which a series is a metric."""
    return "distance_to_equivariance" if series == "distance" else series


@dataclass
class EnsembleCheckpoint:
    """The records so far, and the weights of the members that are being trained.

    All draws depend on seed, member and step alone, so that this is enough to go on exactly. So
    many `seconds` lie between two writes; ten times what a write takes, if that is more.
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
        state = {"member": member, "step": step, "series": records.series, "weights": weights}
        checkpoint.save(self.path, state)
        self._written = time.monotonic()
        self.seconds = max(self.seconds, 10 * (self._written - now))

    def load(self, records: Records) -> tuple[int, int, Weights | None]:
        """Fill the records; return the next member, its step and weights."""
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
