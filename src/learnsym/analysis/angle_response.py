"""How the probability of the right class moves as the input turns through the full circle
(Augerino, section 5).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from learnsym.data.base import ImageData
from learnsym.groups.actions import rotate_images

DRAWS_SEED = 0
"""Every angle sees the same draws of a network's own augmentation, so that a curve is smooth and
repeatable."""


@torch.no_grad()
def angle_response(
    net: nn.Module,
    data: ImageData,
    device: torch.device,
    images: int,
    angles: int,
    copies: int | None = None,
) -> dict[str, Any]:
    """Mean predicted probability of the right class, per angle of the input.

    Args:
        net: a classifier, [B, C, H, W] -> logits or log-probabilities [B, K].
        data: its data set; the upright `prototypes` are turned where it has them, test images
            otherwise.
        device: where the network is.
        images: at most so many are turned, of every class as many as there are.
        angles: number of angles, evenly spaced on [-pi, pi], both ends included.
        copies: transformations averaged by an Augerino net, instead of its own setting.

    Returns:
        angles_deg [angles], probability [angles], and per class that was turned (name -> [angles]);
        the number of all classes.
    """
    split = data.prototypes if data.prototypes is not None else data.splits["test"]
    rows_of_split = of_every_class(split.targets, images)
    stored, targets = (
        split.inputs[rows_of_split].to(device),
        split.targets[rows_of_split].to(device),
    )
    grid = torch.linspace(-math.pi, math.pi, angles, device=device)
    before = (net.training, getattr(net, "test_copies", None))
    net.eval()
    if copies is not None and before[1] is not None:
        net.test_copies = copies  # type: ignore[assignment]
    rows, dtype = [], next((p.dtype for p in net.parameters()), torch.float32)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for angle in grid:
            torch.manual_seed(DRAWS_SEED)
            turned = rotate_images(stored.float(), angle.expand(len(stored)))
            # Back to the stored scale, so that `prepare` sees what it knows.
            seen = turned.round().to(stored.dtype) if stored.dtype == torch.uint8 else turned
            probabilities = net(data.prepare(seen).to(dtype)).float().softmax(dim=1)
            rows.append(probabilities.gather(1, targets[:, None])[:, 0])
    net.train(before[0])
    if before[1] is not None:
        net.test_copies = before[1]  # type: ignore[assignment]
    right = torch.stack(rows)  # [angles, images]
    return {
        "angles_deg": torch.rad2deg(grid).tolist(),
        "probability": right.mean(dim=1).tolist(),
        "per_class": {
            name: right[:, targets == k].mean(dim=1).tolist()
            for k, name in enumerate(data.info.class_names)
            if bool((targets == k).any())
        },
        "classes": data.info.num_outputs,
        "copies": copies if before[1] is not None else 1,
        "what": "upright prototypes" if data.prototypes is not None else "test images",
    }


def of_every_class(targets: Tensor, count: int) -> Tensor:
    """Places of the first examples of every class, in equal numbers as far as they go, at most
    `count` in all; in order.

    >>> of_every_class(torch.tensor([0, 0, 0, 0, 1, 1]), 4)
    tensor([0, 1, 4, 5])
    """
    own = targets[:, None] == targets.unique()
    rank = (own.cumsum(0) * own).sum(1)
    return rank.argsort(stable=True)[:count].sort().values
