"""Figures of curvature: leading eigenvalues, density of all of them, effective dimension."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learnsym.figures import style as figures
from learnsym.figures.style import COLOURS, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = Mapping[str, Any]
"""What `learnsym.modes.spectrum` writes: matrix, eigenvalues, bounds, grid, density, z, n_eff,
regularisation."""


def draw_spectrum(path: Path, curve: Curve) -> None:
    """One network: its leading eigenvalues with their bounds, the density, N_eff(z)."""
    figure = new_figure(11.4, 3.4)
    leading, density, effective = figure.subplots(1, 3)
    draw_leading(leading, {"": [curve]})
    draw_density(density, {"": [curve]})
    draw_effective(effective, {"": [curve]})
    figures.save(figure, path)


def draw_spectra(path: Path, runs: Mapping[str, Sequence[Curve]]) -> None:
    """Several networks together, and N_eff against the level of regularisation where that is what
    tells them apart.
    """
    levels = {label: curves[0].get("regularisation") for label, curves in runs.items()}
    by_level = None not in levels.values() and len(set(levels.values())) == len(levels) > 1
    if by_level:
        runs = {f"λ = {levels[label]:g}": curves for label, curves in runs.items()}
    figure = new_figure(11.4, 6.4 if by_level else 3.4)
    axes = figure.subplots(2 if by_level else 1, 2 if by_level else 3).flatten()
    draw_leading(axes[0], runs)
    draw_density(axes[1], runs)
    draw_effective(axes[2], runs)
    if by_level:
        draw_against_level(
            axes[3],
            {
                float(levels[label]): curves
                for label, curves in zip(levels, runs.values(), strict=True)
            },
        )
    figures.save(figure, path)


def draw_leading(axes: "Axes", runs: Mapping[str, Sequence[Curve]]) -> None:
    """Positive leading eigenvalues in descending order; of several runs with one label, thin
    lines.
    """
    for colour, (label, curves) in zip(_cycle(runs), runs.items(), strict=True):
        for place, curve in enumerate(curves):
            values, bounds = np.array(curve["eigenvalues"]), np.array(curve["bounds"])
            count = int((values > 0).sum())
            rank, values, bounds = np.arange(1, count + 1), values[:count], bounds[:count]
            axes.plot(
                rank,
                values,
                "o-",
                color=colour,
                markersize=2.5,
                linewidth=0.8,
                label=None if place else label or None,
            )
            if len(runs) == 1:
                lower = np.minimum(bounds, 0.999 * values)  # a logarithm ends above zero
                axes.errorbar(
                    rank,
                    values,
                    [lower, bounds],
                    fmt="none",
                    ecolor=colour,
                    elinewidth=0.8,
                    alpha=0.5,
                )
    axes.set_yscale("log")
    _legend(axes)
    style(
        axes,
        "positive Ritz values" + (" and their bounds" if len(runs) == 1 else ""),
        "number",
        f"eigenvalue ({_matrix(runs)})",
    )


def draw_density(axes: "Axes", runs: Mapping[str, Sequence[Curve]]) -> None:
    """Densities of all eigenvalues, broadened, on a logarithmic scale."""
    top = max(max(curve["density"]) for curves in runs.values() for curve in curves)
    for colour, (label, curves) in zip(_cycle(runs), runs.items(), strict=True):
        for place, curve in enumerate(curves):
            axes.plot(
                curve["grid"],
                curve["density"],
                color=colour,
                linewidth=1.2,
                label=None if place else label or None,
            )
    axes.set_yscale("log")
    least = min(curve["least_weight"] for curves in runs.values() for curve in curves)
    axes.set_ylim(max(1e-9, least) * 1e-1 * top, 2 * top)
    _legend(axes)
    style(
        axes, "density of all eigenvalues (broadened)", f"eigenvalue ({_matrix(runs)})", "density"
    )


def draw_effective(axes: "Axes", runs: Mapping[str, Sequence[Curve]]) -> None:
    """N_eff(z) of the positive leading eigenvalues."""
    for colour, (label, curves) in zip(_cycle(runs), runs.items(), strict=True):
        mean = np.mean([curve["n_eff"] for curve in curves], axis=0)
        axes.plot(curves[0]["z"], mean, color=colour, linewidth=1.6, label=label or None)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    _legend(axes)
    style(axes, "effective dimension", "z", "N_eff(z) = Σ λ / (λ + z)")


def draw_against_level(axes: "Axes", by_level: Mapping[float, Sequence[Curve]]) -> None:
    """N_eff at the z that are reported against the level of regularisation, a dot for every run and
    a line through the means.
    """
    levels = sorted(by_level)
    shared = set.intersection(
        *(set(curve["n_eff_at"]) for curves in by_level.values() for curve in curves)
    )
    for colour, z in zip(COLOURS, sorted(shared, key=float), strict=False):
        values = {level: [curve["n_eff_at"][z] for curve in by_level[level]] for level in levels}
        axes.plot(
            levels,
            [np.mean(values[level]) for level in levels],
            "-",
            color=colour,
            linewidth=1.4,
            label=f"z = {z}",
        )
        for level in levels:
            axes.plot([level] * len(values[level]), values[level], "o", color=colour, markersize=4)
    axes.set_ylim(bottom=0)
    _legend(axes)
    style(
        axes,
        "effective dimension against the reward for wide distributions",
        "regularisation λ",
        "N_eff(z)",
    )


def _matrix(runs: Mapping[str, Sequence[Curve]]) -> str:
    """What the eigenvalues are of."""
    names = {"hessian": "Hessian", "ggn": "Gauss-Newton"}
    return " / ".join(
        sorted({names[curve["matrix"]] for curves in runs.values() for curve in curves})
    )


def _legend(axes: "Axes") -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)


def _cycle(runs: Mapping[str, Any]) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(len(runs))]
