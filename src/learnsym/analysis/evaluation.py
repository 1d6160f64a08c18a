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
    """Put a network into evaluation mode, and back.

    An Augerino network averages `copies` transforms of an input, or as many as it is set to.
    """
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

    Args:
        net: a classifier, [B, C, H, W] -> logits or log-probabilities [B, K].
        data: its upright `prototypes` are rotated where it has them, test images otherwise.
        device: where the network is.
        images: rotated at most, of every class as many as there are.
        angles: number of angles, evenly spaced on [-pi, pi], both ends included.
        copies: transforms averaged by an Augerino network, instead of its own setting.
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

    Args:
        net: [B, N, 3 + C] -> [B, K].
        data: point clouds.
        device: where the network is.
        molecules: the first so many of the test split, or all.
        rotations: of each molecule, uniform on SO(3); at least 2.
        seed: of the rotations.

    Returns:
        The mean over molecules [K], float64, in units of the outputs; the standard deviation is
        that of a sample (divided by rotations - 1).
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
    """Rotate clouds [B, N, 3 + C] about their centroids by [B, 3, 3].

    Rows without features are padding and stay.
    """
    positions, features = points[..., :3], points[..., 3:]
    mask = (features != 0).any(-1, keepdim=True)
    centroid = (positions * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    rotated = centroid + (positions - centroid) @ rotations.transpose(-1, -2)
    return torch.cat([torch.where(mask, rotated, positions), features], -1)
