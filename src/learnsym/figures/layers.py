"""Draw mode=equivariance: errors by layer, sampled kernels, features of rotated inputs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from learnsym.figures.style import COLOURS, label_axes, new_figure, save
from learnsym.groups.point_groups import Elements, wrap_angle
from learnsym.schema import PlainMapping

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FLOOR = 1e-17
"""Exact zeros are drawn here: a logarithm has no place for them."""
_MAX_ELEMENTS = 16
_MAX_CHANNELS = 3
_PANELS = {
    "error": "features on the group (elements that pair up)",
    "error_of_maximum": "maximum over the elements",
}


def draw_layer_errors(path: Path, rows: Mapping[str, Mapping[str, PlainMapping]]) -> None:
    """Draw a panel of features on the group and one of their maximum, a line for each transform.

    Args:
        path: of the PNG.
        rows: transform -> layer -> error and error_of_maximum.
    """
    layers = list(next(iter(rows.values())))
    figure = new_figure(max(8.0, 0.9 * len(layers) + 3), 3.6)
    errors = [error[key] for key in _PANELS for of in rows.values() for error in of.values()]
    lowest = max(_FLOOR, min(error for error in errors if error is not None))
    drawn = figure.subplots(1, 2, sharey=True)
    for axes, (key, title) in zip(drawn, _PANELS.items(), strict=True):
        for colour, (transform, of) in zip(COLOURS * 3, rows.items(), strict=False):
            values = [of[name][key] for name in layers]
            values = [math.nan if v is None else max(_FLOOR, v) for v in values]
            look = {"color": colour, "markersize": 3.5, "linewidth": 1.4}
            label = transform.replace("deg", "°").replace("_", " ")
            axes.plot(range(len(layers)), values, "o-", label=label, **look)
        axes.set_yscale("log")
        axes.set_ylim(min(0.3 * lowest, 1e-3), 10)
        axes.grid(axis="y", alpha=0.25, linewidth=0.6)
        axes.set_xticks(range(len(layers)), layers, rotation=35, ha="right", rotation_mode="anchor")
        label_axes(axes, title, "", "")
    drawn[0].set_ylabel("relative equivariance error", fontsize=9)
    corner = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
    small = {"fontsize": 7, "title_fontsize": 7, "frameon": False}
    drawn[1].legend(title="input moved by", **small, **corner)
    save(figure, path)


def draw_kernels(path: Path, kernel: Tensor, elements: Elements, layer: str) -> None:
    """Draw kernels as small images: a column for each output element, a row for each channel.

    Args:
        path: of the PNG.
        kernel: [C', n', C, n, k, k]; the first input channel and element are drawn.
        elements: of the output.
        layer: its name.
    """
    count = min(_MAX_ELEMENTS, kernel.shape[1])
    images = kernel[:_MAX_CHANNELS, :count, 0, 0]  # [rows, n', k, k]
    side = kernel.shape[-1]
    radius = (torch.arange(side) - side // 2).square()
    images = images.masked_fill((radius + radius[:, None]) > (side // 2) ** 2, math.nan)
    figure = new_figure(max(4.5, 0.85 * count + 0.8), 0.95 * len(images) + 0.7)
    inputs = " (first input element)" if kernel.shape[3] > 1 else ""
    _set_title(figure, f"kernels of {layer} at the elements of its output{inputs}")
    grid = figure.subplots(len(images), count, squeeze=False)
    for row, (panels, kernels) in enumerate(zip(grid, images, strict=True)):
        limit = float(kernels.nan_to_num().abs().max()) or 1.0
        for axes, image in zip(panels, kernels, strict=True):
            _draw_signed(axes, image, limit)
        panels[0].set_ylabel(f"channel {row + 1}", fontsize=7)
    _name_elements(grid[0], elements)
    save(figure, path)


def draw_features(
    path: Path,
    angles: Sequence[float],
    pictures: Tensor,
    features: Tensor,
    elements: Elements,
    layer: str,
) -> None:
    """Draw one channel as the input rotates: a row for each angle.

    Args:
        path: of the PNG.
        angles: in degrees.
        pictures: the inputs [A, C, H, W].
        features: of the inputs [A, n, H', W'].
        elements: n.
        layer: its name.
    """
    count = min(_MAX_ELEMENTS, features.shape[1])
    limit = float(features.abs().max()) or 1.0
    figure = new_figure(max(4.5, 0.8 * (count + 1) + 0.6), 0.8 * len(angles) + 0.7)
    _set_title(figure, f"a channel of {layer} as the input turns (columns: elements)")
    grid = figure.subplots(len(angles), count + 1, squeeze=False)
    for angle, panels, picture, maps in zip(angles, grid, pictures, features, strict=True):
        shown = picture[0] if len(picture) == 1 else picture[:3].permute(1, 2, 0).clamp(0, 1)
        _draw_image(panels[0], shown, cmap="gray", vmin=0, vmax=1)
        panels[0].set_ylabel(f"{angle:g}°", fontsize=8, rotation=0, ha="right", va="center")
        for axes, image in zip(panels[1:], maps, strict=False):
            _draw_signed(axes, image, limit)
    grid[0, 0].set_title("input", fontsize=7)
    _name_elements(grid[0, 1:], elements)
    save(figure, path)


def _set_title(figure: "Figure", title: str) -> None:
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")


def _name_elements(panels: Iterable["Axes"], elements: Elements) -> None:
    """Name columns: 22.5° for a rotation, 22.5° m for one after a mirror image."""
    degrees = torch.rad2deg(wrap_angle(elements.angle.detach()).double()).tolist()
    for axes, angle, sign in zip(panels, degrees, elements.sign.tolist(), strict=False):
        axes.set_title(f"{round(angle, 1) + 0.0:g}°" + (" m" if sign < 0 else ""), fontsize=7)


def _draw_signed(axes: "Axes", image: Tensor, limit: float) -> None:
    _draw_image(axes, image, cmap="RdBu_r", vmin=-limit, vmax=limit)


def _draw_image(axes: "Axes", image: Tensor, **settings: Any) -> None:
    axes.imshow(image.numpy(), **settings)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
