"""Mini-batch descent of an ensemble: an equivariant training, then a free one on the data united
with their transforms.

The second version of the dynamics paper: does a free training that starts equivariant stay so?
"""

from typing import Literal

import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.dynamics.ensemble import EnsembleNet, Weights
from learnsym.dynamics.gradient_flows import Batch, PerExample, risk_gradient
from learnsym.groups.permutation import PermutationGroup
from learnsym.utils.rng import generator

Batching = Literal["plain", "shuffled", "whole_orbits"]


class MiniBatchSGD:
    """Plain SGD of M members in lockstep, each in an order of its own that depends on the seed, the
    member and the epoch alone.

    * plain: batches of the data as they are
    * shuffled: batches of the data united with all their transforms, shuffled as one set
    * whole_orbits: batches of all transforms of a few examples, so that every batch is closed under
      the group
    """

    def __init__(
        self,
        net: EnsembleNet,
        per_example: PerExample,
        split: Split,
        group: PermutationGroup,
        batching: Batching,
        weights: Weights,
        *,
        lr: float,
        batch_size: int,
        equivariant: bool,
        seed: int,
        members: range,
    ) -> None:
        """Args:
            net, per_example: the function and its loss.
            split: training examples, inputs as the network sees them, on its device.
            group: whose elements transform them.
            batching: see above.
            weights: of the members, on the device; changed in place.
            lr: step size times the gradient of the batch's mean loss.
            batch_size: examples (transforms counted) in a step.
            equivariant: step along the projected gradient.
            seed, members: decide the orders.

        Raises:
            ValueError: a batch of whole orbits is not a whole number of them.
        """
        if batching == "whole_orbits" and batch_size % group.order:
            raise ValueError(
                f"batch_size={batch_size} is no multiple of the {group.order} elements of {group}"
            )
        self.net, self.per_example, self.split, self.group, self.batching = (
            net,
            per_example,
            split,
            group,
            batching,
        )
        self.weights, self.lr, self.batch_size, self.equivariant = (
            weights,
            lr,
            batch_size,
            equivariant,
        )
        self.seed, self.members, self.step_number = seed, members, 0
        self.copies = 1 if batching == "plain" else group.order
        self.tables = group.elements().to(split.inputs.device)
        self.steps_per_epoch = -(-len(split) * self.copies // batch_size)
        self._order: tuple[int, Tensor] | None = None

    def step(self) -> Tensor:
        """One step of every member; the losses [M] of its batches before it."""
        batch = self.batch()
        gradient, losses = risk_gradient(
            self.net, self.per_example, self.weights, [batch], batch.images.shape[1]
        )
        for name, direction in (
            self.net.project(gradient) if self.equivariant else gradient
        ).items():
            self.weights[name].sub_(direction, alpha=self.lr)
        self.step_number += 1
        return losses

    def batch(self) -> Batch:
        """Images [M, B, C, n, n] and targets [M, B] of the step to come."""
        epoch, place = divmod(self.step_number, self.steps_per_epoch)
        numbers = self.order(epoch)[:, place * self.batch_size : (place + 1) * self.batch_size]
        example, element = numbers // self.copies, numbers % self.copies
        images = self.split.inputs[example]
        if self.copies > 1:
            images = self.group.act(self.tables[element].unsqueeze(2), images.flatten(3)).unflatten(
                3, images.shape[3:]
            )
        return Batch(images, self.split.targets[example])

    def order(self, epoch: int) -> Tensor:
        """Numbers example * copies + element, [M, examples x copies], in the order of this
        epoch.
        """
        if self._order is None or self._order[0] != epoch:
            rows = [
                self._member_order(
                    generator(self.seed, f"member {m}/{self.batching} epoch {epoch}")
                )
                for m in self.members
            ]
            self._order = epoch, torch.stack(rows).to(self.split.inputs.device)
        return self._order[1]

    def _member_order(self, draws: torch.Generator) -> Tensor:
        if self.batching == "whole_orbits":
            examples = torch.randperm(len(self.split), generator=draws)
            return (examples[:, None] * self.copies + torch.arange(self.copies)).flatten()
        return torch.randperm(len(self.split) * self.copies, generator=draws)
