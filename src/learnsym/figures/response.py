"""TODO."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from learnsym.figures.style import COLOURS, _cycle, style

if TYPE_CHECKING:  # what ends a sweep draws figures without torch
    from matplotlib.axes import Axes
    from torch import Tensor, nn

    from learnsym.data.base import Data


STRIP = 8


def draw_response(axes: "Axes", curve: Mapping[str, Any]) -> None:
    """The response of one network: the mean; of two classes each of them too, dashed."""
    both = len(curve["per_class"]) == 2
    draw_responses(axes, {"both classes" if both else "": [curve]})
    if both:
        for colour, (name, values) in zip(COLOURS[1:], curve["per_class"].items(), strict=False):
            axes.plot(
                curve["angles_deg"], values, color=colour, linewidth=1.2, linestyle="--", label=name
            )
        axes.legend(fontsize=7, frameon=False)


def draw_responses(
    axes: "Axes", curves: Mapping[str, Sequence[Mapping[str, Any]]], colours: Sequence[str] = ()
) -> None:
    """Probability of the right class against the rotation of the input: per label the mean over runs, the deviation shaded."""
    if all(c.get("classes") == 2 for repeats in curves.values() for c in repeats):
        axes.axhline(0.5, color="black", linestyle=":", linewidth=1, label="one half, a guess")
    for colour, (label, repeats) in zip(
        colours or _cycle(len(curves)), curves.items(), strict=True
    ):
        angles = repeats[0]["angles_deg"]
        values = np.array(
            [c["probability"] for c in repeats if len(c["probability"]) == len(angles)]
        )
        mean = values.mean(axis=0)
        axes.plot(angles, mean, color=colour, linewidth=1.6, label=label or None)
        if len(values) > 1:
            spread = values.std(axis=0, ddof=1)
            axes.fill_between(
                angles, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0
            )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xticks([-180, -90, 0, 90, 180])
    style(
        axes,
        "response to a turned input",
        "rotation of the input (degrees)",
        "probability of the right class",
    )


def draw_strip(figure: Any, net: "nn.Module", data: "Data") -> None:
    """Two test images, each beside what the learned distribution makes of it."""
    import torch

    device = next(net.parameters()).device
    inputs = data.splits["test"].inputs[:2].to(device)
    peak = 255.0 if inputs.dtype == torch.uint8 else 1.0
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        made = net.augment((inputs.float() / peak).repeat_interleave(STRIP - 1, dim=0)).unflatten(
            0, (len(inputs), STRIP - 1)
        )
    pictures = torch.cat([inputs.float().unsqueeze(1) / peak, made], dim=1).clamp(0, 1).cpu()
    grid = figure.subplots(len(inputs), STRIP, squeeze=False)
    figure.suptitle(
        "test images and samples of the learned augmentation", fontsize=10, x=0.01, ha="left"
    )
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
