"""Colours, axes and files that all figures share."""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from learnsym.utils.files import write_atomically

if TYPE_CHECKING:  # what ends a sweep draws figures without torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COLOURS = ("#0b6e99", "#d1495b", "#3a7d44", "#8d6a9f", "#e09f3e", "#5c5c5c", "#2a9d8f", "#b56576")


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure that no display knows of, in the style of all figures here."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(axes: "Axes", title: str, x: str, y: str) -> None:
    """Titles and axes alike in all figures; epochs are counted in whole numbers."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    if x == "epoch":
        axes.xaxis.get_major_locator().set_params(integer=True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def save(figure: "Figure", path: Path) -> None:
    """Write a figure to a PNG file, atomically."""
    write_atomically(path, render(figure))


def render(figure: "Figure") -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    return buffer.getvalue()


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _radians(axes: "Axes", which: str = "y") -> None:
    """Ticks at multiples of a quarter turn, as many as the axis needs."""
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    step = math.pi / 4 if high - low < 4 else math.pi / 2 if high - low < 8 else math.pi
    first, last = math.ceil(low / step), math.floor(high / step)
    values = [k * step for k in range(first, last + 1)]
    names = [_multiple(k * step / math.pi) for k in range(first, last + 1)]
    (axes.set_xticks if which == "x" else axes.set_yticks)(values, names)


def _multiple(turns: float) -> str:
    """1/2 -> "π/2", -1 -> "-π", 0 -> "0"."""
    if turns == 0:
        return "0"
    for divisor in (1, 2, 4):
        k = turns * divisor
        if abs(k - round(k)) < 1e-9:
            factor = {1: "", -1: "-"}.get(round(k), str(round(k)))
            return f"{factor}π" + (f"/{divisor}" if divisor > 1 else "")
    return f"{turns:.2g}π"
