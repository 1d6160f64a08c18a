"""The figure of one run: what it learned, how that came about, and what the network does with
it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnsym.figures.response import draw_response, draw_strip
from learnsym.figures.style import new_figure, save
from learnsym.figures.width import draw_bands, draw_box, draw_others
from learnsym.run.directory import RunDirectory

if TYPE_CHECKING:  # what ends a sweep draws figures without torch
    from torch import nn

    from learnsym.data.base import Data


def draw_run(
    directory: RunDirectory, net: "nn.Module", data: "Data", curves: Mapping[str, Any]
) -> list[Path]:
    """Draw what there is to draw of a run into figures/: paths relative to the run's directory,
    none where nothing was learned or measured.
    """
    from learnsym.figures.distance import draw_distances

    path = directory.figures / "distance_to_equivariance.png"
    measured = draw_distances(path, directory.rows())
    return draw_learned(directory, net, data, curves) + (
        [path.relative_to(directory.path)] if measured else []
    )


def draw_learned(
    directory: RunDirectory, net: "nn.Module", data: "Data", curves: Mapping[str, Any]
) -> list[Path]:
    """What a run learned, how that came about, and what the network does with it:
    figures/learned_symmetry.png.
    """
    from learnsym.figures.learned_symmetry import draw_layers, layers_that_learn

    rows, path = directory.rows(), directory.figures / "learned_symmetry.png"
    response = curves.get("angle_response")
    if layers_that_learn(net):
        draw_layers(path, rows, net, response)
        return [path.relative_to(directory.path)]
    rotation = (
        next((k for k in rows[-1] if k.startswith("learned_rotation_width_rad")), None)
        if rows
        else None
    )
    learned = [k for k in rows[-1] if k.startswith("learned_")] if rows else []
    others = [
        k for k in learned if k != rotation and rows[-1][k] != rows[0][k]
    ]  # those that are learned: they have moved
    panels = [
        name
        for name, there in (
            ("rotation", rotation),
            ("box", rotation),
            ("others", others),
            ("response", response),
        )
        if there
    ]
    if not panels:
        return []
    augments = hasattr(net, "augment") and data.kind == "images"
    figure = new_figure(3.4 * max(len(panels), 2), 5.2 if augments else 2.9)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.15, 1]) if augments else (figure, None)
    truth = data.info.true_widths.get("rotation")
    for axes, name in zip(upper.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        if name == "rotation":
            draw_bands(axes, {"learned": [rows]}, rotation, truth)
        elif name == "box":
            draw_box(axes, rows[-1][rotation], truth)
        elif name == "others":
            draw_others(
                axes,
                rows,
                others,
                "other generators" if rotation else "learned widths over training",
            )
        else:
            draw_response(axes, response)
    if lower is not None:
        draw_strip(lower, net, data)
    save(figure, path)
    return [path.relative_to(directory.path)]
