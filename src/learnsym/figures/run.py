"""Draw the figures of one run: what it learned, how, and what the network does with it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnsym.figures.distance import draw_distance_to_equivariance
from learnsym.figures.learned_symmetry import draw_learned_layers, layers_that_learn
from learnsym.figures.response import draw_augmented_images, draw_response
from learnsym.figures.style import new_figure, save
from learnsym.figures.width import Rows, draw_bands, draw_box, draw_widths
from learnsym.run.directory import RunDirectory
from learnsym.schema import PlainDict

if TYPE_CHECKING:  # what ends a sweep draws figures without torch
    from matplotlib.axes import Axes
    from torch import nn

    from learnsym.data.base import Data

Curves = PlainDict


def draw_run(directory: RunDirectory, net: "nn.Module", data: "Data", curves: Curves) -> list[Path]:
    """Draw what was learned and measured into figures/; return paths relative to the directory."""
    rows = directory.rows()
    learned = directory.figures / "learned_symmetry.png"
    distance = directory.figures / "distance_to_equivariance.png"
    drawn = [learned] if draw_learned_symmetry(learned, rows, net, data, curves) else []
    drawn += [distance] if draw_distance_to_equivariance(distance, rows) else []
    return [path.relative_to(directory.path) for path in drawn]


def draw_learned_symmetry(
    path: Path, rows: Rows, net: "nn.Module", data: "Data", curves: Curves
) -> bool:
    """Draw what was learned over training and at the end; return False if there is nothing."""
    response = curves.get("angle_response")
    if layers_that_learn(net):
        draw_learned_layers(path, rows, net, response)
        return True
    panels = _panels(rows, data.info.true_widths.get("rotation"))
    if response:
        panels.append(lambda axes: draw_response(axes, response))
    if not panels:
        return False
    augments = hasattr(net, "augment") and data.kind == "images"
    figure = new_figure(3.4 * max(len(panels), 2), 5.2 if augments else 2.9)
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.15, 1]) if augments else [figure]
    if augments:
        draw_augmented_images(halves[1], net, data)
    for axes, draw in zip(
        halves[0].subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        draw(axes)
    save(figure, path)
    return True


def _panels(rows: Rows, truth: float | None) -> "list[Callable[[Axes], None]]":
    """Return functions that draw the learned rotation, and the widths that have moved."""
    learned = [key for key in (rows[-1] if rows else {}) if key.startswith("learned_")]
    rotation = next((k for k in learned if k.startswith("learned_rotation_width_rad")), None)
    moved = [k for k in learned if k != rotation and rows[-1][k] != rows[0][k]]
    panels: list[Callable[[Axes], None]] = []
    if rotation:
        panels.append(lambda axes: draw_bands(axes, {"learned": [rows]}, rotation, truth))
        panels.append(lambda axes: draw_box(axes, rows[-1][rotation], truth))
    if moved:
        title = "other generators" if rotation else "learned widths over training"
        panels.append(lambda axes: draw_widths(axes, rows, moved, title))
    return panels
