"""Draw several groups of runs in one figure: what the papers draw of a sweep."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnsym.figures.dynamics import draw_drift
from learnsym.figures.learned_symmetry import draw_final_fractions, final_fractions
from learnsym.figures.response import draw_responses
from learnsym.figures.spectrum import draw_spectra
from learnsym.figures.style import Look, colours, label_axes, new_figure, save
from learnsym.figures.width import draw_bands
from learnsym.results.collect import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Groups = Mapping[str, Sequence[Run]]
_WIDTH = "learned_rotation_width_rad"


def draw_sweep(path: Path, groups: Groups) -> bool:
    """Draw learned rotations, fractions and responses of groups of runs, or drifts, or spectra.

    Args:
        path: of the PNG.
        groups: label -> runs.

    Returns:
        False if there is nothing to draw.
    """
    for name, draw_all in (("drift", draw_drift), ("spectrum", draw_spectra)):
        curves = _curves(groups, name)
        if len(curves) == len(groups):
            draw_all(path, curves)
            return True
    panels = _panels(groups)
    if not panels:
        return False
    figure = new_figure(4.2 * len(panels), 3.4)
    for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes)
    save(figure, path)
    return True


def _curves(groups: Groups, name: str) -> dict[str, list[Any]]:
    """Return the curves of one name by label, for the labels that have some."""
    curves = {x: [r.curves[name] for r in runs if name in r.curves] for x, runs in groups.items()}
    return {label: own for label, own in curves.items() if own}


def _panels(groups: Groups) -> "list[Callable[[Axes], None]]":
    colour_of = dict(zip(groups, colours(len(groups)), strict=True))
    rows = {
        x: [r.rows for r in runs if r.rows and _WIDTH in r.rows[-1]] for x, runs in groups.items()
    }
    rows = {label: own for label, own in rows.items() if own}
    fractions = {label: own for label, runs in groups.items() if (own := final_fractions(runs))}
    responses = _curves(groups, "angle_response")
    truths = {x: runs[0].section("true_widths").get("rotation") for x, runs in groups.items()}
    panels: list[Callable[[Axes], None]] = []
    if rows:
        shared = {truths[label] for label in rows}
        truth = shared.pop() if len(shared) == 1 else None
        widths = {label: [run[-1][_WIDTH] for run in own] for label, own in rows.items()}
        panels.append(lambda axes: draw_bands(axes, rows, _WIDTH, truth))
        panels.append(lambda axes: _draw_final_widths(axes, widths, truths))
    if fractions:
        panels.append(lambda axes: draw_final_fractions(axes, fractions, colour_of))
    if responses:
        chosen = [colour_of[label] for label in responses]
        panels.append(lambda axes: draw_responses(axes, responses, chosen))
    return panels


def _draw_final_widths(
    axes: "Axes", widths: Mapping[str, Sequence[float]], truths: Mapping[str, float | None]
) -> None:
    """Draw the final rotation width of every run, the mean as a bar, the truth as a dash."""
    for index, (colour, (label, values)) in enumerate(
        zip(colours(len(widths)), widths.items(), strict=True)
    ):
        axes.bar(index, sum(values) / len(values), color=colour, alpha=0.3, width=0.7)
        axes.plot([index] * len(values), values, "o", color=colour, markersize=4)
        if (truth := truths[label]) is not None:
            dash: Look = {"color": "black", "linestyle": "--", "linewidth": 1}
            axes.hlines(truth, index - 0.42, index + 0.42, **dash)
    axes.set_xticks(range(len(widths)), list(widths), rotation=20, ha="right", fontsize=7)
    label_axes(axes, "final width of the rotation (dashes: truth)", "", "width (rad)")
