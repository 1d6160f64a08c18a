"""Draw learned widths: over training, at the end, and what the loss makes of forced ones."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from learnsym.figures.style import (
    COLOURS,
    Look,
    add_legend,
    colours,
    label_axes,
    new_figure,
    pi_ticks,
    save,
)
from learnsym.schema import PlainDict

if TYPE_CHECKING:  # what ends a sweep draws figures without torch
    from matplotlib.axes import Axes

Rows = Sequence[PlainDict]
"""metrics.jsonl: one mapping for each epoch."""
_TRUTH: Look = {"color": "black", "linestyle": "--", "linewidth": 1}


def draw_bands(
    axes: "Axes", runs: Mapping[str, Sequence[Rows]], key: str, truth: float | None
) -> None:
    """Draw learned rotations as bands [-w/2, w/2] over training.

    Args:
        axes: where.
        runs: rows of the runs of each label; the mean is drawn, the deviation shaded at its edge.
        key: the metric.
        truth: the width in the data, dashed.
    """
    for colour, (label, rows_of_runs) in zip(colours(len(runs)), runs.items(), strict=True):
        length = min(len(rows) for rows in rows_of_runs)
        half = np.array([[row[key] for row in rows[:length]] for rows in rows_of_runs]) / 2
        epochs = [row["epoch"] for row in rows_of_runs[0][:length]]
        mean = half.mean(axis=0)
        shade: Look = {"color": colour, "linewidth": 0}
        if len(runs) == 1:
            axes.fill_between(epochs, -mean, mean, alpha=0.25, **shade)
        for edge, name in ((-mean, None), (mean, label)):
            axes.plot(epochs, edge, color=colour, linewidth=1.6, label=name)
            if len(half) > 1:
                spread = half.std(axis=0, ddof=1)
                axes.fill_between(epochs, edge - spread, edge + spread, alpha=0.2, **shade)
    if truth is not None:
        axes.axhline(-truth / 2, **_TRUTH)
        axes.axhline(truth / 2, label="truth", **_TRUTH)
    pi_ticks(axes)
    frame: Look = {
        "facecolor": "white",
        "framealpha": 0.85,
        "edgecolor": "none",
    }  # the truth is behind
    axes.legend(fontsize=7, loc="best", **frame)
    label_axes(axes, "learned rotation over training", "epoch", "angle (rad)")


def draw_box(axes: "Axes", width: float, truth: float | None) -> None:
    """Draw the learned distribution of angles at the end, and the true one if it is known."""
    for value, name in ((width, "learned"), (truth, "truth")):
        if value is None:
            continue
        colour = COLOURS[0] if name == "learned" else "black"
        label = f"{name}, width {value:.3f}"
        edges, height = [-value / 2, -value / 2, value / 2, value / 2], [0, 1, 1, 0]
        if value < 1e-3:
            axes.axvline(0, color=colour, linestyle="--", label=f"{label}: none")
        elif name == "learned":
            axes.fill(edges, [h / value for h in height], color=colour, alpha=0.3, label=label)
        else:
            axes.plot(edges, [h / value for h in height], label=label, **_TRUTH)
    limit = max(1.15 * math.pi, 0.6 * width)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(bottom=0)
    pi_ticks(axes, "x")
    add_legend(axes, loc="upper right")
    axes.set_ylim(0, 1.45 * axes.get_ylim()[1])
    label_axes(axes, "distribution of rotations at the end", "angle (rad)", "density")


def draw_widths(axes: "Axes", rows: Rows, keys: Sequence[str], title: str) -> None:
    """Draw the extents along several generators over training."""
    epochs = [row["epoch"] for row in rows]
    for index, (colour, key) in enumerate(zip(colours(len(keys)), keys, strict=True)):
        label = key.removeprefix("learned_").replace("_width", "").replace("_", " ")
        line = "-" if index < len(COLOURS) else "--"
        values = [row[key] for row in rows]
        axes.plot(epochs, values, line, color=colour, linewidth=1.4, label=label)
    axes.set_ylim(bottom=0)
    add_legend(axes, ncols=2 if len(keys) > len(COLOURS) else 1)
    label_axes(axes, title, "epoch", "width")


def draw_width_sweep(
    path: Path, curve: Sequence[Mapping[str, float]], generator: str, truth: float | None
) -> None:
    """Draw the gradient of the task loss, and batch accuracy, against the forced width."""
    panels = {
        "gradient": ("gradient of the task loss", "d loss / d width"),
        "accuracy": ("accuracy of a batch", "accuracy"),
    }
    panels = {key: names for key, names in panels.items() if key in curve[0]}
    figure = new_figure(7.6, 3.0)
    widths = [point["width"] for point in curve]
    drawn = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (key, (title, label)) in zip(drawn, panels.items(), strict=True):
        values = [point[key] for point in curve]
        axes.plot(widths, values, "o-", color=COLOURS[0], markersize=3, linewidth=1.4)
        if truth is not None:
            axes.axvline(truth, label="truth", **_TRUTH)
        add_legend(axes)
        label_axes(axes, f"{title} against a forced width", f"width of the {generator}", label)
    save(figure, path)
