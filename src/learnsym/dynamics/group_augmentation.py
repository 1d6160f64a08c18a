"""Transform images in passes over a data set by group elements."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.dynamics.risk import Batch, split_batches
from learnsym.groups.permutation import PermutationGroup


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
            drawn = [self.group.sample_indices(self.passes * count, g) for g in generators]
            elements = torch.stack(drawn).unflatten(1, (self.passes, count)).mT  # [M, N, passes]
            zeros = torch.zeros(len(drawn), count, self.group.order, dtype=split.inputs.dtype)
            counts = zeros.scatter_add_(2, elements, torch.ones_like(elements, dtype=zeros.dtype))
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
