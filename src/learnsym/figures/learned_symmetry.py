"""Draw what layers learned of a group: arcs on the circle, fractions over training."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnsym.figures import style
from learnsym.figures.style import COLOURS, Axes, Look
from learnsym.figures.width import Rows, draw_response
from learnsym.results.collect import Run
from learnsym.results.symmetry import short_name
from learnsym.schema import PlainDict

if TYPE_CHECKING:
    from torch import nn

    from learnsym.distributions.group_sampler import GroupSampler

INNER = 0.66
"""Radius of the ring of mirror images; that of the rotations is 1."""
_PER_ROW = 9
_TITLES = {"rotation": "part of the rotations", "reflection": "part of the mirror images"}


def layers_that_learn(net: "nn.Module") -> "dict[str, GroupSampler]":
    """Return the samplers of a network by the names of their layers; empty if none learns."""
    from learnsym.distributions.group_sampler import GroupSampler

    samplers = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, GroupSampler) and not module.stabiliser.trivial
    }
    return samplers if any(m.learned for m in samplers.values()) else {}


def draw_learned_layers(
    path: Path, rows: Rows, net: "nn.Module", response: PlainDict | None
) -> None:
    """Draw what every layer learned, and below how it came about and the response to rotations."""
    samplers = layers_that_learn(net)
    has_mirror = any(m.stabiliser.has_mirror for m in samplers.values())
    panels: list[style.Panel] = [
        partial(draw_fractions, rows=rows, layers=list(samplers), generator=generator)
        for generator in (["rotation", "reflection"] if has_mirror else ["rotation"])
        if rows
    ]
    panels += [partial(draw_response, curve=response)] if response else []
    per_row = min(len(samplers), _PER_ROW)
    heights = [0.35 + 1.65 * math.ceil(len(samplers) / per_row), 2.9 if panels else 0.0]
    figure = style.new_figure(max(1.35 * per_row, 3.6 * len(panels), 5.0), sum(heights))
    halves: Any = figure.subfigures(2, 1, height_ratios=heights) if panels else [figure]
    _draw_circles(halves[0], samplers, per_row, has_mirror)
    if panels:
        style.draw_panels(halves[1], panels)
    style.save(figure, path)


def _draw_circles(
    figure: style.Figure, samplers: "Mapping[str, GroupSampler]", per_row: int, has_mirror: bool
) -> None:
    """Draw one small circle for each layer, and say what its marks mean."""
    finite = any(m.stabiliser.order for m in samplers.values())
    remarks = ["inner ring: mirror images"] if has_mirror else []
    if remarks and not finite:
        remarks[0] += ", present with probability m"
    remarks += ["hollow: left out in evaluation"] if finite else []
    title = "learned part of the group" + (f" ({'; '.join(remarks)})" if remarks else "")
    figure.suptitle(title, **style.HEADING)
    grid = figure.subplots(math.ceil(len(samplers) / per_row), per_row, squeeze=False).flatten()
    for axes in grid:
        axes.set_axis_off()
    for axes, (name, sampler) in zip(grid, samplers.items(), strict=False):
        draw_circle(axes, sampler)
        axes.set_title(short_name(name), fontsize=8, pad=2)


def draw_circle(axes: Axes, sampler: "GroupSampler") -> None:
    """Draw one layer: its arc of rotations, or its elements; mirror images on an inner ring.

    Upwards is the identity, angles grow clockwise, as on a screen where y runs down.
    """
    colours = COLOURS[:2] if sampler.learned else (style.FIXED, style.FIXED)
    mirror = sampler.stabiliser.has_mirror
    for radius in (1.0, INNER) if mirror else (1.0,):
        style.draw_arc(axes, math.pi, radius, color=style.GREY, linewidth=1.0)
    axes.plot([0, 0], [1.0, 1.14], color="black", linewidth=0.8)
    if sampler.stabiliser.order is None:
        extents = {r.generator: r.value for r in sampler.ranges()}
        fraction, probability = extents["rotation"], extents.get("reflection", 0.0)
        half = max(math.pi * fraction, 0.02)  # the identity alone is seen as well
        style.draw_arc(axes, half, color=colours[0], alpha=1.0, **style.THICK)
        if mirror:
            style.draw_arc(
                axes, half, INNER, color=colours[1], alpha=max(0.06, probability), **style.THICK
            )
        label = f"{100 * fraction:.0f} %" + (f"\nm {probability:.2f}" if mirror else "")
    else:
        label = _draw_elements(axes, sampler, colours)
    axes.text(0, 0, label, ha="center", va="center", fontsize=7)
    axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")


def _draw_elements(axes: Axes, sampler: "GroupSampler", colours: Sequence[str]) -> str:
    """Draw the elements of a finite group as opaque as they are probable; return how many stay.

    Those that evaluation leaves out are hollow.
    """
    elements = sampler.stabiliser.elements()
    angles, signs = elements.angle.tolist(), elements.sign.tolist()
    probabilities = [1.0] * len(angles)
    if sampler.logits is not None:
        probabilities[1:] = sampler.logits.detach().cpu().sigmoid().tolist()
    for angle, sign, probability in zip(angles, signs, probabilities, strict=True):
        radius, colour = (1.0, colours[0]) if sign > 0 else (INNER, colours[1])
        point = [radius * math.sin(angle)], [radius * math.cos(angle)]
        edge: Look = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 0.8}
        axes.plot(*point, "o", markersize=5.5, **edge)
        alpha = probability if probability >= 0.5 else 0.5 * probability
        axes.plot(*point, "o", markersize=5.5, color=colour, alpha=alpha, markeredgewidth=0)
    return f"{sum(p >= 0.5 for p in probabilities)} of {len(probabilities)}"


def draw_fractions(axes: Axes, rows: Rows, layers: Sequence[str], generator: str) -> None:
    """Draw the fraction of every layer over training; the lifting, which is whole, dotted."""
    epochs = [row["epoch"] for row in rows]
    alone = f"learned_{generator}_fraction"  # its name where nothing else learns
    for index, layer in enumerate(layers):
        series = f"{alone}/{layer}"
        values: list[Any] = [row.get(series, row.get(alone, math.nan)) for row in rows]
        look: Look = {"color": COLOURS[(index - 1) % len(COLOURS)]}
        if index == 0 and all(v == 1.0 for v in values):
            look = {"color": "grey", "linestyle": ":"}
        axes.plot(epochs, values, linewidth=1.4, label=short_name(layer), **look)
    title = f"{_TITLES[generator]} over training"
    legend = style.LEGEND | {"fontsize": 6.5, "ncols": 1 + len(layers) // 7}
    style.finish(axes, title, "epoch", "fraction", legend, ylim=(-0.03, 1.03))


def final_fractions(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Return the fraction of the rotations at the end by layer; empty if no layer learns."""
    fractions: dict[str, list[float]] = {}
    learns = False
    for run in runs:
        for layer, extents in run.section("learned_symmetry").items():
            extent = extents.get("rotation")
            if extent and extent["unit"] == "fraction":
                learns = learns or extent["learned"]
                fractions.setdefault(layer, []).append(extent["value"])
    return fractions if learns and len(fractions) > 1 else {}


def draw_final_fractions(
    axes: Axes, groups: Mapping[str, Mapping[str, Sequence[float]]], colours: Mapping[str, str]
) -> None:
    """Draw the fractions at the end, label -> layer -> values, in the colours of the labels."""
    layers = list(dict.fromkeys(layer for values in groups.values() for layer in values))
    for label, values in groups.items():
        x = [layers.index(layer) for layer in values]
        style.draw_means(axes, x, list(values.values()), colours[label], label)
    names = [short_name(layer) for layer in layers]
    axes.set_xticks(range(len(layers)), names, rotation=30, ha="right", rotation_mode="anchor")
    style.finish(axes, f"{_TITLES['rotation']} at the end", "", "fraction", ylim=(-0.03, 1.03))
