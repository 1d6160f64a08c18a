"""Draw mode=compare: a row for each kind of run in its own terms, and what all have in common."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learnsym.figures.style import (
    FIXED,
    GREY,
    Look,
    add_legend,
    colours,
    draw_arc,
    label_axes,
    new_figure,
    save,
)
from learnsym.results.grouping import Group
from learnsym.results.symmetry import (
    Measurement,
    Points,
    distances_over_training,
    fractions_over_training,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

Known = Mapping[str, Sequence[Measurement]]
"""Label -> what is known of the runs of that label."""
Panel = Callable[["Axes", Sequence[Group], Known, Mapping[str, str]], None]
_MAX_BARS = 8
_CIRCLE = 2.5
"""From the centre of one circle to that of the next, in radii."""
_LINES = {"nominal": "-", "equivariant": "--", "augmented": ":"}
_RELATIVE_DISTANCE = "distance to E / norm"


def draw_comparison(path: Path, groups: Sequence[Group], known: Known) -> None:
    """Draw the symmetry of groups of runs.

    Rows: circles with the learned part of the rotations (input or layers), bars with distances
    from equivariant weights. Below: parts and distances over the training, and the error of the
    output by angle, where they were measured.
    """
    colour_of = {g.label: c for g, c in zip(groups, colours(len(groups)), strict=True)}
    panels = _panels(groups, known)
    tall = [g for g in groups if _circles(known[g.label]) or _bars(known[g.label])]
    heights = [1.75] * len(tall) + ([3.3] if panels else [])
    figure = new_figure(10.5, sum(heights) + 0.3)
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    limits = _limits_of_bars(known)
    for row, g in zip(rows, tall, strict=False):
        _draw_row(row, g, known[g.label], colour_of[g.label], limits)
    drawn = rows[-1].subplots(1, len(panels), squeeze=False)[0] if panels else []
    for axes, (draw, *titles) in zip(drawn, panels, strict=True):
        draw(axes, groups, known, colour_of)
        label_axes(axes, *titles)
    save(figure, path)


def _panels(groups: Sequence[Group], known: Known) -> list[tuple[Panel, str, str, str]]:
    """Return what there is to draw of all: function, title, names of the axes."""
    runs = [run for g in groups for run in g.runs]
    time = "part of the training"
    panels: list[tuple[Panel, str, str, str]] = []
    if any(fractions_over_training(run) for run in runs):
        panels.append(
            (_draw_fractions, "learned part of the rotations", time, "part of the circle")
        )
    if any(distances_over_training(run) for run in runs):
        title = "distance from equivariant weights"
        panels.append((_draw_distances, title, time, _RELATIVE_DISTANCE))
    if any(m.angle is not None for measured in known.values() for m in measured):
        title, x = "equivariance error of the output", "rotation of the input (degrees)"
        panels.append((_draw_error_by_angle, title, x, "relative error"))
    return panels


# --- a row for each group of runs


def _circles(measured: Sequence[Measurement]) -> list[Measurement]:
    return [m for m in measured if m.is_rotation and m.fraction is not None]


def _bars(measured: Sequence[Measurement]) -> list[Measurement]:
    """Return relative distances, or absolute ones where none is known; at most so many."""
    distances = [m for m in measured if m.what == "distance to E"]
    return ([m for m in distances if m.unit] or distances)[:_MAX_BARS]


def _limits_of_bars(known: Known) -> tuple[float, float]:
    """Return limits from a decade below the smallest mean to some room for numbers."""
    means = [m.mean for measured in known.values() for m in _bars(measured)]
    positive = [mean for mean in means if mean > 0] or [1.0]
    return 10 ** math.floor(math.log10(min(positive)) - 1), 40 * max(positive)


def _draw_row(
    figure: "SubFigure",
    group: Group,
    measured: Sequence[Measurement],
    colour: str,
    limits: tuple[float, float],
) -> None:
    """Draw circles to the left, bars to the right, as far as there is something to draw."""
    seeds = f"  ({len(group.runs)} seeds)" if len(group.runs) > 1 else ""
    title = {"fontsize": 9, "x": 0.01, "ha": "left", "color": colour, "fontweight": "bold"}
    figure.suptitle(f"{group.label}{seeds}", **title)
    circles, bars = _circles(measured), _bars(measured)
    ratios = ([max(3, len(circles))] if circles else []) + ([4] if bars else [])
    panels = figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0]
    if circles:
        mirrors = {m.where: m for m in measured if m.what == "reflection"}
        _draw_circles(panels[0], circles, mirrors, colour)
    if bars:
        _draw_bars(panels[-1], bars, colour, limits)


def _draw_circles(
    axes: "Axes", circles: Sequence[Measurement], mirrors: Mapping[str, Measurement], colour: str
) -> None:
    """Draw one circle for each layer; upwards is the identity. What was never learned is grey."""
    for index, m in enumerate(circles):
        x, half = index * _CIRCLE, max(math.pi * (m.fraction or 0.0), 0.02)
        draw_arc(axes, math.pi, x=x, color=GREY, linewidth=1.0)
        thick: Look = {"linewidth": 5, "solid_capstyle": "butt"}
        draw_arc(axes, half, x=x, color=colour if m.learned else FIXED, **thick)
        text = f"{m.mean:.2f}" + (f"\n± {m.sd:.2f}" if m.sd is not None else "")
        text += "\nrad" if m.unit == "rad" else ""
        axes.text(x, 0, text, ha="center", va="center", fontsize=7)
        name = m.where + m.what.removeprefix("rotation").replace("_", ", about ")
        name += f"\nm {mirrors[m.where].mean:.2f}" if m.where in mirrors else ""
        axes.text(x, -1.5, name, ha="center", va="top", fontsize=7)
    axes.set_xlim(-1.4, max(5, _CIRCLE * len(circles)) - 1.0)
    axes.set_ylim(-2.1, 1.25)
    axes.set_aspect("equal", anchor="W")
    axes.set_axis_off()


def _draw_bars(
    axes: "Axes", bars: Sequence[Measurement], colour: str, limits: tuple[float, float]
) -> None:
    """Draw distances on a logarithmic axis; what is exactly equivariant is named instead."""
    low = limits[0]
    for index, m in enumerate(bars):
        if m.mean > 0:
            axes.barh(index, m.mean - low, left=low, color=colour, alpha=0.35, height=0.6)
            values = [v for v in m.values if v > 0]
            axes.plot(values, [index] * len(values), "o", color=colour, markersize=3.5)
        text = f"{m.mean:.2g}" if m.mean > 0 else "0: equivariant"
        axes.text(max(m.mean, low) * 1.25, index, text, va="center", fontsize=7)
    names = [re.sub(r"[()]", "", m.where.removeprefix("all layers ")) for m in bars]
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 3) - 0.4, -0.6)  # a bar by itself is no thicker than others
    label_axes(axes, "", "", "")
    axes.set_xlabel(_RELATIVE_DISTANCE if bars[0].unit else "distance to E", fontsize=8)
    axes.tick_params(labelsize=7)


# --- what all have in common


def _draw_fractions(
    axes: "Axes", groups: Sequence[Group], known: Known, colour_of: Mapping[str, str]
) -> None:
    """Draw every layer of every run thin, the mean over layers and seeds bold."""
    for g in groups:
        series = [points for run in g.runs for points in fractions_over_training(run).values()]
        series = [points for points in series if points]
        for points in series if len(series) > 1 else []:
            axes.plot(
                *zip(*points, strict=True), color=colour_of[g.label], linewidth=0.7, alpha=0.6
            )
        if series:
            _draw_mean(axes, series, color=colour_of[g.label], label=g.label)
    axes.set_ylim(-0.03, 1.03)
    add_legend(axes, 6.5)


def _draw_distances(
    axes: "Axes", groups: Sequence[Group], known: Known, colour_of: Mapping[str, str]
) -> None:
    """Draw a line for each arm (or for all layers), the mean over seeds.

    What is exactly equivariant has no place on the axis; the legend names it.
    """
    for g in groups:
        arms: dict[str, list[Points]] = {}
        for run in g.runs:
            for name, points in distances_over_training(run).items():
                arms.setdefault(name, []).append([(t, v) for t, v in points if v > 0])
        for name, series in arms.items():
            arm = name.partition(" ")[0]  # after it: the group; a network in training has no arm
            label = " ".join(filter(None, (g.label, arm))) + ("" if any(series) else ": 0")
            look: Look = {"color": colour_of[g.label], "linestyle": _LINES.get(arm, "-")}
            look |= {} if label in axes.get_legend_handles_labels()[1] else {"label": label}
            if any(series):
                _draw_mean(axes, [points for points in series if points], **look)
            else:
                axes.plot([], [], **look)
    axes.set_yscale("log")
    add_legend(axes, 6.5)


def _draw_mean(axes: "Axes", series: Sequence[Points], **look: Any) -> None:
    times = np.linspace(max(points[0][0] for points in series), 1, 101)
    values = [np.interp(times, *np.array(points).T) for points in series]
    axes.plot(times, np.mean(values, axis=0), linewidth=2.0, **look)


def _draw_error_by_angle(
    axes: "Axes", groups: Sequence[Group], known: Known, colour_of: Mapping[str, str]
) -> None:
    """Draw the error by angle; dashed: before the training."""
    for g in groups:
        for before in (True, False):
            points = sorted(
                (m.angle, m.mean)
                for m in known[g.label]
                if m.angle is not None and m.before == before
            )
            if points:
                label = g.label + (" before training" if before else "")
                look: Look = {"color": colour_of[g.label], "markersize": 3.5, "linewidth": 1.4}
                x, y = zip(*points, strict=True)
                axes.plot(x, y, "o--" if before else "o-", label=label, **look)
    axes.set_ylim(0, 1.45 * axes.get_ylim()[1])  # room for the legend
    add_legend(axes, 6.5, loc="upper left")
