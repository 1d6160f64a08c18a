"""The figure of one run: what it learned, how that came about, and what the network does with it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learnsym.run.directory import RunDirectory, write_atomically

if TYPE_CHECKING:  # what ends a sweep draws figures without torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from learnsym.data.base import Data

COLOURS = ("#0b6e99", "#d1495b", "#3a7d44", "#8d6a9f", "#e09f3e", "#5c5c5c", "#2a9d8f", "#b56576")
STRIP = 8


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
    """Write a PNG, atomically."""
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    write_atomically(path, buffer.getvalue())


def draw_run(directory: RunDirectory, net: "nn.Module", data: "Data", curves: Mapping[str, Any]) -> list[Path]:
    """Draw what there is to draw of a run into figures/: paths relative to the run's directory, none where nothing was learned or
    measured."""
    from learnsym.figures.distance import draw_distances

    path = directory.figures / "distance_to_equivariance.png"
    measured = draw_distances(path, directory.rows())
    return draw_learned(directory, net, data, curves) + ([path.relative_to(directory.path)] if measured else [])


def draw_learned(directory: RunDirectory, net: "nn.Module", data: "Data", curves: Mapping[str, Any]) -> list[Path]:
    """What a run learned, how that came about, and what the network does with it: figures/learned_symmetry.png."""
    from learnsym.figures.learned_symmetry import draw_layers, layers_that_learn

    rows, path = directory.rows(), directory.figures / "learned_symmetry.png"
    response = curves.get("angle_response")
    if layers_that_learn(net):
        draw_layers(path, rows, net, response)
        return [path.relative_to(directory.path)]
    rotation = next((k for k in rows[-1] if k.startswith("learned_rotation_width_rad")), None) if rows else None
    learned = [k for k in rows[-1] if k.startswith("learned_")] if rows else []
    others = [k for k in learned if k != rotation and rows[-1][k] != rows[0][k]]  # those that are learned: they have moved
    panels = [
        name for name, there in (("rotation", rotation), ("box", rotation), ("others", others), ("response", response)) if there
    ]
    if not panels:
        return []
    augments = hasattr(net, "augment") and data.kind == "images"
    figure = new_figure(3.4 * max(len(panels), 2), 5.2 if augments else 2.9)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.15, 1]) if augments else (figure, None)
    truth = data.info.true_widths.get("rotation")
    for axes, name in zip(upper.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        if name == "rotation":
            draw_bands(axes, {"learned": [rows]}, rotation, truth)
        elif name == "box":
            draw_box(axes, rows[-1][rotation], truth)
        elif name == "others":
            draw_others(axes, rows, others, "other generators" if rotation else "learned widths over training")
        else:
            draw_response(axes, response)
    if lower is not None:
        draw_strip(lower, net, data)
    save(figure, path)
    return [path.relative_to(directory.path)]


def draw_bands(axes: "Axes", runs: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], key: str, truth: float | None) -> None:
    """Learned rotations as bands [-w/2, w/2] over training: per label the mean over runs, the deviation shaded at its edge."""
    for colour, (label, repeats) in zip(_cycle(len(runs)), runs.items(), strict=True):
        length = min(len(rows) for rows in repeats)
        widths = np.array([[row[key] for row in rows[:length]] for rows in repeats])
        epochs = [row["epoch"] for row in repeats[0][:length]]
        half = widths.mean(axis=0) / 2
        if len(runs) == 1:
            axes.fill_between(epochs, -half, half, color=colour, alpha=0.25, linewidth=0)
        for sign in (-1, 1):
            axes.plot(epochs, sign * half, color=colour, linewidth=1.6, label=label if sign == 1 else None)
            if len(repeats) > 1:
                spread = widths.std(axis=0, ddof=1) / 2
                axes.fill_between(epochs, sign * half - spread, sign * half + spread, color=colour, alpha=0.2, linewidth=0)
    if truth is not None:
        for sign in (-1, 1):
            axes.axhline(sign * truth / 2, color="black", linestyle="--", linewidth=1, label="truth" if sign == 1 else None)
    _radians(axes)
    axes.legend(fontsize=7, facecolor="white", framealpha=0.85, edgecolor="none", loc="best")  # the truth may run behind it
    style(axes, "learned rotation over training", "epoch", "angle (rad)")


def draw_box(axes: "Axes", width: float, truth: float | None) -> None:
    """The learned distribution of angles at the end, beside the truth where it is known."""
    for value, colour, label in ((width, COLOURS[0], f"learned, width {width:.3f}"), (truth, "black", "truth")):
        if value is None:
            continue
        if value < 1e-3:
            axes.axvline(0, color=colour, linestyle="--", label=f"{label}: none")
            continue
        edges, height = [-value / 2, -value / 2, value / 2, value / 2], [0, 1 / value, 1 / value, 0]
        if colour == "black":
            axes.plot(edges, height, color=colour, linestyle="--", linewidth=1, label=f"{label}, width {value:.3f}")
        else:
            axes.fill(edges, height, color=colour, alpha=0.3, label=label)
    limit = max(1.15 * math.pi, 0.6 * width)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(bottom=0)
    _radians(axes, "x")
    axes.legend(fontsize=7, frameon=False, loc="upper right")
    top = axes.get_ylim()[1]
    axes.set_ylim(0, 1.45 * top)
    style(axes, "distribution of rotations at the end", "angle (rad)", "density")


def draw_others(axes: "Axes", rows: Sequence[Mapping[str, Any]], keys: Sequence[str], title: str = "other generators") -> None:
    """The extents along several generators over training."""
    epochs = [row["epoch"] for row in rows]
    for place, (colour, key) in enumerate(zip(_cycle(len(keys)), keys, strict=True)):
        label = key.removeprefix("learned_").replace("_width", "").replace("_", " ")
        line = "-" if place < len(COLOURS) else "--"
        axes.plot(epochs, [row[key] for row in rows], line, color=colour, linewidth=1.4, label=label)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, frameon=False, ncols=2 if len(keys) > len(COLOURS) else 1)
    style(axes, title, "epoch", "width")


def draw_response(axes: "Axes", curve: Mapping[str, Any]) -> None:
    """The response of one network: the mean; of two classes each of them too, dashed."""
    both = len(curve["per_class"]) == 2
    draw_responses(axes, {"both classes" if both else "": [curve]})
    if both:
        for colour, (name, values) in zip(COLOURS[1:], curve["per_class"].items(), strict=False):
            axes.plot(curve["angles_deg"], values, color=colour, linewidth=1.2, linestyle="--", label=name)
        axes.legend(fontsize=7, frameon=False)


def draw_responses(axes: "Axes", curves: Mapping[str, Sequence[Mapping[str, Any]]], colours: Sequence[str] = ()) -> None:
    """Probability of the right class against the rotation of the input: per label the mean over runs, the deviation shaded."""
    if all(c.get("classes") == 2 for repeats in curves.values() for c in repeats):
        axes.axhline(0.5, color="black", linestyle=":", linewidth=1, label="one half, a guess")
    for colour, (label, repeats) in zip(colours or _cycle(len(curves)), curves.items(), strict=True):
        angles = repeats[0]["angles_deg"]
        values = np.array([c["probability"] for c in repeats if len(c["probability"]) == len(angles)])
        mean = values.mean(axis=0)
        axes.plot(angles, mean, color=colour, linewidth=1.6, label=label or None)
        if len(values) > 1:
            spread = values.std(axis=0, ddof=1)
            axes.fill_between(angles, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xticks([-180, -90, 0, 90, 180])
    style(axes, "response to a turned input", "rotation of the input (degrees)", "probability of the right class")


def draw_strip(figure: Any, net: "nn.Module", data: "Data") -> None:
    """Two test images, each beside what the learned distribution makes of it."""
    import torch

    device = next(net.parameters()).device
    inputs = data.splits["test"].inputs[:2].to(device)
    peak = 255.0 if inputs.dtype == torch.uint8 else 1.0
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        made = net.augment((inputs.float() / peak).repeat_interleave(STRIP - 1, dim=0)).unflatten(0, (len(inputs), STRIP - 1))
    pictures = torch.cat([inputs.float().unsqueeze(1) / peak, made], dim=1).clamp(0, 1).cpu()
    grid = figure.subplots(len(inputs), STRIP, squeeze=False)
    figure.suptitle("test images and samples of the learned augmentation", fontsize=10, x=0.01, ha="left")
    for row, images in zip(grid, pictures, strict=True):
        for place, (axes, image) in enumerate(zip(row, images, strict=True)):
            axes.imshow(_displayable(image), cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            if place == 0:
                axes.set_xlabel("original", fontsize=8)


def _displayable(image: "Tensor") -> Any:
    """[C, H, W] -> [H, W] or [H, W, 3]."""
    return (image[0] if image.shape[0] == 1 else image[:3].permute(1, 2, 0)).numpy()


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


def draw_width_sweep(path: Path, curve: Sequence[Mapping[str, float]], generator: str, truth: float | None) -> None:
    """Gradient of the task loss, and batch accuracy, against the forced width."""
    figure = new_figure(7.6, 3.0)
    widths = [p["width"] for p in curve]
    panels = [("gradient", "gradient of the task loss", "d loss / d width"), ("accuracy", "accuracy of a batch", "accuracy")]
    panels = [p for p in panels if p[0] in curve[0]]
    for axes, (key, title, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.plot(widths, [p[key] for p in curve], "o-", color=COLOURS[0], markersize=3, linewidth=1.4)
        if truth is not None:
            axes.axvline(truth, color="black", linestyle="--", linewidth=1, label="truth")
            axes.legend(fontsize=7, frameon=False)
        style(axes, f"{title} against a forced width", f"width of the {generator}", label)
    save(figure, path)
