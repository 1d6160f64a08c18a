"""The figure of `mode=compare`: a row for each kind of run in its own terms, and below what all of
them have in common.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learnsym.figures.learned_symmetry import GREY
from learnsym.figures.style import COLOURS, new_figure, save, style
from learnsym.results.grouping import Group
from learnsym.results.statistics import mean_and_sd
from learnsym.results.symmetry import Entry, distances_over_training, parts_over_training

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Known = Mapping[str, Sequence[Entry]]
"""Label -> what is known of the runs of that label."""
MOST_BARS = 8
"""Distances that are drawn of a group of runs: more of them are in the table."""
CIRCLE = 2.5
"""From the centre of one circle to that of the next, in radii."""
LINES = {"nominal": "-", "equivariant": "--", "augmented": ":"}
BARS = ("of all layers", "distance to E / norm")


def draw_comparison(path: Path, groups: Sequence[Group], known: Known) -> None:
    """Rows: circles with the learned part of the rotations (input or layers), bars with distances
    from equivariant weights.

    Below: parts and distances over the training, and the error of the output by angle, where they
    were measured.
    """
    colours = {g.label: COLOURS[place % len(COLOURS)] for place, g in enumerate(groups)}
    panels = panels_of(groups, known)
    tall = [g for g in groups if circles_of(known[g.label]) or bars_of(known[g.label])]
    heights = [1.75] * len(tall) + ([3.3] if panels else [])
    figure = new_figure(10.5, sum(heights) + 0.3)
    rows = np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights))
    limits = common_limits(known)
    for row, g in zip(rows, tall, strict=False):
        draw_row(row, g, known[g.label], colours[g.label], limits)
    if panels:
        for axes, (draw, title, x, y) in zip(
            rows[-1].subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            draw(axes, groups, known, colours)
            style(axes, title, x, y)
    save(figure, path)


def panels_of(groups: Sequence[Group], known: Known) -> list[tuple[Any, str, str, str]]:
    """What there is to draw of all: function, title, names of the axes."""
    runs = [run for g in groups for run in g.runs]
    found: list[tuple[Any, str, str, str]] = []
    if any(parts_over_training(run) for run in runs):
        found.append(
            (
                draw_parts,
                "learned part of the rotations",
                "part of the training",
                "part of the circle",
            )
        )
    if any(distances_over_training(run) for run in runs):
        found.append(
            (draw_distances, "distance from equivariant weights", "part of the training", BARS[1])
        )
    if any(error_by_angle(known[g.label]) for g in groups):
        found.append(
            (
                draw_errors,
                "equivariance error of the output",
                "rotation of the input (degrees)",
                "relative error",
            )
        )
    return found


# --- a row for each group of runs


def circles_of(found: Sequence[Entry]) -> list[Entry]:
    """Parts of the rotations."""
    return [e for e in found if e.turns and e.part is not None]


def bars_of(found: Sequence[Entry]) -> list[Entry]:
    """Relative distances; where none is known, absolute ones. At most so many."""
    distances = [e for e in found if e.what == "distance to E"]
    return ([e for e in distances if e.unit] or distances)[:MOST_BARS]


def common_limits(known: Known) -> tuple[float, float]:
    """Of the logarithmic axes of all bars: a decade below the smallest, some room for numbers above
    the largest.
    """
    positive = [
        m for found in known.values() for e in bars_of(found) if (m := mean_and_sd(e.values)[0]) > 0
    ] or [1.0]
    return 10 ** math.floor(math.log10(min(positive)) - 1), 40 * max(positive)


def draw_row(
    figure: Any, g: Group, found: Sequence[Entry], colour: str, limits: tuple[float, float]
) -> None:
    """Circles to the left, bars to the right, as far as there is something to draw."""
    seeds = f"  ({len(g.runs)} seeds)" if len(g.runs) > 1 else ""
    figure.suptitle(
        f"{g.label}{seeds}", fontsize=9, x=0.01, ha="left", color=colour, fontweight="bold"
    )
    circles, bars = circles_of(found), bars_of(found)
    parts = [p for p in ("circles" if circles else "", "bars" if bars else "") if p]
    ratios = [max(3, len(circles)) if p == "circles" else 4 for p in parts]
    for axes, part in zip(
        figure.subplots(1, len(parts), width_ratios=ratios, squeeze=False)[0], parts, strict=True
    ):
        if part == "circles":
            draw_circles(
                axes, circles, {e.where: e for e in found if e.what == "reflection"}, colour
            )
        else:
            draw_bars(axes, bars, colour, limits)


def draw_circles(
    axes: "Axes", entries: Sequence[Entry], mirrors: Mapping[str, Entry], colour: str
) -> None:
    """One circle for each place; upwards is the identity. What was never learned is grey."""
    for place, e in enumerate(entries):
        half, (mean, sd) = max(math.pi * (e.part or 0.0), 0.02), mean_and_sd(e.values)
        _arc(axes, place * CIRCLE, math.pi, color=GREY, linewidth=1.0)
        _arc(
            axes,
            place * CIRCLE,
            half,
            color=colour if e.learned else "#8a8a8a",
            linewidth=5,
            solid_capstyle="butt",
        )
        text = (
            f"{mean:.2f}"
            + (f"\n± {sd:.2f}" if sd is not None else "")
            + ("\nrad" if e.unit == "rad" else "")
        )
        axes.text(place * CIRCLE, 0, text, ha="center", va="center", fontsize=7)
        axis = e.what.removeprefix("rotation").replace("_", ", about ")
        mirror = f"\nm {mean_and_sd(mirrors[e.where].values)[0]:.2f}" if e.where in mirrors else ""
        axes.text(
            place * CIRCLE, -1.5, f"{e.where}{axis}{mirror}", ha="center", va="top", fontsize=7
        )
    axes.set_xlim(-1.4, max(5, CIRCLE * len(entries)) - 1.0)
    axes.set_ylim(-2.1, 1.25)
    axes.set_aspect("equal", anchor="W")
    axes.set_axis_off()


def _arc(axes: "Axes", x: float, half: float, **settings: Any) -> None:
    angle = np.linspace(-half, half, 181)
    axes.plot(x + np.sin(angle), np.cos(angle), **settings)


def draw_bars(
    axes: "Axes", entries: Sequence[Entry], colour: str, limits: tuple[float, float]
) -> None:
    """Distances on a logarithmic axis; what is exactly equivariant has no place on one, and is
    named.
    """
    means = [mean_and_sd(e.values)[0] for e in entries]
    low = limits[0]
    names = [re.sub(r"[()]", "", e.where.removeprefix("all layers ")) for e in entries]
    for place, (mean, e) in enumerate(zip(means, entries, strict=True)):
        if mean > 0:
            axes.barh(place, mean - low, left=low, color=colour, alpha=0.35, height=0.6)
            axes.plot(
                [v for v in e.values if v > 0],
                [place] * sum(v > 0 for v in e.values),
                "o",
                color=colour,
                markersize=3.5,
            )
        axes.text(
            max(mean, low) * 1.25,
            place,
            f"{mean:.2g}" if mean > 0 else "0: equivariant",
            va="center",
            fontsize=7,
        )
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 3) - 0.4, -0.6)  # a bar by itself is no thicker than others
    style(axes, "", "", "")
    axes.set_xlabel(BARS[1] if entries[0].unit else "distance to E", fontsize=8)
    axes.tick_params(labelsize=7)


# --- what all have in common


def draw_parts(
    axes: "Axes", groups: Sequence[Group], known: Known, colours: Mapping[str, str]
) -> None:
    """Thin: every place of every run; bold: the mean over places and seeds."""
    for g in groups:
        series = [
            points for run in g.runs for points in parts_over_training(run).values() if points
        ]
        for points in series:
            axes.plot(
                *zip(*points, strict=True),
                color=colours[g.label],
                linewidth=0.7,
                alpha=0.6 if len(series) > 1 else 0.0,
            )
        if series:
            _mean_line(axes, series, colours[g.label], g.label)
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=6.5, frameon=False)


def draw_distances(
    axes: "Axes", groups: Sequence[Group], known: Known, colours: Mapping[str, str]
) -> None:
    """A line for each arm (or for all layers), the mean over seeds; what is exactly equivariant has
    no place on the axis.
    """
    for g in groups:
        arms: dict[
            str, list[list[tuple[float, float]]]
        ] = {}  # of a network in training there is one, without a name
        for run in g.runs:
            for arm, points in distances_over_training(run).items():
                arms.setdefault(arm, []).append([(t, v) for t, v in points if v > 0])
        for name, series in arms.items():
            arm = name.partition(" ")[0]
            label = " ".join(filter(None, (g.label, arm))) + ("" if any(series) else ": 0")
            label = (
                "" if label in axes.get_legend_handles_labels()[1] else label
            )  # one for all groups of motions
            if any(series):
                _mean_line(
                    axes, [s for s in series if s], colours[g.label], label, LINES.get(arm, "-")
                )
            else:
                axes.plot([], [], LINES.get(arm, "-"), color=colours[g.label], label=label)
    axes.set_yscale("log")
    axes.legend(fontsize=6.5, frameon=False)


def _mean_line(
    axes: "Axes",
    series: Sequence[Sequence[tuple[float, float]]],
    colour: str,
    label: str,
    line: str = "-",
) -> None:
    times = np.linspace(max(s[0][0] for s in series), 1, 101)
    values = np.mean([np.interp(times, *zip(*s, strict=True)) for s in series], axis=0)
    axes.plot(times, values, line, color=colour, linewidth=2.0, label=label)


def error_by_angle(found: Sequence[Entry]) -> dict[bool, list[tuple[float, Entry]]]:
    """Before training (True) and after: angle in degrees -> entry, in order."""
    rows: dict[bool, list[tuple[float, Entry]]] = {}
    for e in found:
        if e.angle is not None:
            rows.setdefault(e.before, []).append((e.angle, e))
    return {k: sorted(v, key=lambda pair: pair[0]) for k, v in rows.items()}


def draw_errors(
    axes: "Axes", groups: Sequence[Group], known: Known, colours: Mapping[str, str]
) -> None:
    """The error by angle; dashed: before the training."""
    for g in groups:
        for before, points in error_by_angle(known[g.label]).items():
            angles, means = [a for a, _ in points], [mean_and_sd(e.values)[0] for _, e in points]
            label = g.label + (" before training" if before else "")
            axes.plot(
                angles,
                means,
                "o--" if before else "o-",
                color=colours[g.label],
                markersize=3.5,
                linewidth=1.4,
                label=label,
            )
    axes.set_ylim(0, 1.45 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize=6.5, frameon=False, loc="upper left")
