"""What a lockstep training records: per arm, member, step and layer. Kept in memory, in checkpoints
and as records.npz.
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

PER_LAYER = ("change", "distance", "norm")
"""Recorded for every layer; the total is the root of the sum of squares. Everything else is one
number."""


class Records:
    """Series [arms, members, steps + 1], or [..., layers] for those of `PER_LAYER`; float64, NaN
    where nothing was recorded.

    `change` is ||A - A_0||, `distance` ||A - Pi_E A||, `norm` ||A||, `loss` the mean loss on the
    training examples as they are.
    """

    def __init__(
        self, arms: Sequence[str], members: int, steps: int, layers: Sequence[str]
    ) -> None:
        self.arms, self.members, self.steps, self.layers = (
            tuple(arms),
            members,
            steps,
            tuple(layers),
        )
        self.series: dict[str, Tensor] = {}

    def put(self, name: str, arms: slice, members: slice, step: int, values: Tensor) -> None:
        """Record values [arms, members] or [arms, members, layers]."""
        if name not in self.series:
            tail = (len(self.layers),) if name in PER_LAYER else ()
            self.series[name] = torch.full(
                (len(self.arms), self.members, self.steps + 1, *tail),
                float("nan"),
                dtype=torch.float64,
            )
        self.series[name][arms, members, step] = values.to("cpu", torch.float64)

    def total(self, name: str) -> Tensor:
        """[arms, members, steps + 1]: over all layers where there are several."""
        series = self.series[name]
        return series.square().sum(-1).sqrt() if name in PER_LAYER else series

    def median(self, name: str) -> Tensor:
        """The median over members [arms, steps + 1] (of an even number: the mean of the two in the
        middle).
        """
        return self.total(name).quantile(0.5, dim=1)

    def rows(self, offset: int = 0) -> list[dict[str, float]]:
        """One row a step, with the medians of all series, for metrics.jsonl."""
        medians = {
            (name, arm): self.median(name)[place]
            for name in self.series
            for place, arm in enumerate(self.arms)
        }
        return [
            {"epoch": step + offset, "step": step}
            | {
                f"{named(name)}_{arm}": float(m[step])
                for (name, arm), m in medians.items()
                if not m[step].isnan()
            }
            for step in range(self.steps + 1)
        ]

    def packed(self) -> bytes:
        """The content of a .npz file: an array for every series, and the names of arms and
        layers.
        """
        buffer = io.BytesIO()
        arrays = {name: series.numpy() for name, series in self.series.items()}
        np.savez_compressed(
            buffer, arms=np.array(self.arms), layers=np.array(self.layers), **arrays
        )
        return buffer.getvalue()


def named(series: str) -> str:
    """The metric's name of a series."""
    return {"distance": "distance_to_equivariance"}.get(series, series)
