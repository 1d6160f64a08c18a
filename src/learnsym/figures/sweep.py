"""Draw several groups of runs in one figure: what the papers draw of a sweep."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from learnsym.figures import style
from learnsym.figures.dynamics import draw_drift
from learnsym.figures.learned_symmetry import draw_final_fractions, final_fractions
from learnsym.figures.spectrum import draw_spectra
from learnsym.figures.style import Axes
from learnsym.figures.width import draw_bands, draw_responses
from learnsym.results.collect import Run

Groups = Mapping[str, Sequence[Run]]
"""Label -> runs."""
_WIDTH = "learned_rotation_width_rad"


def draw_sweep(path: Path, groups: Groups) -> bool:
    """Draw learned rotations, fractions and responses of groups of runs, or drifts, or spectra.

    Return False if there is nothing to draw.
    """
    for name, draw_all in (("drift", draw_drift), ("spectrum", draw_spectra)):
        curves = _curves(groups, name)
        if len(curves) == len(groups):
            draw_all(path, curves)
            return True
    panels = _panels(groups)
    if panels:
        figure = style.new_figure(4.2 * len(panels), 3.4)
        style.draw_panels(figure, panels)
        style.save(figure, path)
    return bool(panels)


def _curves(groups: Groups, name: str) -> dict[str, list[Any]]:
    """Return the curves of one name by label, for the labels that have some."""
    curves = {x: [r.curves[name] for r in runs if name in r.curves] for x, runs in groups.items()}
    return {label: of_label for label, of_label in curves.items() if of_label}


def _panels(groups: Groups) -> list[style.Panel]:
    colour_of = dict(zip(groups, style.colours(len(groups)), strict=True))
    panels: list[style.Panel] = []
    rows = {
        x: [r.rows for r in runs if r.rows and _WIDTH in r.rows[-1]] for x, runs in groups.items()
    }
    if rows := {label: of_label for label, of_label in rows.items() if of_label}:
        truths = {x: groups[x][0].section("true_widths").get("rotation") for x in rows}
        truth = truths[next(iter(rows))] if len(set(truths.values())) == 1 else None
        widths = {label: [run[-1][_WIDTH] for run in of_label] for label, of_label in rows.items()}
        panels.append(partial(draw_bands, runs=rows, key=_WIDTH, truth=truth))
        panels.append(partial(_draw_final_widths, widths=widths, truths=truths))
    if fractions := {
        x: of_label for x, runs in groups.items() if (of_label := final_fractions(runs))
    }:
        panels.append(partial(draw_final_fractions, groups=fractions, colours=colour_of))
    if responses := _curves(groups, "angle_response"):
        chosen = [colour_of[label] for label in responses]
        panels.append(partial(draw_responses, curves=responses, colours_of=chosen))
    return panels


def _draw_final_widths(
    axes: Axes, widths: Mapping[str, Sequence[float]], truths: Mapping[str, float | None]
) -> None:
    """Draw the final rotation width of every run, the mean as a bar, the truth as a dash."""
    for x, (colour, (label, values)) in enumerate(
        zip(style.colours(len(widths)), widths.items(), strict=True)
    ):
        axes.bar(x, sum(values) / len(values), color=colour, alpha=0.3, width=0.7)
        axes.plot([x] * len(values), values, "o", color=colour, markersize=4)
        if (truth := truths[label]) is not None:
            axes.hlines(truth, x - 0.42, x + 0.42, **style.TRUTH)
    axes.set_xticks(range(len(widths)), list(widths), rotation=20, ha="right", fontsize=7)
    style.finish(axes, "final width of the rotation (dashes: truth)", "", "width (rad)")
