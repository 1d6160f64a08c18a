"""One figure of several groups of runs: what the papers draw of a sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw_sweep(path: Path, groups: Mapping[str, list[dict[str, Any]]]) -> Path | None:
    """One figure of all groups: learned rotation over training, its final width beside the truth,
    the fractions that layers have learned, responses to rotation.
    """
    from learnsym.figures.dynamics import draw_drift
    from learnsym.figures.learned_symmetry import draw_final_fractions, final_fractions
    from learnsym.figures.response import draw_responses
    from learnsym.figures.spectrum import draw_spectra
    from learnsym.figures.style import COLOURS, new_figure, save
    from learnsym.figures.width import draw_bands

    drifts = {
        label: [r["curves"]["drift"] for r in runs if "drift" in r["curves"]]
        for label, runs in groups.items()
    }
    if all(drifts.values()):
        draw_drift(path, drifts)
        return path
    spectra = {
        label: [r["curves"]["spectrum"] for r in runs if "spectrum" in r["curves"]]
        for label, runs in groups.items()
    }
    if all(spectra.values()):
        draw_spectra(path, spectra)
        return path
    key = "learned_rotation_width_rad"
    learned = {
        label: [r["rows"] for r in runs if r["rows"] and key in r["rows"][-1]]
        for label, runs in groups.items()
    }
    learned = {label: rows for label, rows in learned.items() if rows}
    responses = {
        label: [r["curves"]["angle_response"] for r in runs if "angle_response" in r["curves"]]
        for label, runs in groups.items()
    }
    responses = {label: curves for label, curves in responses.items() if curves}
    fractions = {label: found for label, runs in groups.items() if (found := final_fractions(runs))}
    colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(groups)}
    truths = {
        label: runs[0]["result"].get("true_widths", {}).get("rotation")
        for label, runs in groups.items()
    }
    wanted = (
        ("bands", learned),
        ("final", learned),
        ("fractions", fractions),
        ("responses", responses),
    )
    panels = [name for name, there in wanted if there]
    if not panels:
        return None
    figure = new_figure(4.2 * len(panels), 3.4)
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        if name == "bands":
            shared = {truths[label] for label in learned}
            draw_bands(axes, learned, key, shared.pop() if len(shared) == 1 else None)
        elif name == "final":
            draw_final(
                axes,
                {label: [rows[-1][key] for rows in runs] for label, runs in learned.items()},
                truths,
            )
        elif name == "fractions":
            draw_final_fractions(axes, fractions, colours)
        else:
            draw_responses(axes, responses, [colours[label] for label in responses])
    save(figure, path)
    return path


def draw_final(
    axes: Any, widths: Mapping[str, list[float]], truths: Mapping[str, float | None]
) -> None:
    """The final rotation width of every run, the mean as a bar, the truth as a dash."""
    from learnsym.figures.style import COLOURS, style

    for place, (label, values) in enumerate(widths.items()):
        colour = COLOURS[place % len(COLOURS)]
        axes.bar(place, sum(values) / len(values), color=colour, alpha=0.3, width=0.7)
        axes.plot([place] * len(values), values, "o", color=colour, markersize=4)
        if truths[label] is not None:
            axes.hlines(
                truths[label],
                place - 0.42,
                place + 0.42,
                color="black",
                linestyle="--",
                linewidth=1,
            )
    axes.set_xticks(range(len(widths)), list(widths), rotation=20, ha="right", fontsize=7)
    style(axes, "final width of the rotation (dashes: truth)", "", "width (rad)")
