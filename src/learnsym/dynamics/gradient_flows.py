"""Full-batch gradient descent of three arms from one equivariant start (dynamics paper, v1).

All arms and members are one leading axis of the weights, [arms x members, ...], so that a step is
a sequence of batched matrix products, however many there are.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, float64

from learnsym.data.base import Split
from learnsym.dynamics import ensemble
from learnsym.dynamics.ensemble import EnsembleNet, Weights, member_generators, slice_members
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.dynamics.risk import GroupAugmentation, PerExample, risk, risk_gradient, split_batches

ARMS = ("nominal", "equivariant", "augmented")
"""The arms in the order of the leading axis; the first two see the same images."""
EquivariantArm = Literal["projected_gradient", "free_numbers"]


@dataclass(eq=False)
class GradientFlows:
    """Nominal, equivariant and augmented gradient descent from the same equivariant start.

    * nominal: A <- A - lr grad R(A)
    * equivariant: A <- A - lr Pi_E grad R(A)
    * augmented: A <- A - lr grad R_aug(A), with R_aug the mean over passes

    Every gradient is that of the whole split, so that the batch size changes nothing but rounding.
    Seed and numbers of the members decide the start and all draws.

    Attributes:
        split: training examples as the network takes them, on its device.
        equivariant: step along the projected gradient, or train the coordinates of the equivariant
            weights in an orthonormal basis of E (the same in exact arithmetic).
        start: weights [M, ...] before the first step.
        weights: [3 M, ...].
    """

    net: EnsembleNet
    per_example: PerExample
    split: Split
    augmentation: GroupAugmentation
    lr: float
    batch_size: int
    seed: int
    members: range
    equivariant: EquivariantArm = "projected_gradient"

    def __post_init__(self) -> None:
        draws = member_generators(self.seed, self.members, "start")
        drawn = ensemble.concat_members([self.net.sample_equivariant(g) for g in draws])
        start = ensemble.weights_like(drawn, self.split.inputs[:1])
        if self.split.inputs.dtype == float64:  # drawn in float32: equivariant up to its rounding
            start = self.net.project(start)
        self.start = start
        self.weights = ensemble.concat_members([start] * len(ARMS))
        self.step_number = 0

    def arm(self, name: str) -> Weights:
        """Return views of the weights of one arm, [M, ...]."""
        index, count = ARMS.index(name), len(self.members)
        return slice_members(self.weights, index * count, (index + 1) * count)

    def step(self) -> Tensor:
        """Step every arm; return the earlier losses R [2 M] of the first two."""
        count, examples = len(self.members), len(self.split)
        first_two = slice_members(self.weights, 0, 2 * count)
        batches = split_batches(self.split, self.batch_size)
        slope, losses = risk_gradient(self.net, self.per_example, first_two, batches, examples)
        draws = member_generators(self.seed, self.members, f"passes of step {self.step_number}")
        batches = self.augmentation.batches(self.split, self.batch_size, draws)
        total, weights = examples * self.augmentation.count, self.arm("augmented")
        augmented, _ = risk_gradient(self.net, self.per_example, weights, batches, total)
        self._descend("nominal", slice_members(slope, 0, count))
        self._descend("augmented", augmented)
        if self.equivariant == "projected_gradient":
            projected = self.net.project(slice_members(slope, count, 2 * count))
            self._descend("equivariant", projected)
        else:
            self._descend_in_coordinates(slice_members(slope, count, 2 * count))
        self.step_number += 1
        return losses

    def _descend(self, arm: str, direction: Weights) -> None:
        for name, weight in self.arm(arm).items():
            weight.sub_(direction[name], alpha=self.lr)

    def _descend_in_coordinates(self, gradient: Weights) -> None:
        net, weights = self.net, self.arm("equivariant")
        assert isinstance(net, ProjectedLinear)
        slope = net.coordinates(gradient)
        stepped = {k: value - self.lr * slope[k] for k, value in net.coordinates(weights).items()}
        for name, value in net.from_coordinates(stepped).items():
            weights[name].copy_(value)

    def restore(self, weights: Weights, step: int) -> None:
        """Continue from the weights [3 M, ...] after a step."""
        for name, weight in self.weights.items():
            weight.copy_(weights[name])
        self.step_number = step

    def risks(self, arm: str) -> Tensor:
        """Compute R(A) of one arm on the untransformed training examples, [M]."""
        batches = split_batches(self.split, self.batch_size)
        return risk(self.net, self.per_example, self.arm(arm), batches, len(self.split))
