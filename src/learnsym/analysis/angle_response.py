"""Measure class probabilities as the input turns (Augerino, section 5)."""

import math
from typing import TypedDict

import torch
from torch import Tensor, nn

from learnsym.analysis.evaluation import dtype_of, evaluating, seeded_forward
from learnsym.data.base import Data
from learnsym.groups.actions import rotate_images
from learnsym.nets.augerino import Augerino


class AngleResponse(TypedDict):
    """Mean probability of the right class at each angle."""

    angles_deg: list[float]
    probability: list[float]
    per_class: dict[str, list[float]]
    classes: int
    copies: int | None
    what: str


@torch.no_grad()
def angle_response(
    net: nn.Module,
    data: Data,
    device: torch.device,
    images: int,
    angles: int,
    copies: int | None = None,
) -> AngleResponse:
    """Measure the predicted probability of the right class, per angle of the input.

    Args:
        net: a classifier, [B, C, H, W] -> logits or log-probabilities [B, K].
        data: its data set; the upright `prototypes` are rotated where it has them, test images
            otherwise.
        device: where the network is.
        images: rotated at most, of every class as many as there are.
        angles: number of angles, evenly spaced on [-pi, pi], both ends included.
        copies: transforms averaged by an Augerino network, instead of its own setting.
    """
    split = data.prototypes if data.prototypes is not None else data.splits["test"]
    rows = balanced_rows(split.targets, images)
    stored, targets = split.inputs[rows].to(device), split.targets[rows].to(device)
    grid = torch.linspace(-math.pi, math.pi, angles, device=device)
    dtype, correct = dtype_of(net), []
    with evaluating(net, (lambda _: copies) if copies is not None else None):
        for angle in grid:
            rotated = rotate_images(stored.float(), angle.expand(len(stored)))
            # Back to the stored scale, which `prepare` takes.
            rotated = rotated.round().to(stored.dtype) if stored.dtype == torch.uint8 else rotated
            outputs = seeded_forward(net, data.prepare(rotated).to(dtype))
            probabilities = outputs.float().softmax(dim=1)
            correct.append(probabilities.gather(1, targets[:, None])[:, 0])
    probability = torch.stack(correct)  # [angles, images]
    return {
        "angles_deg": torch.rad2deg(grid).tolist(),
        "probability": probability.mean(dim=1).tolist(),
        "per_class": {
            name: probability[:, targets == k].mean(dim=1).tolist()
            for k, name in enumerate(data.info.class_names)
            if bool((targets == k).any())
        },
        "classes": data.info.num_outputs,
        "copies": copies if isinstance(net, Augerino) else 1,
        "what": "upright prototypes" if data.prototypes is not None else "test images",
    }


def balanced_rows(targets: Tensor, count: int) -> Tensor:
    """Select the first examples of every class, `count` at most in all.

    >>> balanced_rows(torch.tensor([0, 0, 0, 0, 1, 1]), 4)
    tensor([0, 1, 4, 5])
    """
    one_hot = targets[:, None] == targets.unique()
    rank = (one_hot.cumsum(0) * one_hot).sum(1)
    return rank.argsort(stable=True)[:count].sort().values
