"""Training curves as the report's page draws them: numbers of all epochs, thinned where there are
very many, as JSON.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from learnsym.results.collect import Run
from learnsym.results.grouping import SLUG_END, Group, scale_of, settings_of
from learnsym.results.statistics import is_number

MAX_NUMBERS = 400_000
"""Of all runs and metrics together; beyond that only every k-th epoch is kept. (About 3 MB of the
page.)"""
NO_METRIC = ("epoch", "step")


def curves(
    groups: Sequence[Group], runs: Sequence[Run], limit: int = MAX_NUMBERS
) -> tuple[dict[str, Any], int]:
    """What the page's script draws, and k: every k-th epoch (and the last) of each run is in it.

    Runs that have not finished are drawn too, in the colour of the row that they belong to.

    Args:
        groups: rows of the table.
        runs: all, in order.
        limit: of numbers altogether.

    Returns:
        {metrics, start, groups, runs} as report.js describes them, and k.
    """
    labels = [g.label for g in groups]
    of_run = {run.path: n for n, g in enumerate(groups) for run in g.runs}
    drawn = [run for run in runs if run.rows]
    every = max(1, math.ceil(sum(numbers_of(row) for run in drawn for row in run.rows) / limit))
    found = []
    for run in drawn:
        place = of_run.get(run.path)
        if place is None:
            label = label_of(run, groups)
            labels += [] if label in labels else [label]
            place = labels.index(label)
        found.append({"group": place, **curve(run, every)})
    metrics = list(dict.fromkeys(m for run in found for m in run["y"]))
    values = {m: {v for run in found for v in run["y"].get(m, ())} for m in metrics}
    first = start([m for m in metrics if len(values[m]) > 1] or metrics)
    return {"metrics": metrics, "start": first, "groups": labels, "runs": found}, every


def numbers_of(row: dict[str, Any]) -> int:
    """How many a row has to draw."""
    return sum(key not in NO_METRIC and is_number(value) for key, value in row.items())


def label_of(run: Run, groups: Sequence[Group]) -> str:
    """The row that a run would belong to if it had finished, or else its own name."""
    if run.config:
        settings = settings_of(run)
        for g in groups:
            if g.settings == settings and g.scale == scale_of(run):
                return g.label
    return SLUG_END.sub("", run.path.name)


def curve(run: Run, every: int) -> dict[str, Any]:
    """One run: epochs and values, six digits; what is not finite is null."""
    kept = [n for n in range(len(run.rows)) if n % every == 0 or n == len(run.rows) - 1]
    rows = [run.rows[n] for n in kept]
    epochs = [
        n + 1 if (epoch := rounded(row.get("epoch"))) is None else epoch
        for n, row in zip(kept, rows, strict=True)
    ]
    metrics = dict.fromkeys(
        k for row in rows for k, v in row.items() if k not in NO_METRIC and is_number(v)
    )
    return {
        "name": run.path.name,
        "seed": str(run.config.get("seed", "unknown")),
        "status": run.status,
        "x": epochs,
        "y": {m: [rounded(row.get(m)) for row in rows] for m in metrics},
    }


def rounded(value: Any) -> float | None:
    """Six digits; None for what is no finite number."""
    return float(f"{value:.6g}") if is_number(value) and math.isfinite(value) else None


def start(metrics: Sequence[str]) -> str:
    """What is shown at first, of the metrics that change: a learned rotation, or else the first
    loss.
    """
    for part in ("learned_rotation", "learned_", "val_loss", "loss"):
        for metric in metrics:
            if part in metric:
                return metric
    return metrics[0] if metrics else ""


def as_json(data: dict[str, Any]) -> str:
    """JSON that may stand in a <script>: no "<" can end it."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
