"""The theory of the optimisation dynamics in float64, averaging over whole groups; members, rows
and restarts change nothing."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.dynamics.ensemble import Weights, concat_members, member_generators, slice_members
from learnsym.dynamics.gradient_flows import ARMS, GradientFlows
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.dynamics.risk import Batch, GroupAugmentation, risk, risk_gradient, split_batches
from learnsym.groups.permutation import GROUPS, named_group
from learnsym.training.tasks import Classification, Segmentation

SIDE, EXAMPLES = 4, 7
every = pytest.mark.parametrize("name", list(GROUPS))
both = pytest.mark.parametrize("task", ["classification", "segmentation"])


@dataclass
class Problem:
    """A small network, its loss and a few examples (noise: nothing about them is symmetric)."""

    net: ProjectedLinear
    loss: object
    split: Split

    def flows(
        self, lr=0.3, passes="exact", members=range(2), rows=100, seed=0, **settings
    ) -> GradientFlows:
        augmentation = GroupAugmentation(self.net.group, passes)
        return GradientFlows(
            self.net, self.loss, self.split, augmentation, lr, rows, seed, members, **settings
        )

    def gradient(self, weights: Weights, rows: int = 100) -> Weights:
        """Of the plain risk."""
        return risk_gradient(
            self.net, self.loss, weights, split_batches(self.split, rows), len(self.split)
        )[0]

    def augmented_gradient(self, weights: Weights, passes, draws=(), rows: int = 100) -> Weights:
        augmentation = GroupAugmentation(self.net.group, passes)
        batches = augmentation.batches(self.split, rows, list(draws))
        return risk_gradient(
            self.net, self.loss, weights, batches, len(self.split) * augmentation.count
        )[0]


def problem(
    name: str, task: str, dtype: torch.dtype = torch.float64, **settings: object
) -> Problem:
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(EXAMPLES, 2, SIDE, SIDE, dtype=dtype, generator=draw)
    group = named_group(name, SIDE)
    if task == "segmentation":
        masks = (torch.rand(EXAMPLES, 3, SIDE, SIDE, generator=draw) < 0.4).float()
        net = ProjectedLinear(2, 3, task, group, (3,), None, seed=0, **settings)
        return Problem(net, Segmentation().per_example, Split(images, masks))
    labels = torch.randint(3, (EXAMPLES,), generator=draw)
    net = ProjectedLinear(2, 3, task, group, (3,), 4, (3,), seed=0, **settings)
    return Problem(net, Classification().per_example, Split(images, labels))


def size(weights: Weights) -> float:
    return float(torch.cat([w.detach().flatten() for w in weights.values()]).norm())


def difference(a: Weights, b: Weights) -> float:
    """|a - b| / |b|, over all weights."""
    assert a.keys() == b.keys()
    return size({k: a[k] - b[k] for k in a}) / size(b)


def run(flows: GradientFlows, steps: int) -> GradientFlows:
    for _ in range(steps):
        flows.step()
    return flows


# --- theory


@every
@both
def test_at_equivariant_weights_the_augmented_gradient_is_the_projected_one(name, task):
    at = problem(name, task)
    start = at.flows().start
    raw, augmented = at.gradient(start), at.augmented_gradient(start, "exact")
    projected = at.net.project(raw)
    assert difference(augmented, projected) < 1e-10
    assert size(at.net.residual(augmented)) < 1e-10 * size(augmented)
    assert size(at.net.residual(raw)) > 0.1 * size(raw), (
        "the examples are symmetric: nothing would have been shown"
    )


@every
@both
def test_the_augmented_trajectory_is_the_equivariant_one(name, task):
    flows = problem(name, task).flows()
    assert flows.net.distance(flows.start).max() < 1e-14
    losses = torch.stack([flows.step() for _ in range(20)])
    moved = {arm: {k: w - flows.start[k] for k, w in flows.arm(arm).items()} for arm in ARMS}
    assert difference(moved["augmented"], moved["equivariant"]) < 1e-8
    assert difference(moved["nominal"], moved["equivariant"]) > 1e-2
    change = flows.net.change(flows.arm("equivariant"), flows.start)
    assert change.min() > 1e-3, "nothing was learnt"
    assert flows.net.distance(flows.arm("equivariant")).max() < 1e-13
    assert flows.net.distance(flows.arm("augmented")).max() < 1e-8 * change.max()
    assert flows.net.distance(flows.arm("nominal")).min() > 1e-4
    assert (losses[-1] < losses[0]).all()
    assert flows.step_number == 20


@every
@both
def test_the_nominal_arm_leaves_at_first_order(name, task):
    """distance(time t) / t tends to the norm of the gradient's part outside E; with steps of t / 3
    the error halves with t."""
    at = problem(name, task)
    start = at.flows().start
    speed = at.net.norms(at.net.residual(at.gradient(start)))
    assert speed.min() > 1e-3
    for h in (1e-1, 1e-2):  # of one step it is exact
        flows = run(at.flows(lr=h, passes=1), 1)
        torch.testing.assert_close(
            at.net.distance(flows.arm("nominal")) / h, speed, rtol=1e-9, atol=0
        )
    errors = []
    for t in (4e-4, 2e-4, 1e-4):
        flows = run(at.flows(lr=t / 3, passes=1), 3)
        errors.append(
            float((at.net.distance(flows.arm("nominal")) / t - speed).norm() / speed.norm())
        )
    assert errors[0] < 0.05
    for coarse, fine in pairwise(errors):
        assert 1.5 < coarse / fine < 2.5


@every
@both
def test_training_the_free_numbers_is_the_projected_gradient(name, task):
    at = problem(name, task)
    kinds = ("projected_gradient", "free_numbers")
    one, other = (
        run(at.flows(passes=1, equivariant=kind), 20).arm("equivariant") for kind in kinds
    )
    assert difference(one, other) < 1e-10
    weights = at.flows().start
    numbers = {k: n.requires_grad_() for k, n in at.net.coordinates(weights).items()}
    outputs = at.net.forward_members(at.net.from_coordinates(numbers), at.split.inputs[None])
    total = sum(at.loss(member, at.split.targets).mean() for member in outputs)
    found = dict(zip(numbers, torch.autograd.grad(total, list(numbers.values())), strict=True))
    assert difference(at.net.coordinates(at.gradient(weights)), found) < 1e-10


@both
def test_every_arm_descends_along_its_own_gradient(task):
    """One step, each arm from weights of its own: A - lr times the gradient that the class names,
    and the losses before it."""
    at = problem("quarter_turns", task)
    flows = at.flows(lr=0.1)
    noise = torch.Generator().manual_seed(4)
    flows.restore(
        {
            k: w + 0.1 * torch.randn(w.shape, dtype=w.dtype, generator=noise)
            for k, w in flows.weights.items()
        },
        0,
    )
    before = {arm: {k: w.clone() for k, w in flows.arm(arm).items()} for arm in ARMS}
    expected = {
        "nominal": at.gradient(before["nominal"]),
        "equivariant": at.net.project(at.gradient(before["equivariant"])),
        "augmented": at.augmented_gradient(before["augmented"], "exact"),
    }
    risks = torch.cat([flows.risks("nominal"), flows.risks("equivariant")])
    torch.testing.assert_close(flows.step(), risks, rtol=1e-12, atol=0)
    for arm, slope in expected.items():
        stepped = {k: before[arm][k] - flows.arm(arm)[k] for k in slope}
        assert difference(stepped, {k: 0.1 * g for k, g in slope.items()}) < 1e-12, arm


@both
def test_gradients_are_those_of_the_mean_loss(task):
    at = problem("shift_x", task)
    weights = at.flows().start
    leaves = {k: w.clone().requires_grad_() for k, w in weights.items()}
    outputs = at.net.forward_members(leaves, at.split.inputs[None])
    means = [at.loss(member, at.split.targets).mean() for member in outputs]
    found = dict(zip(leaves, torch.autograd.grad(sum(means), list(leaves.values())), strict=True))
    by_rows, losses = risk_gradient(at.net, at.loss, weights, split_batches(at.split, 3), EXAMPLES)
    assert difference(by_rows, found) < 1e-12
    torch.testing.assert_close(losses, torch.stack(means).detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        risk(at.net, at.loss, weights, split_batches(at.split, 2), EXAMPLES),
        losses,
        rtol=1e-12,
        atol=0,
    )


# --- rows, members, restarts


@both
@pytest.mark.parametrize("passes", [3, 64, "exact"])
def test_the_rows_at_a_time_change_nothing(task, passes):
    at = problem("shift_turns", task)
    steps = [run(at.flows(passes=passes, rows=rows), 2).weights for rows in (EXAMPLES, 3, 100)]
    for other in steps[1:]:
        assert difference(other, steps[0]) < 1e-12


@both
@pytest.mark.parametrize("name", ["permutation", "shift_turns"])
@pytest.mark.parametrize("kind", ["projected_gradient", "free_numbers"])
def test_a_member_is_the_same_alone(name, task, kind):
    at = problem(name, task, torch.float32, symmetric_inputs=name == "permutation")
    together = run(at.flows(passes=2, members=range(3), equivariant=kind), 5)
    for m in range(3):
        alone = run(at.flows(passes=2, members=range(m, m + 1), equivariant=kind), 5)
        for arm in ARMS:
            assert difference(slice_members(together.arm(arm), m, m + 1), alone.arm(arm)) < 1e-5
        assert all(w.equal(together.start[k][m : m + 1]) for k, w in alone.start.items())
    assert (
        difference(slice_members(together.start, 0, 1), slice_members(together.start, 1, 2)) > 0.5
    )


def test_a_restored_training_goes_on_to_the_last_bit():
    at = problem("shift_turns", "classification", torch.float32)
    expected = run(at.flows(passes=2), 4)
    half = run(at.flows(passes=2), 2)
    kept = {k: w.clone() for k, w in half.weights.items()}
    other = run(at.flows(passes=2), 1)  # whatever it did before
    other.restore(kept, 2)
    run(other, 2)
    assert other.step_number == 4
    assert all(w.equal(expected.weights[k]) for k, w in other.weights.items())
    forgotten = at.flows(passes=2)
    forgotten.restore(kept, 0)
    run(forgotten, 2)
    assert difference(forgotten.arm("nominal"), expected.arm("nominal")) == 0
    assert difference(forgotten.arm("augmented"), expected.arm("augmented")) > 1e-6, (
        "draws belong to steps"
    )


# --- draws


@every
@both
@pytest.mark.parametrize("passes", [2, 5])
def test_random_passes_average_to_the_whole_group(name, task, passes):
    """At weights that are not equivariant, 300 members with the same weights and draws of their
    own; standard errors decide."""
    at, count = problem(name, task), 300
    weights = slice_members(at.flows().start, 0, 1)
    noise = torch.Generator().manual_seed(4)
    weights = {
        k: w + 0.3 * torch.randn(w.shape, dtype=w.dtype, generator=noise)
        for k, w in weights.items()
    }
    exact, raw = at.augmented_gradient(weights, "exact"), at.gradient(weights)
    draws = member_generators(0, range(count), "a test")
    drawn = at.augmented_gradient(concat_members([weights] * count), passes, draws, rows=5)
    error = size({k: g.mean(0) - exact[k][0] for k, g in drawn.items()})
    standard = float(sum(g.var(0).sum() for g in drawn.values()) / count) ** 0.5
    assert 0.3 * standard < error < 3 * standard
    assert 10 * standard < size({k: exact[k] - raw[k] for k in raw}) + size(exact), (
        "so few draws would show nothing"
    )


@both
@pytest.mark.parametrize("name", ["shift_x", "quarter_turns"])
def test_more_passes_than_elements_are_counted(name, task):
    """Against one pass after the other with the same draws."""
    at, passes, members = problem(name, task), 9, range(2)
    weights = concat_members(
        [slice_members(at.flows(members=members).start, m, m + 1) for m in members]
    )
    weights = {
        k: w + 0.1 * torch.randn(w.shape, dtype=w.dtype, generator=torch.Generator().manual_seed(2))
        for k, w in weights.items()
    }
    augmentation, tables = GroupAugmentation(at.net.group, passes), at.net.group.elements()
    numbers = [
        at.net.group.sample_indices(passes * EXAMPLES, g).view(passes, -1)
        for g in member_generators(0, members, "")
    ]
    (batch,) = augmentation.batches(at.split, 100, member_generators(0, members, ""))
    assert batch.images.shape[1] == at.net.group.order * EXAMPLES < passes * EXAMPLES

    def one_by_one():
        for number in zip(*numbers, strict=True):
            table = tables[torch.stack(number)]  # [M, N, points]
            yield augmentation.transform(
                Batch(at.split.inputs[None], at.split.targets[None]), table
            )

    expected, losses = risk_gradient(at.net, at.loss, weights, one_by_one(), passes * EXAMPLES)
    draws = member_generators(0, members, "")
    found, same = risk_gradient(
        at.net, at.loss, weights, augmentation.batches(at.split, 3, draws), passes * EXAMPLES
    )
    assert difference(found, expected) < 1e-12
    torch.testing.assert_close(same, losses, rtol=1e-12, atol=0)
    assert (losses[0] - losses[1]).abs() > 1e-3


@pytest.mark.parametrize("passes", [3, "exact"])
def test_masks_move_with_their_images_and_classes_stay(passes):
    at = problem("shift_turns", "segmentation")
    split = Split(at.split.inputs, (at.split.inputs > 0).float())
    augmentation = GroupAugmentation(at.net.group, passes)
    seen = list(augmentation.batches(split, 3, member_generators(0, range(2), "")))
    for images, masks, _ in seen:
        assert masks.equal((images > 0).float())
        assert len(images) == (1 if passes == "exact" else 2)
        assert images.shape[1] <= 3
    images = torch.cat([images for images, _, _ in seen], dim=1)
    assert images.shape[1] == augmentation.count * EXAMPLES
    first = images[:, :EXAMPLES]
    assert (
        first.flatten(3)
        .sort()
        .values.equal(split.inputs.flatten(2).sort().values.expand(len(first), -1, -1, -1))
    )
    if passes == "exact":
        assert first[0].equal(split.inputs), "the first element is the identity"
        assert len(images[0].unflatten(0, (64, EXAMPLES)).unique(dim=0)) == 64
    labels = torch.arange(EXAMPLES)
    found = [
        y
        for _, y, _ in augmentation.batches(
            Split(split.inputs, labels), 100, member_generators(0, range(2), "")
        )
    ]
    assert torch.cat(found, dim=1).equal(labels.repeat(augmentation.count)[None])


def test_examples_passes_members_and_steps_have_draws_of_their_own():
    at = problem("shift_turns", "classification")
    split = Split(
        at.split.inputs[:1].expand(EXAMPLES, -1, -1, -1), at.split.targets
    )  # the same image seven times
    augmentation = GroupAugmentation(at.net.group, 2)

    def drawn(seed: int, members: range, step: int) -> Tensor:
        seen = augmentation.batches(
            split, 100, member_generators(seed, members, f"passes of step {step}")
        )
        return torch.stack([images for images, _, _ in seen], dim=1)  # [M, passes, N, C, n, n]

    images = drawn(0, range(2), 0)
    assert len(images.flatten(0, 2).unique(dim=0)) > 20, "28 draws of 64 elements"
    assert images.equal(drawn(0, range(2), 0))
    assert images[1:].equal(drawn(0, range(1, 2), 0)), "whoever else is trained"
    assert not images[0].equal(images[1])
    assert not images[:, 0].equal(images[:, 1])
    assert not images.equal(drawn(0, range(2), 1))
    assert not images.equal(drawn(1, range(2), 0))


def test_another_seed_starts_elsewhere():
    at = problem("shift_x", "classification")
    assert difference(at.flows(seed=0).start, at.flows(seed=1).start) > 0.5
    assert difference(at.flows(seed=0).start, at.flows(seed=0).start) == 0
