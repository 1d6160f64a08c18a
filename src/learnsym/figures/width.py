"""Draw learned widths, what the loss makes of forced ones, and responses to rotated inputs."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from learnsym.figures import style
from learnsym.figures.style import COLOURS, Axes, Look
from learnsym.schema import PlainDict

Rows = Sequence[PlainDict]
"""metrics.jsonl: one mapping for each epoch."""
Curve = PlainDict
"""angles_deg, probability, per_class and classes, of `learnsym.analysis.angle_response`."""


def draw_bands(
    axes: Axes, runs: Mapping[str, Sequence[Rows]], key: str, truth: float | None
) -> None:
    """Draw learned rotations as bands [-w/2, w/2] over training; the true width is dashed.

    Of several runs of a label the mean is drawn, the deviation shaded at its edge.
    """
    for colour, (label, rows_of_runs) in zip(style.colours(len(runs)), runs.items(), strict=True):
        length = min(map(len, rows_of_runs))
        half = np.array([[row[key] for row in rows[:length]] for rows in rows_of_runs]) / 2
        epochs = [row["epoch"] for row in rows_of_runs[0][:length]]
        if len(runs) == 1:
            mean = half.mean(axis=0)
            axes.fill_between(epochs, -mean, mean, alpha=0.25, color=colour, linewidth=0)
        style.draw_band(axes, epochs, -half, colour, None)
        style.draw_band(axes, epochs, half, colour, label)
    if truth is not None:
        axes.axhline(-truth / 2, **style.TRUTH)
        axes.axhline(truth / 2, label="truth", **style.TRUTH)
    style.pi_ticks(axes.yaxis)
    # The truth is behind the legend.
    frame = {"frameon": True, "facecolor": "white", "framealpha": 0.85, "edgecolor": "none"}
    style.finish(
        axes, "learned rotation over training", "epoch", "angle (rad)", style.LEGEND | frame
    )


def draw_box(axes: Axes, width: float, truth: float | None) -> None:
    """Draw the learned distribution of angles at the end, and the true one if it is known."""
    for value, name in ((width, "learned"), (truth, "truth")):
        if value is None:
            continue
        colour = COLOURS[0] if name == "learned" else "black"
        label = f"{name}, width {value:.3f}"
        edges = [-value / 2, -value / 2, value / 2, value / 2]
        if value < 1e-3:
            axes.axvline(0, color=colour, linestyle="--", label=f"{label}: none")
        elif name == "learned":
            axes.fill(edges, [0, 1 / value, 1 / value, 0], color=colour, alpha=0.3, label=label)
        else:
            axes.plot(edges, [0, 1 / value, 1 / value, 0], label=label, **style.TRUTH)
    limit = max(1.15 * math.pi, 0.6 * width)
    axes.set(xlim=(-limit, limit), ylim=(0, 1.45 * axes.get_ylim()[1]))
    style.pi_ticks(axes.xaxis)
    corner = style.LEGEND | {"loc": "upper right"}
    style.finish(axes, "distribution of rotations at the end", "angle (rad)", "density", corner)


def draw_widths(axes: Axes, rows: Rows, keys: Sequence[str], title: str) -> None:
    """Draw the extents along several generators over training."""
    epochs = [row["epoch"] for row in rows]
    for index, (colour, key) in enumerate(zip(style.colours(len(keys)), keys, strict=True)):
        label = key.removeprefix("learned_").replace("_width", "").replace("_", " ")
        line = "-" if index < len(COLOURS) else "--"
        values = [row[key] for row in rows]
        axes.plot(epochs, values, line, color=colour, linewidth=1.4, label=label)
    legend = style.LEGEND | {"ncols": 2 if len(keys) > len(COLOURS) else 1}
    style.finish(axes, title, "epoch", "width", legend, ylim=(0, None))


def draw_width_sweep(
    path: Path, curve: Sequence[Mapping[str, float]], generator: str, truth: float | None
) -> None:
    """Draw the gradient of the task loss, and batch accuracy, against the forced width."""
    titles = {
        "gradient": ("gradient of the task loss", "d loss / d width"),
        "accuracy": ("accuracy of a batch", "accuracy"),
    }

    def draw(axes: Axes, key: str) -> None:
        x, y = zip(*((point["width"], point[key]) for point in curve), strict=True)
        axes.plot(x, y, "o-", color=COLOURS[0], markersize=3, linewidth=1.4)
        if truth is not None:
            axes.axvline(truth, label="truth", **style.TRUTH)
        title, label = titles[key]
        style.finish(axes, f"{title} against a forced width", f"width of the {generator}", label)

    figure = style.new_figure(7.6, 3.0)
    style.draw_panels(figure, [partial(draw, key=key) for key in titles if key in curve[0]])
    style.save(figure, path)


def draw_response(axes: Axes, curve: Curve) -> None:
    """Draw the mean response of one network; of two classes each of them too, dashed."""
    both = len(curve["per_class"]) == 2
    draw_responses(axes, {"both classes" if both else "": [curve]})
    if both:
        for colour, (name, values) in zip(COLOURS[1:], curve["per_class"].items(), strict=False):
            axes.plot(curve["angles_deg"], values, "--", color=colour, linewidth=1.2, label=name)
        axes.legend(**style.LEGEND)


def draw_responses(
    axes: Axes, curves: Mapping[str, Sequence[Curve]], colours_of: Sequence[str] = ()
) -> None:
    """Draw the probability of the right class against the rotation of the input.

    Of the runs of each label the mean is drawn, the deviation shaded.
    """
    if all(c.get("classes") == 2 for runs in curves.values() for c in runs):
        axes.axhline(0.5, color="black", linestyle=":", linewidth=1, label="one half, a guess")
    chosen = colours_of or style.colours(len(curves))
    for colour, (label, runs) in zip(chosen, curves.items(), strict=True):
        angles = runs[0]["angles_deg"]
        same = [c["probability"] for c in runs if len(c["probability"]) == len(angles)]
        style.draw_band(axes, angles, np.array(same), colour, label or None)
    limits: Look = {"xticks": [-180, -90, 0, 90, 180], "ylim": (-0.03, 1.03)}
    x = "rotation of the input (degrees)"
    style.finish(axes, "response to a turned input", x, "probability of the right class", **limits)
