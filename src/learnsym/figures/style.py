"""Colours, axes and files that all figures share."""

import io
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from learnsym.schema import PlainDict
from learnsym.utils.files import write_atomically

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

Axes: TypeAlias = "matplotlib.axes.Axes"
Figure: TypeAlias = "matplotlib.figure.FigureBase"
"""A whole figure or a part of one."""
Panel = Callable[[Axes], None]
Look = PlainDict
"""Keywords of a drawing function of matplotlib."""
COLOURS = ("#0b6e99", "#d1495b", "#3a7d44", "#8d6a9f", "#e09f3e", "#5c5c5c", "#2a9d8f", "#b56576")
GREY = "#c9c9c9"
FIXED = "#8a8a8a"
"""The colour of what was never learned."""
THICK: Look = {"linewidth": 5, "solid_capstyle": "butt"}
TRUTH: Look = {"color": "black", "linestyle": "--", "linewidth": 1}
HEADING: Look = {"fontsize": 10, "x": 0.01, "ha": "left"}
LEGEND: Look = {"fontsize": 7, "frameon": False}


def new_figure(width: float, height: float) -> "matplotlib.figure.Figure":
    """Return an empty figure, in inches, that no display knows of."""
    import matplotlib.figure

    return matplotlib.figure.Figure(figsize=(width, height), layout="constrained")


def colours(count: int) -> list[str]:
    """Return so many colours, repeated if they run out."""
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def draw_panels(figure: Figure, panels: Sequence[Panel], **settings: Any) -> None:
    """Draw panels side by side; the settings are those of `subplots`."""
    drawn = figure.subplots(1, len(panels), squeeze=False, **settings)[0]
    for axes, draw in zip(drawn, panels, strict=True):
        draw(axes)


def finish(axes: Axes, title: str, x: str, y: str, legend: Look = LEGEND, **settings: Any) -> None:
    """Set titles, properties of the axes and, if a line has a label, a legend ({}: none)."""
    axes.set(**settings)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    if x == "epoch":
        axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(**legend)


def draw_arc(axes: Axes, half: float, radius: float = 1.0, x: float = 0.0, **look: Any) -> None:
    """Draw the angles of [-half, half] on a circle; upwards is the identity."""
    angle = np.linspace(-half, half, 181)
    axes.plot(x + radius * np.sin(angle), radius * np.cos(angle), **look)


def draw_band(
    axes: Axes, x: Sequence[float], values: np.ndarray, colour: str, label: str | None
) -> None:
    """Draw the mean over runs (rows of `values`), the deviation shaded."""
    mean = values.mean(axis=0)
    axes.plot(x, mean, color=colour, linewidth=1.6, label=label)
    if len(values) > 1:
        spread = values.std(axis=0, ddof=1)
        axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)


def draw_means(
    axes: Axes, x: Sequence[float], values: Sequence[Sequence[float]], colour: str, label: str
) -> None:
    """Draw a line through the means over runs at every x, and a dot for each run."""
    axes.plot(x, [np.mean(v) for v in values], color=colour, linewidth=1.4, label=label)
    for at, ys in zip(x, values, strict=True):
        axes.plot([at] * len(ys), ys, "o", color=colour, markersize=3.5)


def draw_image(
    axes: Axes, image: Any, cmap: str = "gray", low: float = 0.0, high: float = 1.0
) -> None:
    """Draw a tensor [C, H, W] (one channel, or the first three) or [H, W], without ticks."""
    if image.ndim == 3:
        image = image[0] if len(image) == 1 else image[:3].permute(1, 2, 0).clamp(0, 1)
    axes.imshow(image.numpy(), cmap=cmap, vmin=low, vmax=high)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_linewidth(0.4)


def pi_ticks(axis: Any) -> None:
    """Set ticks of an axis at multiples of a quarter of pi, as many as it needs."""
    low, high = axis.get_view_interval()
    quarters = 1 if high - low < 4 else 2 if high - low < 8 else 4
    step = quarters * math.pi / 4
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    axis.set_ticks([k * step for k in numbers], [_multiple_of_pi(k * quarters) for k in numbers])


def _multiple_of_pi(quarters: int) -> str:
    """Return a number of quarters of pi as a multiple of pi.

    >>> [_multiple_of_pi(k) for k in (-4, -1, 0, 2, 6, 8)]
    ['-π', '-π/4', '0', 'π/2', '3π/2', '2π']
    """
    number, divisor = Fraction(quarters, 4).as_integer_ratio()
    factor = {1: "", -1: "-"}.get(number, number)
    return f"{factor}π" + (f"/{divisor}" if divisor > 1 else "") if number else "0"


def save(figure: "matplotlib.figure.Figure", path: Path) -> None:
    """Write a figure to a PNG file, atomically."""
    write_atomically(path, render(figure))


def render(figure: "matplotlib.figure.Figure") -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    return buffer.getvalue()
