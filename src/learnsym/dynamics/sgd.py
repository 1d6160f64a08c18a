"""Mini-batch descent of an ensemble, with or without constraint (dynamics paper, version 2).

The question: does a free training that starts equivariant stay so, on the data united with their
transforms?
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.dynamics.ensemble import EnsembleNet, Weights, member_generators
from learnsym.dynamics.risk import Batch, PerExample, act_on_images, risk_gradient
from learnsym.groups.permutation import PermutationGroup

Batching = Literal["plain", "shuffled", "whole_orbits"]


@dataclass(eq=False)
class MiniBatchSGD:
    """Plain SGD of M members in lockstep, each in an order that seed, member and epoch decide.

    * plain: batches of the data as they are
    * shuffled: batches of the data united with all their transforms, shuffled as one set
    * whole_orbits: batches of all transforms of a few examples, so that every batch is closed under
      the group

    Attributes:
        split: training examples as the network takes them, on its device.
        weights: of the members, on the device; changed in place.
        batch_size: examples in a step, transforms counted; of whole orbits a whole number.
        equivariant: whether to step along the projected gradient.
    """

    net: EnsembleNet
    per_example: PerExample
    split: Split
    group: PermutationGroup
    batching: Batching
    weights: Weights
    lr: float
    batch_size: int
    equivariant: bool
    seed: int
    members: range
    step_number: int = 0

    def __post_init__(self) -> None:
        if self.batching == "whole_orbits" and self.batch_size % self.group.order:
            raise ValueError(
                f"batch_size={self.batch_size} is no multiple of the {self.group.order} elements "
                f"of {self.group}"
            )
        self.copies = 1 if self.batching == "plain" else self.group.order
        self.steps_per_epoch = -(-len(self.split) * self.copies // self.batch_size)
        self._tables = self.group.elements().to(self.split.targets.device)
        self._order: tuple[int, Tensor] | None = None

    def step(self) -> Tensor:
        """Step every member; return the losses [M] of the batches before the step."""
        batch = self.batch()
        gradient, losses = risk_gradient(
            self.net, self.per_example, self.weights, [batch], batch.images.shape[1]
        )
        gradient = self.net.project(gradient) if self.equivariant else gradient
        for name, direction in gradient.items():
            self.weights[name].sub_(direction, alpha=self.lr)
        self.step_number += 1
        return losses

    def batch(self) -> Batch:
        """Return images [M, B, C, n, n] and targets [M, B] of the next step."""
        epoch, index = divmod(self.step_number, self.steps_per_epoch)
        rows = self.order(epoch)[:, index * self.batch_size : (index + 1) * self.batch_size]
        example, element = rows // self.copies, rows % self.copies
        images = self.split.inputs[example]
        if self.copies > 1:
            images = act_on_images(self.group, self._tables[element], images)
        return Batch(images, self.split.targets[example])

    def order(self, epoch: int) -> Tensor:
        """Return the order of an epoch: example * copies + element, [M, examples x copies]."""
        if self._order is None or self._order[0] != epoch:
            draws = member_generators(self.seed, self.members, f"{self.batching} epoch {epoch}")
            rows = torch.stack([self._member_order(g) for g in draws])
            self._order = epoch, rows.to(self.split.targets.device)
        return self._order[1]

    def _member_order(self, draws: torch.Generator) -> Tensor:
        if self.batching == "whole_orbits":
            examples = torch.randperm(len(self.split), generator=draws)
            return (examples[:, None] * self.copies + torch.arange(self.copies)).flatten()
        return torch.randperm(len(self.split) * self.copies, generator=draws)
