"""Draw curvature: leading eigenvalues, density of all of them, effective dimension."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from learnsym.figures.style import COLOURS, Look, add_legend, colours, label_axes, new_figure, save
from learnsym.schema import PlainDict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = PlainDict
"""What `learnsym.modes.spectrum` writes: matrix, eigenvalues, bounds, grid, density, z, n_eff,
regularisation."""
Runs = Mapping[str, Sequence[Curve]]
"""Label -> curves."""


def draw_spectrum(path: Path, curve: Curve) -> None:
    """Draw the leading eigenvalues of one network with their bounds, the density and N_eff(z)."""
    draw_spectra(path, {"": [curve]})


def draw_spectra(path: Path, runs: Runs) -> None:
    """Draw several networks, and N_eff against the level of regularisation if that differs."""
    levels: PlainDict = {x: curves[0].get("regularisation") for x, curves in runs.items()}
    by_level = None not in levels.values() and len(set(levels.values())) == len(levels) > 1
    if by_level:
        runs = {f"λ = {levels[label]:g}": curves for label, curves in runs.items()}
    figure = new_figure(11.4, 6.4 if by_level else 3.4)
    panels = figure.subplots(2 if by_level else 1, 2 if by_level else 3).flatten()
    _draw_leading(panels[0], runs)
    _draw_density(panels[1], runs)
    _draw_effective(panels[2], runs)
    if by_level:
        by = {float(levels[x]): c for x, c in zip(levels, runs.values(), strict=True)}
        _draw_against_level(panels[3], by)
    for axes in panels:
        add_legend(axes)
    save(figure, path)


def _draw_leading(axes: "Axes", runs: Runs) -> None:
    """Draw positive leading eigenvalues in descending order, with bounds if of one label."""
    for colour, label, curve in _labelled(runs):
        values, bounds = np.array(curve["eigenvalues"]), np.array(curve["bounds"])
        count = int((values > 0).sum())
        rank, values, bounds = np.arange(1, count + 1), values[:count], bounds[:count]
        axes.plot(rank, values, "o-", color=colour, markersize=2.5, linewidth=0.8, label=label)
        if len(runs) == 1:
            lower = np.minimum(bounds, 0.999 * values)  # a logarithm ends above zero
            look: Look = {"ecolor": colour, "elinewidth": 0.8, "alpha": 0.5}
            axes.errorbar(rank, values, [lower, bounds], fmt="none", **look)
    axes.set_yscale("log")
    title = "positive Ritz values" + (" and their bounds" if len(runs) == 1 else "")
    label_axes(axes, title, "number", f"eigenvalue ({_matrix(runs)})")


def _draw_density(axes: "Axes", runs: Runs) -> None:
    """Draw densities of all eigenvalues, broadened, on a logarithmic scale."""
    for colour, label, curve in _labelled(runs):
        axes.plot(curve["grid"], curve["density"], color=colour, linewidth=1.2, label=label)
    axes.set_yscale("log")
    curves = [curve for of in runs.values() for curve in of]
    top = max(max(curve["density"]) for curve in curves)
    least = min(curve["least_weight"] for curve in curves)
    axes.set_ylim(max(1e-9, least) * 1e-1 * top, 2 * top)
    x = f"eigenvalue ({_matrix(runs)})"
    label_axes(axes, "density of all eigenvalues (broadened)", x, "density")


def _draw_effective(axes: "Axes", runs: Runs) -> None:
    """Draw N_eff(z) of the positive leading eigenvalues, the mean over runs of one label."""
    for colour, (label, curves) in zip(colours(len(runs)), runs.items(), strict=True):
        mean = np.mean([curve["n_eff"] for curve in curves], axis=0)
        axes.plot(curves[0]["z"], mean, color=colour, linewidth=1.6, label=label or None)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    label_axes(axes, "effective dimension", "z", "N_eff(z) = Σ λ / (λ + z)")


def _draw_against_level(axes: "Axes", by_level: Mapping[float, Sequence[Curve]]) -> None:
    """Draw N_eff against the level of regularisation: dots for runs, a line through the means."""
    levels = sorted(by_level)
    reported = [set(curve["n_eff_at"]) for curves in by_level.values() for curve in curves]
    for colour, z in zip(COLOURS, sorted(set.intersection(*reported), key=float), strict=False):
        values = [[curve["n_eff_at"][z] for curve in by_level[level]] for level in levels]
        means = [np.mean(v) for v in values]
        axes.plot(levels, means, "-", color=colour, linewidth=1.4, label=f"z = {z}")
        for level, of_level in zip(levels, values, strict=True):
            axes.plot([level] * len(of_level), of_level, "o", color=colour, markersize=4)
    axes.set_ylim(bottom=0)
    title = "effective dimension against the reward for wide distributions"
    label_axes(axes, title, "regularisation λ", "N_eff(z)")


def _matrix(runs: Runs) -> str:
    """Return what the eigenvalues are of."""
    names = {"hessian": "Hessian", "ggn": "Gauss-Newton"}
    matrices = {names[curve["matrix"]] for curves in runs.values() for curve in curves}
    return " / ".join(sorted(matrices))


def _labelled(runs: Runs) -> list[tuple[str, str | None, Curve]]:
    """Return colour, label (for the first curve of each) and curve."""
    return [
        (colour, None if index else label or None, curve)
        for colour, (label, curves) in zip(colours(len(runs)), runs.items(), strict=True)
        for index, curve in enumerate(curves)
    ]
