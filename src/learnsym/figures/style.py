"""Colours, axes and files that all figures share."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from learnsym.schema import PlainDict
from learnsym.utils.files import write_atomically

if TYPE_CHECKING:  # what ends a sweep draws figures without torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Look = PlainDict
"""Keywords of a drawing function of matplotlib."""
COLOURS = ("#0b6e99", "#d1495b", "#3a7d44", "#8d6a9f", "#e09f3e", "#5c5c5c", "#2a9d8f", "#b56576")
GREY = "#c9c9c9"
FIXED = "#8a8a8a"
"""The colour of what was never learned."""


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, in inches, that no display knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def colours(count: int) -> list[str]:
    """Return so many colours, repeated if they run out."""
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def label_axes(axes: "Axes", title: str, x: str, y: str) -> None:
    """Set titles alike in all figures; epochs are counted in whole numbers."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    if x == "epoch":
        axes.locator_params(axis="x", integer=True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def add_legend(axes: "Axes", fontsize: float = 7, **settings: Any) -> None:
    """Add a legend without a frame if a line has a label."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**{"fontsize": fontsize, "frameon": False} | settings)


def draw_arc(
    axes: "Axes", half: float, radius: float = 1.0, x: float = 0.0, **settings: Any
) -> None:
    """Draw the angles of [-half, half] on a circle; upwards is the identity."""
    angle = np.linspace(-half, half, 181)
    axes.plot(x + radius * np.sin(angle), radius * np.cos(angle), **settings)


def draw_band(
    axes: "Axes", x: Sequence[float], values: np.ndarray, colour: str, label: str | None
) -> None:
    """Draw the mean over runs (rows of `values`), the deviation shaded."""
    mean = values.mean(axis=0)
    axes.plot(x, mean, color=colour, linewidth=1.6, label=label)
    if len(values) > 1:
        spread = values.std(axis=0, ddof=1)
        axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)


def pi_ticks(axes: "Axes", which: Literal["x", "y"] = "y") -> None:
    """Set ticks at multiples of a quarter turn, as many as the axis needs."""
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    quarters = 1 if high - low < 4 else 2 if high - low < 8 else 4
    step = quarters * math.pi / 4
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    set_ticks = axes.set_xticks if which == "x" else axes.set_yticks
    set_ticks([k * step for k in numbers], [_multiple_of_pi(k * quarters) for k in numbers])


def _multiple_of_pi(quarters: int) -> str:
    """Return a number of eighths of a turn as a multiple of pi.

    >>> [_multiple_of_pi(k) for k in (-4, -1, 0, 2, 6, 8)]
    ['-π', '-π/4', '0', 'π/2', '3π/2', '2π']
    """
    if quarters == 0:
        return "0"
    divisor = 4 // math.gcd(quarters, 4)
    factor = {1: "", -1: "-"}.get(quarters * divisor // 4, str(quarters * divisor // 4))
    return f"{factor}π" + (f"/{divisor}" if divisor > 1 else "")


def save(figure: "Figure", path: Path) -> None:
    """Write a figure to a PNG file, atomically."""
    write_atomically(path, render(figure))


def render(figure: "Figure") -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    return buffer.getvalue()
