"""Compute the mean loss of every member, its gradient, and metrics."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.dynamics.ensemble import EnsembleNet, Weights
from learnsym.training.tasks import Task

PerExample = Callable[[Tensor, Tensor], Tensor]
"""Losses [N] of outputs [N, ...] against targets [N, ...]."""


class Batch(NamedTuple):
    """Images [M or 1, B, C, H, W] and targets [M or 1, B, ...], each `counts` [M, B] times."""

    images: Tensor
    targets: Tensor
    counts: Tensor | None = None


def split_batches(split: Split, batch_size: int) -> Iterator[Batch]:
    """Yield the examples of a split in order, the same ones for all members."""
    for start in range(0, len(split), batch_size):
        rows = slice(start, start + batch_size)
        yield Batch(split.inputs[rows].unsqueeze(0), split.targets[rows].unsqueeze(0))


def risk_gradient(
    net: EnsembleNet, loss: PerExample, weights: Weights, batches: Iterable[Batch], count: int
) -> tuple[Weights, Tensor]:
    """Compute the gradient of each member's mean loss, and these losses [M] in float64.

    The batches may repeat or transform examples; their sums are divided by `count`. The gradient is
    that of the trained weights.
    """
    trained = {k: w.detach().requires_grad_() for k, w in weights.items() if k not in net.fixed}
    reduced = net.reduce(weights | trained)
    leaves = {name: w.detach().requires_grad_() for name, w in reduced.items()}
    gradient = [torch.zeros_like(leaf) for leaf in leaves.values()]
    for leaf, zeros in zip(leaves.values(), gradient, strict=True):
        leaf.grad = zeros  # added to in place, batch by batch
    total = gradient[0].new_zeros(len(gradient[0]), dtype=torch.float64)
    for images, targets, counts in batches:
        losses = _member_losses(loss, net.forward_reduced(leaves, images), targets)
        losses = (losses if counts is None else losses * counts).sum(1)
        (losses.sum() / count).backward()
        total += losses.detach().double()
    slopes = torch.autograd.grad([*reduced.values()], [*trained.values()], gradient)
    return dict(zip(trained, slopes, strict=True)), total / count


@torch.no_grad()
def risk(
    net: EnsembleNet, loss: PerExample, weights: Weights, batches: Iterable[Batch], count: int
) -> Tensor:
    """Compute the mean loss of every member, [M], float64; see `risk_gradient`."""
    reduced, totals = net.reduce(weights), []
    for images, targets, _ in batches:
        losses = _member_losses(loss, net.forward_reduced(reduced, images), targets)
        totals.append(losses.double().sum(1))
    return torch.stack(totals).sum(0) / count


def _member_losses(loss: PerExample, outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute losses [M, B] of outputs [M, B, ...] against targets [M or 1, B, ...]."""
    shape = outputs.shape[:2]
    targets = targets.expand(shape[0], *targets.shape[1:])
    return loss(outputs.flatten(0, 1), targets.flatten(0, 1)).unflatten(0, shape)


@torch.no_grad()
def member_metrics(
    net: EnsembleNet, task: Task, weights: Weights, split: Split, batch_size: int
) -> dict[str, Tensor]:
    """Compute the metrics of every member on a split, each [M], without the loss."""
    reduced, sums = net.reduce(weights), []
    for images, targets, _ in split_batches(split, batch_size):
        outputs = net.forward_reduced(reduced, images)
        sums.append(torch.stack([task.sums(member, targets[0]) for member in outputs]))
    metrics = [task.metrics(member.tolist()) for member in torch.stack(sums).sum(0)]
    return {
        key: torch.tensor([member[key] for member in metrics], dtype=torch.float64)
        for key in metrics[0]
        if key != "loss"
    }
