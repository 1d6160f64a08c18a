"""Figures of the optimisation dynamics: distance from the equivariant weights against how far a
training has moved.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from learnsym.figures import style as figures
from learnsym.figures.style import COLOURS, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR_OF = {"equivariant": COLOURS[2], "augmented": COLOURS[0], "nominal": COLOURS[1]}


def draw_flows(
    path: Path, records: Any, title: str, convention: Literal["true", "published"]
) -> None:
    """The paper's two panels (distance against change, scaled to the nominal and to the augmented
    arm), loss and test metric.

    Args:
        path: of the PNG.
        records: `learnsym.dynamics.records.Records` of the three arms.
        title: of the group.
        convention: "published" draws squared distances, and the nominal arm at the change of the
            augmented one.
    """
    change, distance = records.total("change").numpy(), records.total("distance").numpy()
    if convention == "published":
        change = change.copy()
        change[records.arms.index("nominal")] = change[records.arms.index("augmented")]
        distance = distance**2
    metric = next(
        (name for name in records.series if name.startswith("test_") and "accuracy" in name), None
    )
    figure = new_figure(9.2, 6.4)
    (left, right), (losses, scores) = figure.subplots(2, 2)
    y = "||A - ΠA||" + ("²" if convention == "published" else "")
    x = "||A - A₀||" + (" (nominal: of augmented)" if convention == "published" else "")
    for axes, arm in ((left, "nominal"), (right, "augmented")):
        for name in COLOUR_OF:
            place = records.arms.index(name)
            draw_members(axes, change[place], distance[place], COLOUR_OF[name], name)
        top = np.nanmax(distance[records.arms.index(arm)])
        if top > 0:
            axes.set_ylim(-0.04 * top, 1.08 * top)
        style(axes, f"{title}: scaled to the {arm} arm", x, y)
    left.legend(fontsize=8, frameon=False)
    steps = np.arange(records.steps + 1)
    for axes, series, what in (
        (losses, "loss", "loss on the training set"),
        (scores, metric, "test accuracy"),
    ):
        if series is None:
            axes.set_visible(False)
            continue
        for name in COLOUR_OF:
            values = records.total(series).numpy()[records.arms.index(name)]
            draw_members(axes, np.broadcast_to(steps, values.shape), values, COLOUR_OF[name], name)
        style(axes, what + " (median bold)", "step", series.replace("_", " "))
    figures.save(figure, path)


def draw_members(
    axes: "Axes", x: np.ndarray, y: np.ndarray, colour: str, label: str, dashed: bool = False
) -> None:
    """Series [members, steps]: one thin line each, and their median in bold."""
    line = "--" if dashed else "-"
    for a, b in zip(x, y, strict=True):
        axes.plot(a, b, line, color=colour, linewidth=0.5, alpha=0.35)
    axes.plot(
        np.median(x, axis=0), np.median(y, axis=0), line, color=colour, linewidth=2.2, label=label
    )


def draw_drift(path: Path, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Distance from E per epoch and per step of a free training that starts equivariant.

    Args:
        path: of the PNG.
        runs: label -> curves of `learnsym.modes.drift` (per_epoch and per_step, [members][...]),
            one for each seed.
    """
    cases = list(dict.fromkeys(case_of(label) for label in runs))
    figure = new_figure(9.6, 3.8)
    per_epoch, per_step = figure.subplots(1, 2)
    for axes, key, what in ((per_epoch, "per_epoch", "epoch"), (per_step, "per_step", "step")):
        for label, curves in runs.items():
            length = min(len(member) for curve in curves for member in curve[key])
            lines = np.array([member[:length] for curve in curves for member in curve[key]])
            above = np.where(
                lines > 0, lines, np.nan
            )  # a logarithm has no place for what is exactly equivariant
            colour = COLOURS[cases.index(case_of(label)) % len(COLOURS)]
            dashed = label.endswith("whole_orbits")
            draw_members(
                axes, np.broadcast_to(np.arange(length), lines.shape), above, colour, label, dashed
            )
        axes.set_yscale("log")
        style(axes, f"distance from E per {what} (median bold)", what, "||A - ΠA||")
    per_epoch.legend(fontsize=7, frameon=False)
    figures.save(figure, path)


def case_of(label: str) -> str:
    """What a run is besides how its batches are put together: runs of one case share a colour.

    >>> case_of("c4_skew, batching=whole_orbits")
    'c4_skew'
    """
    return ", ".join(
        word for word in label.split(", ") if not word.endswith(("shuffled", "whole_orbits"))
    )
