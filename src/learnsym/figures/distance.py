"""The figure of the distance to equivariant networks over a training, layer by layer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEY = "distance_to_equivariance"
ROUNDING = 1e-12
"""Below this part of the largest distance there is nothing but rounding."""


def draw_distances(path: Path, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Draw the rows of a run that measured `distance_to_equivariance`; False, and nothing drawn,
    where none did.
    """
    from learnsym.figures.style import new_figure, save, style

    rows = [row for row in rows if KEY in row]
    if not rows:
        return False
    relative = f"relative_{KEY}" if f"relative_{KEY}" in rows[0] else None
    figure = new_figure(9.6 if relative else 6.4, 3.4)
    panels = figure.subplots(
        1, 2 if relative else 1, width_ratios=[2.1, 1] if relative else [1], squeeze=False
    )[0]
    draw_layers(panels[0], rows)
    style(panels[0], "distance to equivariant layers", "epoch", "distance")
    if relative:
        draw_line(panels[1], rows, relative, color="black", linewidth=1.8)
        style(panels[1], "relative distance", "epoch", "distance / norm of all layers")
        panels[1].set_ylim(0, 1.1 * max(row[relative] for row in rows) or 1.0)
    save(figure, path)
    return True


def draw_layers(axes: "Axes", rows: Sequence[Mapping[str, Any]]) -> None:
    """One line for each layer, from the first in dark to the last in light, and the root of the sum
    of squares in black.

    Layers that are equivariant up to rounding have no place on a logarithmic axis: the legend names
    them.
    """
    from matplotlib import colormaps

    layers = [key for key in rows[-1] if key.startswith(f"{KEY}/")]
    floor = ROUNDING * max(row[KEY] for row in rows)
    away = [key for key in layers if max(row[key] for row in rows) > floor]
    for place, key in enumerate(away):
        colour = colormaps["viridis"](0.9 * place / max(len(away) - 1, 1))
        draw_line(axes, rows, key, floor, color=colour, linewidth=1.3, label=key.partition("/")[2])
    if away:
        axes.set_yscale("log")
        axes.tick_params(which="minor", labelsize=7)
    draw_line(
        axes, rows, KEY, floor if away else -1.0, color="black", linewidth=1.8, label="all layers"
    )
    for key in layers:
        if key not in away:
            axes.plot([], [], color="none", label=f"{key.partition('/')[2]}: equivariant")
    columns = 1 + (len(layers) > 12)
    axes.legend(
        fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5), ncols=columns
    )


def draw_line(
    axes: "Axes", rows: Sequence[Mapping[str, Any]], key: str, floor: float = -1.0, **settings: Any
) -> None:
    """A number over the epochs, where it is above `floor`; the epochs are marked where they are
    few.
    """
    points = [(row["epoch"], row[key]) for row in rows if row[key] > floor]
    axes.plot(
        *zip(*points, strict=True) if points else ([], []),
        marker="o" if len(rows) < 10 else "",
        markersize=3,
        **settings,
    )
