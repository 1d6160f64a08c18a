"""Draw mode=compare: a row for each kind of run in its own terms, and what all have in common."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from learnsym.figures import style
from learnsym.figures.style import Axes, Look
from learnsym.results.grouping import Group
from learnsym.results.symmetry import (
    Measurement,
    Points,
    distances_over_training,
    fractions_over_training,
)

Known = Sequence[Measurement]
Arm = tuple[Group, Known, str]
"""Runs of one label, what is known of them, and their colour."""
_MAX_BARS = 8
_CIRCLE = 2.5
"""From the centre of one circle to that of the next, in radii."""
_LINES = {"nominal": "-", "equivariant": "--", "augmented": ":"}
_TIME = "part of the training"
_SMALL = style.LEGEND | {"fontsize": 6.5}
_RELATIVE_DISTANCE = "distance to E / norm"


def draw_comparison(path: Path, groups: Sequence[Group], known: Mapping[str, Known]) -> None:
    """Draw the symmetry of groups of runs; `known` has the measurements of each label.

    Rows: circles with the learned part of the rotations (input or layers), bars with distances
    from equivariant weights. Below: parts and distances over the training, and the error of the
    output by angle, where they were measured.
    """
    arms = [(g, known[g.label], c) for g, c in zip(groups, style.colours(len(groups)), strict=True)]
    runs = [run for g in groups for run in g.runs]
    there_is = {
        _draw_fractions: any(map(fractions_over_training, runs)),
        _draw_distances: any(map(distances_over_training, runs)),
        _draw_error_by_angle: any(m.angle is not None for _, ms, _ in arms for m in ms),
    }
    panels = [partial(draw, arms=arms) for draw, anything in there_is.items() if anything]
    tall = [arm for arm in arms if _circles(arm[1]) or _bars(arm[1])]
    means = [m.mean for _, measured, _ in arms for m in _bars(measured) if m.mean > 0] or [1.0]
    # From a decade below the smallest distance to some room for numbers.
    limits = 10 ** math.floor(math.log10(min(means)) - 1), 40 * max(means)
    heights = [1.75] * len(tall) + ([3.3] if panels else [])
    figure = style.new_figure(10.5, sum(heights) + 0.3)
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, arm in zip(rows, tall, strict=False):
        _draw_row(row, *arm, limits)
    if panels:
        style.draw_panels(rows[-1], panels)
    style.save(figure, path)


def _circles(measured: Known) -> list[Measurement]:
    return [m for m in measured if m.is_rotation and m.fraction is not None]


def _bars(measured: Known) -> list[Measurement]:
    """Return relative distances, or absolute ones where none is known; at most so many."""
    distances = [m for m in measured if m.what == "distance to E"]
    return ([m for m in distances if m.unit] or distances)[:_MAX_BARS]


def _draw_row(
    figure: style.Figure, group: Group, measured: Known, colour: str, limits: tuple[float, float]
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
    axes: Axes, circles: Known, mirrors: Mapping[str, Measurement], colour: str
) -> None:
    """Draw one circle for each layer; upwards is the identity. What was never learned is grey."""
    for index, m in enumerate(circles):
        x, half = index * _CIRCLE, max(math.pi * (m.fraction or 0.0), 0.02)
        style.draw_arc(axes, math.pi, x=x, color=style.GREY, linewidth=1.0)
        style.draw_arc(axes, half, x=x, color=colour if m.learned else style.FIXED, **style.THICK)
        text = f"{m.mean:.2f}" + (f"\n± {m.sd:.2f}" if m.sd is not None else "")
        text += "\nrad" if m.unit == "rad" else ""
        axes.text(x, 0, text, ha="center", va="center", fontsize=7)
        name = m.where + m.what.removeprefix("rotation").replace("_", ", about ")
        name += f"\nm {mirrors[m.where].mean:.2f}" if m.where in mirrors else ""
        axes.text(x, -1.5, name, ha="center", va="top", fontsize=7)
    axes.set(xlim=(-1.4, max(5, _CIRCLE * len(circles)) - 1.0), ylim=(-2.1, 1.25))
    axes.set_aspect("equal", anchor="W")
    axes.set_axis_off()


def _draw_bars(axes: Axes, bars: Known, colour: str, limits: tuple[float, float]) -> None:
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
    axes.set_yticks(range(len(names)), names)
    # A bar by itself is no thicker than others.
    frame: Look = {"xscale": "log", "xlim": limits, "ylim": (max(len(names), 3) - 0.4, -0.6)}
    style.finish(axes, "", _RELATIVE_DISTANCE if bars[0].unit else "distance to E", "", **frame)
    axes.tick_params(labelsize=7)


def _draw_fractions(axes: Axes, arms: Sequence[Arm]) -> None:
    """Draw every layer of every run thin, the mean over layers and seeds bold."""
    for g, _, colour in arms:
        series = [p for run in g.runs for p in fractions_over_training(run).values() if p]
        for points in series if len(series) > 1 else []:
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.7, alpha=0.6)
        if series:
            _draw_mean(axes, series, color=colour, label=g.label)
    title, y = "learned part of the rotations", "part of the circle"
    style.finish(axes, title, _TIME, y, _SMALL, ylim=(-0.03, 1.03))


def _draw_distances(axes: Axes, arms: Sequence[Arm]) -> None:
    """Draw a line for each arm of the dynamics (or for all layers), the mean over seeds.

    What is exactly equivariant has no place on the axis; the legend names it.
    """
    for g, _, colour in arms:
        by_name: dict[str, list[Points]] = {}
        for run in g.runs:
            for name, points in distances_over_training(run).items():
                by_name.setdefault(name, []).append([(t, v) for t, v in points if v > 0])
        for name, series in by_name.items():
            arm = name.partition(" ")[0]  # after it: the group; a network in training has no arm
            label = " ".join(filter(None, (g.label, arm))) + ("" if any(series) else ": 0")
            look: Look = {"color": colour, "linestyle": _LINES.get(arm, "-")}
            look |= {} if label in axes.get_legend_handles_labels()[1] else {"label": label}
            if any(series):
                _draw_mean(axes, [points for points in series if points], **look)
            else:
                axes.plot([], [], **look)
    title = "distance from equivariant weights"
    style.finish(axes, title, _TIME, _RELATIVE_DISTANCE, _SMALL, yscale="log")


def _draw_mean(axes: Axes, series: Sequence[Points], **look: Any) -> None:
    times = np.linspace(max(points[0][0] for points in series), 1, 101)
    values = [np.interp(times, *np.array(points).T) for points in series]
    axes.plot(times, np.mean(values, axis=0), linewidth=2.0, **look)


def _draw_error_by_angle(axes: Axes, arms: Sequence[Arm]) -> None:
    """Draw the error by angle; dashed: before the training."""
    for g, measured, colour in arms:
        errors = [m for m in measured if m.angle is not None]
        for before, line, suffix in ((True, "o--", " before training"), (False, "o-", "")):
            points = sorted((m.angle, m.mean) for m in errors if m.before == before)
            if points:
                look: Look = {"color": colour, "markersize": 3.5, "linewidth": 1.4}
                x, y = zip(*points, strict=True)
                axes.plot(x, y, line, label=f"{g.label}{suffix}", **look)
    title, angle = "equivariance error of the output", "rotation of the input (degrees)"
    legend, room = _SMALL | {"loc": "upper left"}, (0, 1.45 * axes.get_ylim()[1])
    style.finish(axes, title, angle, "relative error", legend, ylim=room)
