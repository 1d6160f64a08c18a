"""Draw the figures of one run: what it learned, how, and what the network does with it."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learnsym.figures import style
from learnsym.figures.learned_symmetry import draw_learned_layers, layers_that_learn
from learnsym.figures.style import Axes
from learnsym.figures.width import Rows, draw_bands, draw_box, draw_response, draw_widths
from learnsym.run.directory import RunDirectory
from learnsym.schema import PlainDict

if TYPE_CHECKING:  # what ends a sweep draws figures without torch
    from torch import nn

    from learnsym.data.base import Data

_KEY = "distance_to_equivariance"
_RELATIVE = f"relative_{_KEY}"
_ROUNDING = 1e-12
"""Below this fraction of the largest distance there is nothing but rounding."""


def draw_run(
    directory: RunDirectory, net: "nn.Module", data: "Data", curves: PlainDict
) -> list[Path]:
    """Draw what was learned and measured into figures/; return paths relative to the directory."""
    rows = directory.rows()
    learned, distance = (directory.figures / f"{n}.png" for n in ("learned_symmetry", _KEY))
    drawn = [learned] if _draw_learned_symmetry(learned, rows, net, data, curves) else []
    drawn += [distance] if _draw_distance(distance, [row for row in rows if _KEY in row]) else []
    return [path.relative_to(directory.path) for path in drawn]


def _draw_learned_symmetry(
    path: Path, rows: Rows, net: "nn.Module", data: "Data", curves: PlainDict
) -> bool:
    """Draw what was learned over training and at the end; return False if there is nothing."""
    response = curves.get("angle_response")
    if layers_that_learn(net):
        draw_learned_layers(path, rows, net, response)
        return True
    panels = _width_panels(rows, data.info.true_widths.get("rotation"))
    panels += [partial(draw_response, curve=response)] if response else []
    if not panels:
        return False
    augments = hasattr(net, "augment") and data.kind == "images"
    figure = style.new_figure(3.4 * max(len(panels), 2), 5.2 if augments else 2.9)
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.15, 1]) if augments else [figure]
    style.draw_panels(halves[0], panels)
    if augments:
        _draw_augmented_images(halves[1], net, data)
    style.save(figure, path)
    return True


def _draw_augmented_images(figure: style.Figure, net: Any, data: "Data") -> None:
    """Draw two test images, each beside samples of the distribution that `net` learned."""
    import torch

    device = next(net.parameters()).device
    inputs = data.splits["test"].inputs[:2].to(device)
    images = inputs.float() / (255.0 if inputs.dtype == torch.uint8 else 1.0)
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        samples = net.augment(images.repeat_interleave(7, dim=0)).unflatten(0, (len(images), 7))
    figure.suptitle("test images and samples of the learned augmentation", **style.HEADING)
    panels = figure.subplots(len(images), 8, squeeze=False)
    for row, image, copies in zip(panels, images, samples, strict=True):
        for axes, shown in zip(row, [image, *copies], strict=True):
            style.draw_image(axes, shown.cpu())
        row[0].set_xlabel("original", fontsize=8)


def _width_panels(rows: Rows, truth: float | None) -> list[style.Panel]:
    """Return functions that draw the learned rotation, and the widths that have moved."""
    learned = [key for key in (rows[-1] if rows else {}) if key.startswith("learned_")]
    rotation = next((k for k in learned if k.startswith("learned_rotation_width_rad")), None)
    moved = [k for k in learned if k != rotation and rows[-1][k] != rows[0][k]]
    panels: list[style.Panel] = []
    if rotation:
        panels.append(partial(draw_bands, runs={"learned": [rows]}, key=rotation, truth=truth))
        panels.append(partial(draw_box, width=rows[-1][rotation], truth=truth))
    if moved:
        title = "other generators" if rotation else "learned widths over training"
        panels.append(partial(draw_widths, rows=rows, keys=moved, title=title))
    return panels


def _draw_distance(path: Path, rows: Rows) -> bool:
    """Draw distances to equivariant weights over training; return False if there are none."""
    if not rows:
        return False
    is_relative = _RELATIVE in rows[0]
    figure = style.new_figure(9.6 if is_relative else 6.4, 3.4)
    panels = [_draw_by_layer, _draw_relative] if is_relative else [_draw_by_layer]
    ratios = [2.1, 1][: len(panels)]
    style.draw_panels(figure, [partial(draw, rows=rows) for draw in panels], width_ratios=ratios)
    style.save(figure, path)
    return True


def _draw_relative(axes: Axes, rows: Rows) -> None:
    _draw_line(axes, rows, _RELATIVE, color="black", linewidth=1.8)
    limits = 0, 1.1 * max(row[_RELATIVE] for row in rows) or 1.0
    y = "distance / norm of all layers"
    style.finish(axes, "relative distance", "epoch", y, ylim=limits)


def _draw_by_layer(axes: Axes, rows: Rows) -> None:
    """Draw a line for each layer, from dark to light, and the root of their squares in black.

    A logarithmic axis has no place for layers that are equivariant up to rounding: the legend
    names them.
    """
    from matplotlib import colormaps

    floor = _ROUNDING * max(row[_KEY] for row in rows)
    layers = {key.partition("/")[2]: key for key in rows[-1] if key.startswith(f"{_KEY}/")}
    away = [name for name, key in layers.items() if max(row[key] for row in rows) > floor]
    floor = floor if away else -1.0
    for name, colour in zip(
        away, colormaps["viridis"](np.linspace(0, 0.9, len(away))), strict=True
    ):
        _draw_line(axes, rows, layers[name], floor, color=colour, linewidth=1.3, label=name)
    _draw_line(axes, rows, _KEY, floor, color="black", linewidth=1.8, label="all layers")
    for name in layers:
        if name not in away:
            axes.plot([], [], color="none", label=f"{name}: equivariant")
    if away:
        axes.set_yscale("log")
        axes.tick_params(which="minor", labelsize=7)
    beside = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "ncols": 1 + (len(layers) > 12)}
    style.finish(axes, "distance to equivariant layers", "epoch", "distance", style.LEGEND | beside)


def _draw_line(axes: Axes, rows: Rows, key: str, floor: float = -1.0, **settings: Any) -> None:
    """Draw a number where it is above `floor`; the epochs are marked where they are few."""
    points = [(row["epoch"], row[key]) for row in rows if row[key] > floor]
    marker = "o" if len(rows) < 10 else ""
    axes.plot(*np.reshape(points, (-1, 2)).T, marker=marker, markersize=3, **settings)
