"""Compute the mean loss of every member and its gradient, on the data or on transforms of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.dynamics.ensemble import EnsembleNet, Weights
from learnsym.groups.permutation import PermutationGroup

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


def act_on_images(group: PermutationGroup, tables: Tensor, images: Tensor) -> Tensor:
    """Act with elements, given by tables [..., points], on images [..., C, n, n]."""
    return group.act(tables.unsqueeze(-2), images.flatten(-2)).unflatten(-1, images.shape[-2:])


@dataclass(frozen=True)
class GroupAugmentation:
    """Transformed passes over a split.

    Attributes:
        group: its elements act on images, and on targets that are images.
        passes: passes with an independent uniform element for every example, or "exact": one pass
            for every element.
    """

    group: PermutationGroup
    passes: int | Literal["exact"]

    @property
    def count(self) -> int:
        """Return the number of passes."""
        return self.group.order if self.passes == "exact" else self.passes

    def batches(
        self, split: Split, batch_size: int, generators: list[torch.Generator]
    ) -> Iterator[Batch]:
        """Yield all passes, with draws of each member from a generator of its own.

        From as many passes as elements on, every element is taken once, with the number of passes
        in which each example drew it: the same sums, from fewer examples.
        """
        count, device = len(split), split.targets.device
        if self.passes != "exact" and self.passes < self.group.order:
            for _ in range(self.passes):
                drawn = torch.stack([self.group.sample(count, g) for g in generators])
                tables = drawn.to(device).split(batch_size, dim=1)  # [M, B, points]
                for batch, table in zip(split_batches(split, batch_size), tables, strict=True):
                    yield self.transform(batch, table)
            return
        counts = None
        if self.passes != "exact":
            draws = [self.group.sample_indices(self.passes * count, g) for g in generators]
            indices = torch.stack(draws).unflatten(1, (self.passes, count)).mT  # [M, N, passes]
            zeros = torch.zeros(len(draws), count, self.group.order, dtype=split.inputs.dtype)
            counts = zeros.scatter_add_(2, indices, torch.ones_like(indices, dtype=zeros.dtype))
            counts = counts.to(device)
        elements = self.group.elements().to(device)
        for chunk in torch.arange(self.group.order * count, device=device).split(batch_size):
            element, example = chunk // count, chunk % count
            images, targets = split.inputs[example][None], split.targets[example][None]
            multiplicity = None if counts is None else counts[:, example, element]
            yield self.transform(Batch(images, targets, multiplicity), elements[None, element])

    def transform(self, batch: Batch, tables: Tensor) -> Batch:
        """Act by tables [M or 1, B, points] on images and masks."""
        targets = batch.targets  # masks are [M, B, K, n, n]
        targets = act_on_images(self.group, tables, targets) if targets.ndim == 5 else targets
        return Batch(act_on_images(self.group, tables, batch.images), targets, batch.counts)
