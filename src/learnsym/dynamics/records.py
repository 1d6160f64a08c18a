"""Series that the training of an ensemble records."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

PER_LAYER = ("change", "distance", "norm")
"""Series with a number for every layer; their total is the root of the sum of squares."""
_METRIC_NAMES = {"distance": "distance_to_equivariance"}


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
        self.series[name][arms, members.start : members.stop, step] = values.to(
            "cpu", torch.float64
        )

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

    def to_npz(self) -> bytes:
        """Return all series and the names as an npz file."""
        arrays = {name: series.numpy() for name, series in self.series.items()}
        arrays |= {"arms": np.array(self.arms), "layers": np.array(self.layers)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


def metric_name(series: str) -> str:
    """Return the name under which a series is a metric."""
    return _METRIC_NAMES.get(series, series)
