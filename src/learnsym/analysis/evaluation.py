"""Measure networks, repeatably and leaving no trace; how predictions vary as the input turns."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from learnsym.data.base import Data
from learnsym.groups.actions import rotate_images
from learnsym.groups.rotations import uniform_rotations
from learnsym.nets.augerino import Augerino
from learnsym.schema import PlainDict


@contextmanager
def evaluating(net: nn.Module, copies: Callable[[Augerino], int] | None = None) -> Iterator[None]:
    """Put a network into evaluation mode, an Augerino network with so many copies, and back."""
    training = net.training
    before = [(m, m.test_copies) for m in net.modules() if isinstance(m, Augerino)]
    net.eval()
    try:
        for module, test_copies in before:
            module.test_copies = copies(module) if copies else test_copies
        yield
    finally:
        net.train(training)
        for module, test_copies in before:
            module.test_copies = test_copies


def seeded_forward(net: nn.Module, inputs: Tensor) -> Tensor:
    """Compute outputs with the same draws in every call: they differ by the input alone."""
    with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
        torch.manual_seed(0)
        return net(inputs)


def _dtype_of(net: nn.Module) -> torch.dtype:
    return next((p.dtype for p in net.parameters()), torch.float32)


@torch.no_grad()
def angle_response(
    net: nn.Module,
    data: Data,
    device: torch.device,
    images: int,
    angles: int,
    copies: int | None = None,
) -> PlainDict:
    """Measure the mean probability of the right class per angle (Augerino, section 5).

    The upright `prototypes` of the data are rotated where there are any, else test images, at most
    so many `images`, by `angles` evenly spaced on [-pi, pi], both ends included. An Augerino
    network averages `copies` transforms; None: its own setting.
    """
    split = data.prototypes if data.prototypes is not None else data.splits["test"]
    rows = balanced_rows(split.targets, images)
    stored, targets = split.inputs[rows].to(device), split.targets[rows].to(device)
    grid = torch.linspace(-math.pi, math.pi, angles, device=device)
    correct = []
    with evaluating(net, (lambda _: copies) if copies is not None else None):
        for angle in grid:
            rotated = rotate_images(stored.float(), angle.expand(len(stored)))
            # Back to the stored scale, which `prepare` takes.
            rotated = rotated.round().to(stored.dtype) if stored.dtype == torch.uint8 else rotated
            outputs = seeded_forward(net, data.prepare(rotated).to(_dtype_of(net)))
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


@torch.no_grad()
def rotation_spread(
    net: nn.Module, data: Data, device: torch.device, molecules: int, rotations: int, seed: int = 0
) -> Tensor:
    """Measure the standard deviation of outputs over random rotations about the centroid.

    Each of the first so many `molecules` of the test split is turned by at least 2 `rotations`,
    uniform on SO(3). What is returned is the mean over molecules [K], float64, of the standard
    deviation of a sample (divided by rotations - 1).
    """
    split, dtype = data.splits["test"], _dtype_of(net)
    count = min(molecules, len(split))
    draws = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, rotations, 3, generator=draws, dtype=torch.float64)
    matrices = uniform_rotations(uniform).to(device, dtype)  # [count, rotations, 3, 3]
    total = torch.zeros((), dtype=torch.float64, device=device)
    with evaluating(net):
        for rows in torch.arange(count).split(100):
            stored = split.inputs[rows.to(split.targets.device)].to(device)
            points = data.prepare(stored).to(dtype)
            outputs = [
                seeded_forward(net, rotate_clouds(points, rotation)).double()
                for rotation in matrices[rows.to(device)].unbind(1)
            ]
            total = total + torch.stack(outputs).std(0).sum(0)
    return total / count


def rotate_clouds(points: Tensor, rotations: Tensor) -> Tensor:
    """Rotate clouds [B, N, 3 + C] about centroids; rows without features, padding, stay."""
    positions, features = points[..., :3], points[..., 3:]
    mask = (features != 0).any(-1, keepdim=True)
    centroid = (positions * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    rotated = centroid + (positions - centroid) @ rotations.transpose(-1, -2)
    return torch.cat([torch.where(mask, rotated, positions), features], -1)
