"""Draw what a network does with rotated inputs, and what a learned augmentation makes of images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from learnsym.figures.style import COLOURS, add_legend, colours, draw_band, label_axes
from learnsym.schema import PlainDict

if TYPE_CHECKING:  # what ends a sweep draws figures without torch
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from learnsym.data.base import Data

Curve = PlainDict
"""angles_deg, probability, per_class and classes, of `learnsym.analysis.evaluation`."""
_COLUMNS = 8


def draw_response(axes: "Axes", curve: Curve) -> None:
    """Draw the mean response of one network; of two classes each of them too, dashed."""
    both = len(curve["per_class"]) == 2
    draw_responses(axes, {"both classes" if both else "": [curve]})
    if both:
        for colour, (name, values) in zip(COLOURS[1:], curve["per_class"].items(), strict=False):
            axes.plot(curve["angles_deg"], values, "--", color=colour, linewidth=1.2, label=name)
        add_legend(axes)


def draw_responses(
    axes: "Axes", curves: Mapping[str, Sequence[Curve]], colours_of: Sequence[str] = ()
) -> None:
    """Draw the probability of the right class against the rotation of the input.

    Args:
        axes: where.
        curves: of the runs of each label; the mean is drawn, the deviation shaded.
        colours_of: the labels; empty: as they come.
    """
    if all(c.get("classes") == 2 for runs in curves.values() for c in runs):
        axes.axhline(0.5, color="black", linestyle=":", linewidth=1, label="one half, a guess")
    chosen = colours_of or colours(len(curves))
    for colour, (label, runs) in zip(chosen, curves.items(), strict=True):
        angles = runs[0]["angles_deg"]
        same = [c["probability"] for c in runs if len(c["probability"]) == len(angles)]
        draw_band(axes, angles, np.array(same), colour, label or None)
    add_legend(axes)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xticks([-180, -90, 0, 90, 180])
    x = "rotation of the input (degrees)"
    label_axes(axes, "response to a turned input", x, "probability of the right class")


def draw_augmented_images(figure: "SubFigure", net: Any, data: "Data") -> None:
    """Draw two test images, each beside samples of the distribution that `net` learned."""
    import torch

    device = next(net.parameters()).device
    inputs = data.splits["test"].inputs[:2].to(device)
    images = inputs.float() / (255.0 if inputs.dtype == torch.uint8 else 1.0)
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        samples = net.augment(images.repeat_interleave(_COLUMNS - 1, dim=0))
    samples = samples.unflatten(0, (len(images), _COLUMNS - 1))
    grid = torch.cat([images.unsqueeze(1), samples], dim=1).clamp(0, 1).cpu()
    title = "test images and samples of the learned augmentation"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    panels = figure.subplots(len(inputs), _COLUMNS, squeeze=False)
    for axes, image in zip(panels.flatten(), grid.flatten(0, 1), strict=True):
        shown = image[0] if image.shape[0] == 1 else image[:3].permute(1, 2, 0)
        axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in panels[:, 0]:
        axes.set_xlabel("original", fontsize=8)
