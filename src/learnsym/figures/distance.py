"""Draw the distance to equivariant weights over a training, layer by layer."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnsym.figures.style import Look, label_axes, new_figure, save
from learnsym.figures.width import Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KEY = "distance_to_equivariance"
_RELATIVE = f"relative_{_KEY}"
_ROUNDING = 1e-12
"""Below this fraction of the largest distance there is nothing but rounding."""


def draw_distance_to_equivariance(path: Path, rows: Rows) -> bool:
    """Draw the rows that have a distance; return False, and draw nothing, if there are none."""
    rows = [row for row in rows if _KEY in row]
    if not rows:
        return False
    is_relative = _RELATIVE in rows[0]
    figure = new_figure(9.6 if is_relative else 6.4, 3.4)
    ratios = [2.1, 1] if is_relative else [1]
    panels = figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0]
    _draw_by_layer(panels[0], rows)
    if is_relative:
        _draw_line(panels[1], rows, _RELATIVE, color="black", linewidth=1.8)
        label_axes(panels[1], "relative distance", "epoch", "distance / norm of all layers")
        panels[1].set_ylim(0, 1.1 * max(row[_RELATIVE] for row in rows) or 1.0)
    save(figure, path)
    return True


def _draw_by_layer(axes: "Axes", rows: Rows) -> None:
    """Draw a line for each layer, from dark to light, and the root of their squares in black.

    A logarithmic axis has no place for layers that are equivariant up to rounding: the legend
    names them.
    """
    from matplotlib import colormaps

    floor = _ROUNDING * max(row[_KEY] for row in rows)
    layers = [key for key in rows[-1] if key.startswith(f"{_KEY}/")]
    away = [key for key in layers if max(row[key] for row in rows) > floor]
    for index, key in enumerate(away):
        colour = colormaps["viridis"](0.9 * index / max(len(away) - 1, 1))
        label = key.partition("/")[2]
        _draw_line(axes, rows, key, floor, color=colour, linewidth=1.3, label=label)
    if away:
        axes.set_yscale("log")
        axes.tick_params(which="minor", labelsize=7)
    floor = floor if away else -1.0
    _draw_line(axes, rows, _KEY, floor, color="black", linewidth=1.8, label="all layers")
    for key in layers:
        if key not in away:
            axes.plot([], [], color="none", label=f"{key.partition('/')[2]}: equivariant")
    right: Look = {
        "loc": "center left",
        "bbox_to_anchor": (1.01, 0.5),
        "ncols": 1 + (len(layers) > 12),
    }
    axes.legend(fontsize=7, frameon=False, **right)
    label_axes(axes, "distance to equivariant layers", "epoch", "distance")


def _draw_line(axes: "Axes", rows: Rows, key: str, floor: float = -1.0, **settings: Any) -> None:
    """Draw a number where it is above `floor`; the epochs are marked where they are few."""
    points = [(row["epoch"], row[key]) for row in rows if row[key] > floor]
    marker = "o" if len(rows) < 10 else ""
    x, y = zip(*points, strict=True) if points else ([], [])
    axes.plot(x, y, marker=marker, markersize=3, **settings)
