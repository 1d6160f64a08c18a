"""The figure of a network whose layers learn their part of the group: arcs on the circle, fractions
over training.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learnsym.results.symmetry import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import nn

    from learnsym.distributions.group_sampler import GroupSampler

GREY = "#c9c9c9"
INNER = 0.66
"""Radius of the ring of mirror images; the rotations' is 1."""
PER_ROW = 9
"""Circles beside each other."""
KINDS = {"rotation": "part of the rotations", "reflection": "part of the mirror images"}


def layers_that_learn(net: "nn.Module") -> "dict[str, GroupSampler]":
    """The element sets of a network by the names of their layers, in order; empty where none of
    them learns.
    """
    from learnsym.distributions.group_sampler import GroupSampler

    found = {
        name: m
        for name, m in net.named_modules()
        if isinstance(m, GroupSampler) and not m.stabiliser.trivial
    }
    return found if any(m.learned for m in found.values()) else {}


def draw_layers(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    net: "nn.Module",
    response: Mapping[str, Any] | None,
) -> None:
    """Above the learned part of the group of every layer, below how it came about, and the response
    to a turned input.
    """
    from learnsym.figures.response import draw_response
    from learnsym.figures.style import new_figure, save

    sets = layers_that_learn(net)
    mirror = any(m.stabiliser.has_mirror for m in sets.values())
    panels = [
        *(["rotation"] if rows else []),
        *(["reflection"] if rows and mirror else []),
        *(["response"] if response else []),
    ]
    per_row = min(len(sets), PER_ROW)
    circle_rows = math.ceil(len(sets) / per_row)
    width = max(1.35 * per_row, 3.6 * len(panels), 5.0)
    figure = new_figure(width, 0.35 + 1.65 * circle_rows + (2.9 if panels else 0.0))
    heights = [0.35 + 1.65 * circle_rows, 2.9]
    upper, lower = figure.subfigures(2, 1, height_ratios=heights) if panels else (figure, None)
    draw_circles(upper, sets, per_row)
    if lower is not None:
        for axes, name in zip(
            lower.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            if name == "response":
                draw_response(axes, response)
            else:
                draw_fractions(axes, rows, list(sets), name)
    save(figure, path)


# --- circles


def draw_circles(figure: Any, sets: "Mapping[str, GroupSampler]", per_row: int) -> None:
    """One small circle for each layer: its arc of rotations, or its elements, and on an inner ring
    its mirror images.
    """
    finite, mirror = (
        any(test(m.stabiliser) for m in sets.values())
        for test in (lambda h: h.order, lambda h: h.has_mirror)
    )
    remarks = [
        *(
            ["inner ring: mirror images" + ("" if finite else ", present with probability m")]
            if mirror
            else []
        ),
        *(["hollow: left out in evaluation"] if finite else []),
    ]
    title = "learned part of the group" + (f" ({'; '.join(remarks)})" if remarks else "")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    rows = math.ceil(len(sets) / per_row)
    grid = figure.subplots(rows, per_row, squeeze=False).flatten()
    for axes in grid:
        axes.set_axis_off()
    for axes, (name, elements) in zip(grid, sets.items(), strict=False):
        draw_circle(axes, elements)
        axes.set_title(short(name), fontsize=8, pad=2)


def draw_circle(axes: "Axes", elements: "GroupSampler") -> None:
    """The elements of one layer; upwards is the identity, angles grow clockwise, as on a screen
    where y runs down.
    """
    from learnsym.figures.style import COLOURS

    fractions = {r.generator: r.value for r in elements.ranges()}
    colours = (COLOURS[0], COLOURS[1]) if elements.learned else ("#8a8a8a", "#8a8a8a")
    rings = [1.0, INNER] if elements.stabiliser.has_mirror else [1.0]
    for radius in rings:
        _arc(axes, radius, 1.0, color=GREY, linewidth=1.0)
    axes.plot([0, 0], [1.0, 1.14], color="black", linewidth=0.8)
    if elements.stabiliser.order is None:
        parts = [1.0, fractions.get("reflection", 0.0)]
        for radius, colour, present in zip(rings, colours, parts, strict=False):
            _arc(
                axes,
                radius,
                fractions["rotation"],
                color=colour,
                linewidth=5,
                alpha=max(0.06, present),
                solid_capstyle="butt",
            )
        label = f"{100 * fractions['rotation']:.0f} %"
    else:
        label = _points(axes, elements, colours)
    second = (
        f"\nm {fractions['reflection']:.2f}"
        if elements.stabiliser.has_mirror and elements.stabiliser.order is None
        else ""
    )
    axes.text(0, 0, label + second, ha="center", va="center", fontsize=7)
    axes.set_xlim(-1.25, 1.25)
    axes.set_ylim(-1.25, 1.25)
    axes.set_aspect("equal")


def _arc(axes: "Axes", radius: float, fraction: float, **settings: Any) -> None:
    """The angles of [-pi fraction, pi fraction]."""
    half = max(math.pi * fraction, 0.02)  # the identity alone is seen as well
    angle = np.linspace(-half, half, 181)
    axes.plot(radius * np.sin(angle), radius * np.cos(angle), **settings)


def _points(axes: "Axes", elements: "GroupSampler", colours: Sequence[str]) -> str:
    """The elements of a finite group, as opaque as they are probable, hollow where evaluation
    leaves them out. How many stay.
    """
    whole = elements.stabiliser.elements()
    keep = [1.0] if elements.logits is not None else [1.0] * len(whole)
    keep += [] if elements.logits is None else elements.logits.detach().cpu().sigmoid().tolist()
    for angle, sign, probability in zip(
        whole.angle.tolist(), whole.sign.tolist(), keep, strict=True
    ):
        radius, colour = (1.0, colours[0]) if sign > 0 else (INNER, colours[1])
        place = [radius * math.sin(angle)], [radius * math.cos(angle)]
        there = probability >= 0.5
        axes.plot(
            *place,
            "o",
            markersize=5.5,
            markerfacecolor="white",
            markeredgecolor=colour,
            markeredgewidth=0.8,
        )
        axes.plot(
            *place,
            "o",
            markersize=5.5,
            color=colour,
            alpha=probability if there else 0.5 * probability,
            markeredgewidth=0,
        )
    return f"{sum(p >= 0.5 for p in keep)} of {len(keep)}"


# --- over training


def draw_fractions(
    axes: "Axes", rows: Sequence[Mapping[str, Any]], layers: Sequence[str], kind: str
) -> None:
    """The fraction of every layer over training; the lifting, which is whole, dotted."""
    from learnsym.figures.style import COLOURS, style

    epochs = [row["epoch"] for row in rows]
    for place, layer in enumerate(layers):
        alone = f"learned_{kind}_fraction"  # as it is called where nothing else learns
        values = [row.get(f"{alone}/{layer}", row.get(alone, math.nan)) for row in rows]
        whole = all(v == 1.0 for v in values)
        looks = (
            {"color": "grey", "linestyle": ":"}
            if whole and place == 0
            else {"color": COLOURS[(place - 1) % len(COLOURS)]}
        )
        axes.plot(epochs, values, linewidth=1.4, label=short(layer), **looks)
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=6.5, frameon=False, loc="best", ncols=1 + len(layers) // 7)
    style(axes, f"{KINDS[kind]} over training", "epoch", "fraction")


# --- sweeps


def final_fractions(
    runs: Sequence[Mapping[str, Any]], kind: str = "rotation"
) -> dict[str, list[float]]:
    """Of the layers of some runs the fraction at the end, one for each run; empty where no layer
    learns.
    """
    found: dict[str, list[float]] = {}
    learns = False
    for run in runs:
        for layer, extents in run["result"].get("learned_symmetry", {}).items():
            extent = extents.get(kind)
            if extent and extent["unit"] == "fraction":
                learns = learns or extent["learned"]
                found.setdefault(layer, []).append(extent["value"])
    return found if learns and len(found) > 1 else {}


def draw_final_fractions(
    axes: "Axes", groups: Mapping[str, Mapping[str, Sequence[float]]], colours: Mapping[str, str]
) -> None:
    """The fraction of every layer at the end: a line for each group of runs through the means, a
    dot for each run.

    Args:
        axes: where.
        groups: label -> layer -> values.
        colours: of the labels, as in the other panels of the figure.
    """
    from learnsym.figures.style import style

    layers = list(dict.fromkeys(layer for values in groups.values() for layer in values))
    for label, values in groups.items():
        colour = colours[label]
        places = [layers.index(layer) for layer in values]
        axes.plot(
            places,
            [sum(v) / len(v) for v in values.values()],
            color=colour,
            linewidth=1.4,
            label=label,
        )
        for place, found in zip(places, values.values(), strict=True):
            axes.plot([place] * len(found), found, "o", color=colour, markersize=3)
    axes.set_xticks(
        range(len(layers)),
        [short(layer) for layer in layers],
        rotation=30,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=7, frameon=False)
    style(axes, KINDS["rotation"] + " at the end", "", "fraction")
