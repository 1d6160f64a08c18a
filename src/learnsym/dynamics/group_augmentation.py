"""Transform images in passes over a data set by group elements."""

import math
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
        if self.passes == "exact" or self.group.order <= self.passes:
            yield from self._all_elements(split, batch_size, generators)
            return
        for _ in range(self.passes):
            tables = torch.stack([self.group.sample(len(split), g) for g in generators])
            chunks = tables.to(split.targets.device).split(batch_size, dim=1)  # [M, B, points]
            for batch, chunk in zip(split_batches(split, batch_size), chunks, strict=True):
                yield self.transform(batch, chunk)

    def _all_elements(
        self, split: Split, batch_size: int, generators: list[torch.Generator]
    ) -> Iterator[Batch]:
        counts = None if self.passes == "exact" else self._counts(split, self.passes, generators)
        tables = self.group.elements().to(split.targets.device)
        pairs = torch.arange(self.group.order * len(split), device=tables.device)
        for chunk in pairs.split(batch_size):
            element, example = chunk // len(split), chunk % len(split)
            images, targets = split.inputs[example][None], split.targets[example][None]
            multiplicity = None if counts is None else counts[:, example, element]
            yield self.transform(Batch(images, targets, multiplicity), tables[None, element])

    def _counts(self, split: Split, passes: int, generators: list[torch.Generator]) -> Tensor:
        """Count the passes that draw each element, [M, N, order], in the dtype of the images."""
        shape = (passes, len(split))
        elements = torch.stack(
            [self.group.sample_indices(math.prod(shape), g).view(shape).T for g in generators]
        )  # [M, N, passes]
        counts = torch.zeros(*elements.shape[:2], self.group.order, dtype=split.inputs.dtype)
        counts.scatter_add_(2, elements, torch.ones_like(elements, dtype=counts.dtype))
        return counts.to(split.targets.device)

    def transform(self, batch: Batch, tables: Tensor) -> Batch:
        """Act by tables [M or 1, B, points] on images and masks."""
        targets = batch.targets  # masks are [M, B, K, n, n]
        targets = act_on_images(self.group, tables, targets) if targets.ndim == 5 else targets
        return Batch(act_on_images(self.group, tables, batch.images), targets, batch.counts)
