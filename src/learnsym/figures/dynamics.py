"""Draw the optimisation dynamics: distance from the equivariant weights against the change."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from learnsym.figures import style
from learnsym.figures.style import COLOURS, Axes
from learnsym.schema import PlainDict

if TYPE_CHECKING:
    from learnsym.dynamics.records import Records

_COLOUR_OF = {"equivariant": COLOURS[2], "augmented": COLOURS[0], "nominal": COLOURS[1]}


def draw_flows(
    path: Path, records: "Records", title: str, convention: Literal["true", "published"]
) -> None:
    """Draw the paper's two panels, scaled to the nominal and to the augmented arm, loss and metric.

    The published convention draws squared distances, and the nominal arm at the change of the
    augmented one.
    """
    change, distance = records.total("change").numpy(), records.total("distance").numpy()
    x, y, index_of = "||A - A₀||", "||A - ΠA||", records.arms.index
    if convention == "published":
        change = change.copy()
        change[index_of("nominal")] = change[index_of("augmented")]
        distance = distance**2
        x, y = f"{x} (nominal: of augmented)", f"{y}²"

    def draw_arms(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
        for arm, colour in _COLOUR_OF.items():
            _draw_members(axes, x[index_of(arm)], y[index_of(arm)], colour, arm)

    figure = style.new_figure(9.2, 6.4)
    upper, lower = figure.subplots(2, 2)
    for axes, arm in zip(upper, ("nominal", "augmented"), strict=True):
        draw_arms(axes, change, distance)
        top = np.nanmax(distance[index_of(arm)])
        limits = {"ylim": (-0.04 * top, 1.08 * top)} if top > 0 else {}
        legend = style.LEGEND if arm == "nominal" else {}
        style.finish(axes, f"{title}: scaled to the {arm} arm", x, y, legend, **limits)
    is_metric = (n for n in records.series if n.startswith("test_") and "accuracy" in n)
    titles = {"loss": "loss on the training set", next(is_metric, None): "test accuracy"}
    for axes, (series, what) in zip(lower, titles.items(), strict=True):
        if series is None:
            axes.set_visible(False)
            continue
        values = records.total(series).numpy()
        draw_arms(axes, np.broadcast_to(np.arange(records.steps + 1), values.shape), values)
        style.finish(axes, f"{what} (median bold)", "step", series.replace("_", " "), {})
    style.save(figure, path)


def _draw_members(
    axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str, line: str = "-"
) -> None:
    """Draw series [members, steps]: one thin line each, and their median in bold."""
    axes.plot(x.T, y.T, line, color=colour, linewidth=0.5, alpha=0.35)
    median = np.median(x, axis=0), np.median(y, axis=0)
    axes.plot(*median, line, color=colour, linewidth=2.2, label=label)


def draw_drift(path: Path, runs: Mapping[str, Sequence[PlainDict]]) -> None:
    """Draw the distance from E per epoch and per step of a free training from equivariant weights.

    Of each label there is a curve of `learnsym.modes.drift` for each seed: per_epoch and per_step,
    [members][...].
    """
    cases = list(dict.fromkeys(map(case_of, runs)))
    figure = style.new_figure(9.6, 3.8)
    for axes, what in zip(figure.subplots(1, 2), ("epoch", "step"), strict=True):
        for label, curves in runs.items():
            members = [member for curve in curves for member in curve[f"per_{what}"]]
            length = min(map(len, members))
            distances = np.array([member[:length] for member in members])
            distances[distances <= 0] = np.nan  # exactly equivariant: no place on the axis
            steps = np.broadcast_to(np.arange(length), distances.shape)
            colour = COLOURS[cases.index(case_of(label)) % len(COLOURS)]
            line = "--" if label.endswith("whole_orbits") else "-"
            _draw_members(axes, steps, distances, colour, label, line)
        title, legend = f"distance from E per {what} (median bold)", what == "epoch"
        style.finish(axes, title, what, "||A - ΠA||", style.LEGEND if legend else {}, yscale="log")
    style.save(figure, path)


def case_of(label: str) -> str:
    """Return a label less how batches are put together: runs of one case share a colour.

    >>> case_of("c4_skew, batching=whole_orbits")
    'c4_skew'
    """
    words = label.split(", ")
    return ", ".join(w for w in words if not w.endswith(("shuffled", "whole_orbits")))
