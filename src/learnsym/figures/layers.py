"""The figures of mode=equivariance: errors layer by layer, sampled kernels, feature maps as the
input turns.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learnsym.figures import style as figures
from learnsym.groups.point_groups import Elements, wrap_angle

FLOOR = 1e-17
"""Exact zeros are drawn here: a logarithm has no place for them."""
MOST = 16
"""So many elements are drawn."""
PAIRS = 3
"""So many pairs of channels are drawn."""


def draw_errors(path: Path, rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """A panel for the features on the group and one for their maximum over elements: layers along
    x, a line for each motion.
    """
    layers = list(next(iter(rows.values())))
    figure = figures.new_figure(max(8.0, 0.9 * len(layers) + 3), 3.6)
    panels = (
        ("error", "features on the group (elements that pair up)"),
        ("error_of_maximum", "maximum over the elements"),
    )
    everything = [
        row[key]
        for key, _ in panels
        for of in rows.values()
        for row in of.values()
        if row[key] is not None
    ]
    lowest = max(FLOOR, min(everything))
    drawn = figure.subplots(1, 2, sharey=True)
    for axes, (key, title) in zip(drawn, panels, strict=True):
        for colour, (motion, of) in zip(figures.COLOURS * 3, rows.items(), strict=False):
            values = [
                math.nan if of[name][key] is None else max(FLOOR, of[name][key]) for name in layers
            ]
            axes.plot(
                range(len(layers)),
                values,
                "o-",
                color=colour,
                markersize=3.5,
                linewidth=1.4,
                label=_degrees(motion),
            )
        axes.set_yscale("log")
        axes.set_ylim(min(0.3 * lowest, 1e-3), 10)
        axes.grid(axis="y", alpha=0.25, linewidth=0.6)
        axes.set_xticks(range(len(layers)), layers, rotation=35, ha="right", rotation_mode="anchor")
        figures.style(axes, title, "", "")
    drawn[0].set_ylabel("relative equivariance error", fontsize=9)
    drawn[1].legend(
        fontsize=7,
        frameon=False,
        title="input moved by",
        title_fontsize=7,
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
    figures.save(figure, path)


def draw_kernels(path: Path, kernel: Tensor, elements: Elements, layer: str) -> None:
    """Kernels [C', n', C, n, k, k] as small images: a column for each output element, a row for
    each of some pairs of channels; of the input elements the first.
    """
    count = min(MOST, kernel.shape[1])
    outs = min(PAIRS, kernel.shape[0])
    images = kernel[:outs, :count, 0, 0]  # [rows, n', k, k]
    side = kernel.shape[-1]
    radius = (torch.arange(side) - side // 2).square()
    images = images.masked_fill((radius + radius[:, None]) > (side // 2) ** 2, math.nan)
    figure = figures.new_figure(max(4.5, 0.85 * count + 0.8), 0.95 * outs + 0.7)
    inputs = " (first input element)" if kernel.shape[3] > 1 else ""
    figure.suptitle(
        f"kernels of {layer} at the elements of its output{inputs}", fontsize=10, x=0.01, ha="left"
    )
    for row, (grid, kernels) in enumerate(
        zip(figure.subplots(outs, count, squeeze=False), images, strict=True)
    ):
        limit = float(kernels.nan_to_num().abs().max()) or 1.0
        for column, (axes, image) in enumerate(zip(grid, kernels, strict=True)):
            _image(axes, image, cmap="RdBu_r", vmin=-limit, vmax=limit)
            if row == 0:
                axes.set_title(element_name(elements, column), fontsize=7)
            if column == 0:
                axes.set_ylabel(f"channel {row + 1}", fontsize=7)
    figures.save(figure, path)


def draw_features(
    path: Path,
    angles: Sequence[float],
    pictures: Tensor,
    features: Tensor,
    elements: Elements,
    layer: str,
) -> None:
    """One channel as the input turns: a row for each angle, with the picture [A, C, H, W] and its
    features [A, n, H', W'].
    """
    count = min(MOST, features.shape[1])
    limit = float(features.abs().max()) or 1.0
    figure = figures.new_figure(max(4.5, 0.8 * (count + 1) + 0.6), 0.8 * len(angles) + 0.7)
    figure.suptitle(
        f"a channel of {layer} as the input turns (columns: elements)",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    for row, grid in enumerate(figure.subplots(len(angles), count + 1, squeeze=False)):
        picture = pictures[row]
        _image(
            grid[0],
            picture[0] if len(picture) == 1 else picture[:3].permute(1, 2, 0).clamp(0, 1),
            cmap="gray",
            vmin=0,
            vmax=1,
        )
        grid[0].set_ylabel(f"{angles[row]:g}°", fontsize=8, rotation=0, ha="right", va="center")
        for column, axes in enumerate(grid[1:]):
            _image(axes, features[row, column], cmap="RdBu_r", vmin=-limit, vmax=limit)
            if row == 0:
                axes.set_title(element_name(elements, column), fontsize=7)
        if row == 0:
            grid[0].set_title("input", fontsize=7)
    figures.save(figure, path)


def element_name(elements: Elements, index: int) -> str:
    """22.5° for a rotation, 22.5° m for one after a mirror image."""
    degrees = math.degrees(float(wrap_angle(elements.angle.detach())[index]))
    return f"{round(degrees, 1) + 0.0:g}°" + (" m" if float(elements.sign[index]) < 0 else "")


def _image(axes: Any, image: Tensor, **settings: Any) -> None:
    axes.imshow(image.numpy(), **settings)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)


def _degrees(motion: str) -> str:
    """90deg -> 90°."""
    return motion.replace("deg", "°").replace("_", " ")
