"""TODO."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learnsym.figures.style import COLOURS, _cycle, _radians, new_figure, save, style

if TYPE_CHECKING:  # what ends a sweep draws figures without torch
    from matplotlib.axes import Axes


def draw_bands(
    axes: "Axes",
    runs: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    key: str,
    truth: float | None,
) -> None:
    """Learned rotations as bands [-w/2, w/2] over training: per label the mean over runs, the deviation shaded at its edge."""
    for colour, (label, repeats) in zip(_cycle(len(runs)), runs.items(), strict=True):
        length = min(len(rows) for rows in repeats)
        widths = np.array([[row[key] for row in rows[:length]] for rows in repeats])
        epochs = [row["epoch"] for row in repeats[0][:length]]
        half = widths.mean(axis=0) / 2
        if len(runs) == 1:
            axes.fill_between(epochs, -half, half, color=colour, alpha=0.25, linewidth=0)
        for sign in (-1, 1):
            axes.plot(
                epochs, sign * half, color=colour, linewidth=1.6, label=label if sign == 1 else None
            )
            if len(repeats) > 1:
                spread = widths.std(axis=0, ddof=1) / 2
                axes.fill_between(
                    epochs,
                    sign * half - spread,
                    sign * half + spread,
                    color=colour,
                    alpha=0.2,
                    linewidth=0,
                )
    if truth is not None:
        for sign in (-1, 1):
            axes.axhline(
                sign * truth / 2,
                color="black",
                linestyle="--",
                linewidth=1,
                label="truth" if sign == 1 else None,
            )
    _radians(axes)
    axes.legend(
        fontsize=7, facecolor="white", framealpha=0.85, edgecolor="none", loc="best"
    )  # the truth may run behind it
    style(axes, "learned rotation over training", "epoch", "angle (rad)")


def draw_box(axes: "Axes", width: float, truth: float | None) -> None:
    """The learned distribution of angles at the end, beside the truth where it is known."""
    for value, colour, label in (
        (width, COLOURS[0], f"learned, width {width:.3f}"),
        (truth, "black", "truth"),
    ):
        if value is None:
            continue
        if value < 1e-3:
            axes.axvline(0, color=colour, linestyle="--", label=f"{label}: none")
            continue
        edges, height = [-value / 2, -value / 2, value / 2, value / 2], [0, 1 / value, 1 / value, 0]
        if colour == "black":
            axes.plot(
                edges,
                height,
                color=colour,
                linestyle="--",
                linewidth=1,
                label=f"{label}, width {value:.3f}",
            )
        else:
            axes.fill(edges, height, color=colour, alpha=0.3, label=label)
    limit = max(1.15 * math.pi, 0.6 * width)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(bottom=0)
    _radians(axes, "x")
    axes.legend(fontsize=7, frameon=False, loc="upper right")
    top = axes.get_ylim()[1]
    axes.set_ylim(0, 1.45 * top)
    style(axes, "distribution of rotations at the end", "angle (rad)", "density")


def draw_others(
    axes: "Axes",
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    title: str = "other generators",
) -> None:
    """The extents along several generators over training."""
    epochs = [row["epoch"] for row in rows]
    for place, (colour, key) in enumerate(zip(_cycle(len(keys)), keys, strict=True)):
        label = key.removeprefix("learned_").replace("_width", "").replace("_", " ")
        line = "-" if place < len(COLOURS) else "--"
        axes.plot(
            epochs, [row[key] for row in rows], line, color=colour, linewidth=1.4, label=label
        )
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, frameon=False, ncols=2 if len(keys) > len(COLOURS) else 1)
    style(axes, title, "epoch", "width")


def draw_width_sweep(
    path: Path, curve: Sequence[Mapping[str, float]], generator: str, truth: float | None
) -> None:
    """Gradient of the task loss, and batch accuracy, against the forced width."""
    figure = new_figure(7.6, 3.0)
    widths = [p["width"] for p in curve]
    panels = [
        ("gradient", "gradient of the task loss", "d loss / d width"),
        ("accuracy", "accuracy of a batch", "accuracy"),
    ]
    panels = [p for p in panels if p[0] in curve[0]]
    for axes, (key, title, label) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        axes.plot(
            widths, [p[key] for p in curve], "o-", color=COLOURS[0], markersize=3, linewidth=1.4
        )
        if truth is not None:
            axes.axvline(truth, color="black", linestyle="--", linewidth=1, label="truth")
            axes.legend(fontsize=7, frameon=False)
        style(axes, f"{title} against a forced width", f"width of the {generator}", label)
    save(figure, path)
