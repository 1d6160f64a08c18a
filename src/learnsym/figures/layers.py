"""Draw mode=equivariance: errors by layer, sampled kernels, features of rotated inputs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from learnsym.figures import style
from learnsym.figures.style import Axes, Look
from learnsym.groups.point_groups import Elements, wrap_angle
from learnsym.schema import PlainMapping

_FLOOR = 1e-17
"""Exact zeros are drawn here: a logarithm has no place for them."""
_MAX_ELEMENTS = 16
_MAX_CHANNELS = 3
_BESIDE = style.LEGEND | {"title": "input moved by", "title_fontsize": 7, "bbox_to_anchor": (1, 1)}
_PANELS = {
    "error": ("features on the group (elements that pair up)", "relative equivariance error", {}),
    "error_of_maximum": ("maximum over the elements", "", _BESIDE | {"loc": "upper left"}),
}


def draw_layer_errors(path: Path, rows: Mapping[str, Mapping[str, PlainMapping]]) -> None:
    """Draw a panel of features on the group and one of their maximum, a line for each transform.

    The rows are transform -> layer -> error and error_of_maximum.
    """
    layers = list(next(iter(rows.values())))
    errors = [error[key] for key in _PANELS for of in rows.values() for error in of.values()]
    lowest = max(_FLOOR, min(error for error in errors if error is not None))
    figure = style.new_figure(max(8.0, 0.9 * len(layers) + 3), 3.6)
    panels = zip(figure.subplots(1, 2, sharey=True), _PANELS.items(), strict=True)
    for axes, (key, (title, y, legend)) in panels:
        for colour, (transform, of) in zip(style.colours(len(rows)), rows.items(), strict=True):
            values = [math.nan if (v := of[x][key]) is None else max(_FLOOR, v) for x in layers]
            look = {"color": colour, "markersize": 3.5, "linewidth": 1.4}
            label = transform.replace("deg", "°").replace("_", " ")
            axes.plot(range(len(layers)), values, "o-", label=label, **look)
        axes.grid(axis="y", alpha=0.25, linewidth=0.6)
        axes.set_xticks(range(len(layers)), layers, rotation=35, ha="right", rotation_mode="anchor")
        limits: Look = {"yscale": "log", "ylim": (min(0.3 * lowest, 1e-3), 10)}
        style.finish(axes, title, "", y, legend, **limits)
    style.save(figure, path)


def draw_kernels(path: Path, kernel: Tensor, elements: Elements, layer: str) -> None:
    """Draw kernels [C', n', C, n, k, k] of the first input channel and element as small images.

    There is a column for each output element, a row for each channel.
    """
    images = kernel[:_MAX_CHANNELS, :_MAX_ELEMENTS, 0, 0]  # [rows, n', k, k]
    side = kernel.shape[-1]
    radius = (torch.arange(side) - side // 2).square()
    images = images.masked_fill((radius + radius[:, None]) > (side // 2) ** 2, math.nan)
    rows, count = images.shape[:2]
    figure = style.new_figure(max(4.5, 0.85 * count + 0.8), 0.95 * rows + 0.7)
    inputs = " (first input element)" if kernel.shape[3] > 1 else ""
    figure.suptitle(f"kernels of {layer} at the elements of its output{inputs}", **style.HEADING)
    grid = figure.subplots(rows, count, squeeze=False)
    for row, (panels, kernels) in enumerate(zip(grid, images, strict=True)):
        _draw_signed(panels, kernels, float(kernels.nan_to_num().abs().max()) or 1.0)
        panels[0].set_ylabel(f"channel {row + 1}", fontsize=7)
    _name_elements(grid[0], elements)
    style.save(figure, path)


def draw_features(
    path: Path,
    angles: Sequence[float],
    pictures: Tensor,
    features: Tensor,
    elements: Elements,
    layer: str,
) -> None:
    """Draw one channel [A, n, H', W'] as the input [A, C, H, W] rotates: a row for each angle."""
    count = min(_MAX_ELEMENTS, features.shape[1])
    limit = float(features.abs().max()) or 1.0
    figure = style.new_figure(max(4.5, 0.8 * (count + 1) + 0.6), 0.8 * len(angles) + 0.7)
    figure.suptitle(f"a channel of {layer} as the input turns (columns: elements)", **style.HEADING)
    grid = figure.subplots(len(angles), count + 1, squeeze=False)
    for angle, panels, picture, maps in zip(angles, grid, pictures, features, strict=True):
        style.draw_image(panels[0], picture)
        panels[0].set_ylabel(f"{angle:g}°", fontsize=8, rotation=0, ha="right", va="center")
        _draw_signed(panels[1:], maps, limit)
    grid[0, 0].set_title("input", fontsize=7)
    _name_elements(grid[0, 1:], elements)
    style.save(figure, path)


def _name_elements(panels: Iterable[Axes], elements: Elements) -> None:
    """Name columns: 22.5° for a rotation, 22.5° m for one after a mirror image."""
    degrees = torch.rad2deg(wrap_angle(elements.angle.detach()).double()).tolist()
    for axes, angle, sign in zip(panels, degrees, elements.sign.tolist(), strict=False):
        axes.set_title(f"{round(angle, 1) + 0.0:g}°" + (" m" if sign < 0 else ""), fontsize=7)


def _draw_signed(panels: Iterable[Axes], images: Tensor, limit: float) -> None:
    for axes, image in zip(panels, images, strict=False):
        style.draw_image(axes, image, "RdBu_r", -limit, limit)
