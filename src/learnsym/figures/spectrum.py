"""Draw curvature: leading eigenvalues, density of all of them, effective dimension."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learnsym.figures import style
from learnsym.figures.style import COLOURS, Axes, Look
from learnsym.schema import PlainDict

Curve = PlainDict
"""What `learnsym.modes.spectrum` writes: matrix, eigenvalues, bounds, grid, density, z, n_eff,
regularisation."""
Runs = Mapping[str, Sequence[Curve]]
"""Label -> curves."""


def draw_spectra(path: Path, runs: Runs) -> None:
    """Draw the leading eigenvalues of networks (of one: with bounds), the density and N_eff(z).

    Where the level of regularisation differs, N_eff is drawn against it too.
    """
    levels: list[Any] = [curves[0].get("regularisation") for curves in runs.values()]
    of_level: dict[float, Sequence[Curve]] = {}
    if None not in levels and len(set(levels)) == len(levels) > 1:
        of_level = dict(zip(levels, runs.values(), strict=True))
        runs = {f"λ = {level:g}": curves for level, curves in of_level.items()}
    figure = style.new_figure(11.4, 6.4 if of_level else 3.4)
    grid = figure.subplots(2 if of_level else 1, 2 if of_level else 3).flatten()
    for axes, draw in zip(grid, (_draw_leading, _draw_density, _draw_effective), strict=False):
        draw(axes, runs)
    if of_level:
        _draw_against_level(grid[3], of_level)
    style.save(figure, path)


def _draw_leading(axes: Axes, runs: Runs) -> None:
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
    title = "positive Ritz values" + (" and their bounds" if len(runs) == 1 else "")
    style.finish(axes, title, "number", f"eigenvalue ({_matrix(runs)})", yscale="log")


def _draw_density(axes: Axes, runs: Runs) -> None:
    """Draw densities of all eigenvalues, broadened, on a logarithmic scale."""
    curves = _labelled(runs)
    for colour, label, curve in curves:
        axes.plot(curve["grid"], curve["density"], color=colour, linewidth=1.2, label=label)
    top = max(max(curve["density"]) for _, _, curve in curves)
    least = min(curve["least_weight"] for _, _, curve in curves)
    limits: Look = {"yscale": "log", "ylim": (max(1e-9, least) * 1e-1 * top, 2 * top)}
    x = f"eigenvalue ({_matrix(runs)})"
    style.finish(axes, "density of all eigenvalues (broadened)", x, "density", **limits)


def _draw_effective(axes: Axes, runs: Runs) -> None:
    """Draw N_eff(z) of the positive leading eigenvalues, the mean over runs of one label."""
    for colour, (label, curves) in zip(style.colours(len(runs)), runs.items(), strict=True):
        mean = np.mean([curve["n_eff"] for curve in curves], axis=0)
        axes.plot(curves[0]["z"], mean, color=colour, linewidth=1.6, label=label or None)
    y = "N_eff(z) = Σ λ / (λ + z)"
    style.finish(axes, "effective dimension", "z", y, xscale="log", ylim=(0, None))


def _draw_against_level(axes: Axes, by_level: Mapping[float, Sequence[Curve]]) -> None:
    """Draw N_eff against the level of regularisation: dots for runs, a line through the means."""
    levels = sorted(by_level)
    reported = [set(curve["n_eff_at"]) for curves in by_level.values() for curve in curves]
    for colour, z in zip(COLOURS, sorted(set.intersection(*reported), key=float), strict=False):
        values = [[curve["n_eff_at"][z] for curve in by_level[level]] for level in levels]
        style.draw_means(axes, levels, values, colour, f"z = {z}")
    title = "effective dimension against the reward for wide distributions"
    style.finish(axes, title, "regularisation λ", "N_eff(z)", ylim=(0, None))


def _matrix(runs: Runs) -> str:
    """Return what the eigenvalues are of."""
    names = {"hessian": "Hessian", "ggn": "Gauss-Newton"}
    matrices = {names[curve["matrix"]] for curves in runs.values() for curve in curves}
    return " / ".join(sorted(matrices))


def _labelled(runs: Runs) -> list[tuple[str, str | None, Curve]]:
    """Return colour, label (for the first curve of each) and curve."""
    return [
        (colour, None if index else label or None, curve)
        for colour, (label, curves) in zip(style.colours(len(runs)), runs.items(), strict=True)
        for index, curve in enumerate(curves)
    ]
