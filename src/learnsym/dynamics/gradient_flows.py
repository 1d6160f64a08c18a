"""Many members of one network trained in lockstep: gradients of the whole data set, for three arms
at once (dynamics paper).

All arms and repetitions are one leading axis of the weights, [arms x members, ...], so a step is a
sequence of batched matrix products, however many there are.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.dynamics.ensemble import EnsembleNet, Weights
from learnsym.groups.permutation import PermutationGroup
from learnsym.utils.rng import generator

ARMS = ("nominal", "equivariant", "augmented")
"""In the order of the leading axis: the first two see the same images."""
EquivariantArm = Literal["projected_gradient", "free_numbers"]
PerExample = Callable[[Tensor, Tensor], Tensor]
"""Losses [N] of outputs [N, ...] against targets [N, ...]."""


class Batch(NamedTuple):
    """Examples of every member.

    Attributes:
        images: [M or 1, B, C, H, W].
        targets: [M or 1, B, ...].
        counts: [M, B], how many times each example is there; None: once.
    """

    images: Tensor
    targets: Tensor
    counts: Tensor | None = None


def member_losses(per_example: PerExample, outputs: Tensor, targets: Tensor) -> Tensor:
    """Losses [M, B] of outputs [M, B, ...] against targets [M or 1, B, ...]."""
    members, rows = outputs.shape[:2]
    everyone = targets.expand(members, *targets.shape[1:])
    return per_example(outputs.flatten(0, 1), everyone.flatten(0, 1)).unflatten(0, (members, rows))


def risk_gradient(
    net: EnsembleNet,
    per_example: PerExample,
    weights: Weights,
    batches: Iterable[Batch],
    examples: int,
) -> tuple[Weights, Tensor]:
    """The gradient of the mean loss over `examples` examples in batches, for every member, and that
    loss [M], float64.
    """
    leaves = {name: w.detach().requires_grad_() for name, w in net.compact(weights).items()}
    for leaf in leaves.values():
        leaf.grad = torch.zeros_like(leaf)  # added to in place, batch by batch
    total = torch.zeros(
        members_of(weights), dtype=torch.float64, device=next(iter(weights.values())).device
    )
    for images, targets, counts in batches:
        losses = member_losses(per_example, net.evaluate(leaves, images), targets)
        losses = (losses if counts is None else losses * counts).sum(1)
        (losses.sum() / examples).backward()
        total += losses.detach().double()
    return net.compact_adjoint(
        {name: leaf.grad for name, leaf in leaves.items()}, weights
    ), total / examples


@torch.no_grad()
def risk(
    net: EnsembleNet,
    per_example: PerExample,
    weights: Weights,
    batches: Iterable[Batch],
    examples: int,
) -> Tensor:
    """The mean loss of every member [M], float64."""
    compact = net.compact(weights)
    sums = [
        member_losses(per_example, net.evaluate(compact, b.images), b.targets).double().sum(1)
        for b in batches
    ]
    return torch.stack(sums).sum(0) / examples


def members_of(weights: Weights) -> int:
    """M."""
    return len(next(iter(weights.values())))


def take(weights: Weights, start: int, stop: int) -> Weights:
    """Members start:stop; views."""
    return {name: w[start:stop] for name, w in weights.items()}


def stack(parts: list[Weights]) -> Weights:
    """One after the other on the leading axis."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def plain(split: Split, rows: int) -> Iterator[Batch]:
    """A split (inputs as the network sees them), the same for all members, so many rows at a
    time.
    """
    for start in range(0, len(split), rows):
        yield Batch(
            split.inputs[None, start : start + rows], split.targets[None, start : start + rows]
        )


@dataclass(frozen=True)
class Augmentation:
    """Transformed passes over a split.

    Attributes:
        group: whose elements act on images, and on targets that are images.
        passes: passes with an independent uniform element for every example, or "exact": one pass
            for every element.
    """

    group: PermutationGroup
    passes: int | Literal["exact"]

    @property
    def count(self) -> int:
        """How many passes there are."""
        return self.group.order if self.passes == "exact" else self.passes

    def batches(self, split: Split, rows: int, draws: list[torch.Generator]) -> Iterator[Batch]:
        """All passes, so many rows at a time; every member (generator) has draws of its own,
        whatever the rows.

        Of a group that has no more elements than there are passes, every element is taken once, as
        for exact averages, with the number of times that each example drew it: the same sums, from
            fewer examples.
        """
        if self.passes == "exact" or self.group.order <= self.passes:
            counts = None if self.passes == "exact" else self._counts(split, draws)
            tables, examples = self.group.elements().to(split.inputs.device), len(split)
            for pairs in torch.arange(self.group.order * examples, device=tables.device).split(
                rows
            ):
                number, example = pairs // examples, pairs % examples
                images, targets, table = (
                    split.inputs[None, example],
                    split.targets[None, example],
                    tables[None, number],
                )
                times = None if counts is None else counts[:, example, number]
                yield Batch(self.move(images, table), self.moved_targets(targets, table), times)
            return
        for _ in range(self.passes):
            tables = torch.stack([self.group.sample(len(split), g) for g in draws]).to(
                split.inputs.device
            )  # [M, N, points]
            for (images, targets, _), part in zip(
                plain(split, rows), tables.split(rows, dim=1), strict=True
            ):
                yield Batch(self.move(images, part), self.moved_targets(targets, part))

    def _counts(self, split: Split, draws: list[torch.Generator]) -> Tensor:
        """How many of the passes draw each element, [M, N, order], in the dtype of the images."""
        assert isinstance(self.passes, int)
        shape = (self.passes, len(split))
        numbers = torch.stack(
            [self.group.sample_indices(math.prod(shape), g).view(shape).T for g in draws]
        )  # [M, N, passes]
        counts = torch.zeros(len(draws), len(split), self.group.order, dtype=split.inputs.dtype)
        return counts.scatter_add_(2, numbers, torch.ones_like(numbers, dtype=counts.dtype)).to(
            split.inputs.device
        )

    def move(self, images: Tensor, table: Tensor) -> Tensor:
        """Images [m, B, C, n, n] by tables [m, B, points]."""
        return self.group.act(table.unsqueeze(2), images.flatten(3)).unflatten(3, images.shape[3:])

    def moved_targets(self, targets: Tensor, table: Tensor) -> Tensor:
        """Masks [m, B, K, n, n] move with their images, anything else stays."""
        return self.move(targets, table) if targets.ndim == 5 else targets


def member_draws(seed: int, members: range, purpose: str) -> list[torch.Generator]:
    """A generator for every member, which depends on nothing but the seed, the member's number and
    the purpose.
    """
    return [generator(seed, f"member {m}/{purpose}") for m in members]


class GradientFlows:
    """Nominal, equivariant and augmented gradient descent from the same equivariant start, for
    several members.

    * nominal: A <- A - lr grad R(A)
    * equivariant: A <- A - lr Pi_E grad R(A)
    * augmented: A <- A - lr grad R_aug(A), with R_aug the mean over passes

    Every gradient is that of the whole split, so that the number of rows at a time changes nothing
    but rounding.
    """

    def __init__(
        self,
        net: EnsembleNet,
        per_example: PerExample,
        split: Split,
        augmentation: Augmentation,
        lr: float,
        rows: int,
        seed: int,
        members: range,
        equivariant: EquivariantArm = "projected_gradient",
    ) -> None:
        """Args:
        net: the function.
        per_example: its loss.
        split: the training examples; inputs as the network sees them, on its device.
        augmentation: of the augmented arm.
        lr: step size times the gradient of the mean loss.
        rows: examples at a time (per member).
        seed, members: decide the start and all draws.
        equivariant: step along the projected gradient, or train the free numbers of the
            equivariant weights in an orthonormal basis (the same in exact arithmetic; only for
            nets that have coordinates).
        """
        self.net, self.per_example, self.split, self.augmentation = (
            net,
            per_example,
            split,
            augmentation,
        )
        self.lr, self.rows, self.seed, self.members, self.equivariant = (
            lr,
            rows,
            seed,
            members,
            equivariant,
        )
        like = split.inputs
        start = stack([net.draw(g) for g in member_draws(seed, members, "start")])
        self.start = {name: w.to(like.device, like.dtype) for name, w in start.items()}
        if (
            like.dtype == torch.float64
        ):  # drawn in float32, projected again: equivariant to the last bit of float64
            self.start = net.project(self.start)
        self.weights = stack([self.start] * len(ARMS))
        self.step_number = 0

    def arm(self, name: str) -> Weights:
        """The weights of one arm, [M, ...]; views."""
        place, count = ARMS.index(name), len(self.members)
        return take(self.weights, place * count, (place + 1) * count)

    def gradients(self) -> tuple[Weights, Weights, Tensor]:
        """Gradients of R [2 M, ...] at the nominal and the equivariant arm and of R_aug [M, ...] at
        the augmented one; the losses [2 M] of the first two.
        """
        count, examples = len(self.members), len(self.split)
        both = take(self.weights, 0, 2 * count)
        raw, losses = risk_gradient(
            self.net, self.per_example, both, plain(self.split, self.rows), examples
        )
        draws = member_draws(self.seed, self.members, f"passes of step {self.step_number}")
        passes = self.augmentation.batches(self.split, self.rows, draws)
        total = examples * self.augmentation.count
        augmented, _ = risk_gradient(
            self.net, self.per_example, self.arm("augmented"), passes, total
        )
        return raw, augmented, losses

    def step(self) -> Tensor:
        """One step of every arm and member; the losses [2 M] of the nominal and the equivariant arm
        before it.
        """
        count = len(self.members)
        raw, augmented, losses = self.gradients()
        self._descend("nominal", take(raw, 0, count))
        self._descend("augmented", augmented)
        within = take(raw, count, 2 * count)
        if self.equivariant == "projected_gradient":
            self._descend("equivariant", self.net.project(within))
        else:
            numbers, slope = (
                self.net.coordinates(self.arm("equivariant")),
                self.net.coordinates(within),
            )
            new = self.net.from_coordinates(
                {name: numbers[name] - self.lr * slope[name] for name in numbers}
            )
            for name, weight in self.arm("equivariant").items():
                weight.copy_(new[name])
        self.step_number += 1
        return losses

    def _descend(self, arm: str, direction: Weights) -> None:
        for name, weight in self.arm(arm).items():
            weight.sub_(direction[name], alpha=self.lr)

    def restore(self, weights: Weights, step: int) -> None:
        """Go on from the weights [3 M, ...] after a step."""
        for name, weight in self.weights.items():
            weight.copy_(weights[name])
        self.step_number = step

    def risks(self, arm: str) -> Tensor:
        """R(A) of one arm on the training examples as they are, [M]."""
        return risk(
            self.net, self.per_example, self.arm(arm), plain(self.split, self.rows), len(self.split)
        )
