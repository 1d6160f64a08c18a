"""Mini-batch descent of an ensemble: what a batch holds, whose order it is, and which trainings
stay equivariant (float64)."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.dynamics.c4_conv import C4Conv
from learnsym.dynamics.ensemble import Weights, concat_members, member_generators, slice_members
from learnsym.dynamics.risk import risk_gradient, split_batches
from learnsym.dynamics.sgd import MiniBatchSGD
from learnsym.groups.permutation import QuarterTurns
from learnsym.training.tasks import SquaredError
from learnsym.utils.rng import generator

SIDE, EXAMPLES = 12, 10
KINDS = {
    "cross": {"support": "cross"},
    "skew": {"support": "skew"},
    "random": {"support": "cross", "basis": "random"},
}
batchings = pytest.mark.parametrize("batching", ["plain", "shuffled", "whole_orbits"])


def examples(dtype: torch.dtype = torch.float64) -> Split:
    """Noise: nothing about it is symmetric, and no two pictures are alike. Targets tell examples
    apart as far as they can."""
    images = torch.randn(
        EXAMPLES, 1, SIDE, SIDE, dtype=dtype, generator=torch.Generator().manual_seed(1)
    )
    return Split(images, torch.arange(EXAMPLES) % 3)


def start(net: C4Conv, members: range, dtype: torch.dtype) -> Weights:
    drawn = [
        {name: w.to(dtype) for name, w in net.sample_equivariant(g).items()}
        for g in member_generators(0, members, "start")
    ]
    return concat_members(
        [
            net.to_basis(one, generator(0, f"member {m}/basis"))
            for m, one in zip(members, drawn, strict=True)
        ]
    )


def descent(
    kind="cross",
    batching="shuffled",
    members=range(2),
    dtype=torch.float64,
    batch_size=8,
    seed=0,
    equivariant=False,
    split=None,
):
    net = C4Conv(1, 3, SIDE, (3, 4, 4), **KINDS[kind])
    return MiniBatchSGD(
        net,
        SquaredError().per_example,
        split or examples(dtype),
        QuarterTurns(SIDE),
        batching,
        start(net, members, dtype),
        lr=0.1,
        batch_size=batch_size,
        equivariant=equivariant,
        seed=seed,
        members=members,
    )


def run(work: MiniBatchSGD, steps: int) -> MiniBatchSGD:
    for _ in range(steps):
        work.step()
    return work


def batches(work: MiniBatchSGD, epoch: int) -> list[tuple[Tensor, Tensor]]:
    """All batches of an epoch."""
    found = []
    for step in range(work.steps_per_epoch):
        work.step_number = epoch * work.steps_per_epoch + step
        found.append(work.batch()[:2])
    return found


def names(split: Split, images: Tensor) -> list[tuple[int, int]]:
    """The (example, element) that each picture [B, C, n, n] is, to the last bit."""
    table = {
        x.rot90(k, (-2, -1)).numpy().tobytes(): (n, k)
        for n, x in enumerate(split.inputs)
        for k in range(4)
    }
    return [table[image.contiguous().numpy().tobytes()] for image in images]


# --- batches


@batchings
@pytest.mark.parametrize("batch_size", [4, 12, 16, 100])
def test_every_epoch_visits_every_example_and_element_once(batching, batch_size):
    split, elements = examples(), 1 if batching == "plain" else 4
    work = descent(batching=batching, batch_size=batch_size)
    everything = {(n, k) for n in range(EXAMPLES) for k in range(elements)}
    for epoch in range(3):
        seen = batches(work, epoch)
        sizes = [images.shape[1] for images, _ in seen]
        assert sum(sizes) == len(everything)
        assert all(size == batch_size for size in sizes[:-1])
        for member in range(2):
            visited = [name for images, _ in seen for name in names(split, images[member])]
            assert Counter(visited) == Counter(everything)


@batchings
def test_targets_go_along(batching):
    split = examples()
    for images, targets in batches(descent(batching=batching, members=range(3)), 1):
        assert images.shape == (3, targets.shape[1], 1, SIDE, SIDE)
        for member in range(3):
            expected = [int(split.targets[n]) for n, _ in names(split, images[member])]
            assert targets[member].tolist() == expected


@pytest.mark.parametrize("batch_size", [4, 8, 12])
def test_batches_of_whole_orbits_are_closed_under_the_group(batch_size):
    split = examples()

    def closed(images: Tensor) -> bool:
        return set(names(split, images)) == set(names(split, images.rot90(1, (-2, -1))))

    for images, _ in batches(descent(batching="whole_orbits", batch_size=batch_size), 0):
        assert all(closed(own) for own in images)
    shuffled = [
        closed(own) for images, _ in batches(descent(batch_size=batch_size), 0) for own in images
    ]
    assert not all(shuffled)
    assert sum(shuffled) <= 2


@batchings
def test_whose_order_it_is(batching):
    work = descent(batching=batching, members=range(3))
    first, second = work.order(0), work.order(1)
    assert not first.equal(second)
    assert work.order(0).equal(first), "asked again after another epoch"
    for order in (first, second):
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert not order[a].equal(order[b])
        assert not order[0].equal(order[0].sort().values)
    assert descent(batching=batching, members=range(3)).order(1).equal(second), (
        "the seed, the member and the epoch decide"
    )
    assert descent(batching=batching, members=range(2, 3)).order(1).equal(second[2:]), (
        "whoever else is trained"
    )
    assert (
        descent(batching=batching, members=range(3), batch_size=4, dtype=torch.float32)
        .order(1)
        .equal(second)
    )
    assert not descent(batching=batching, members=range(3), seed=1).order(1).equal(second)


def test_pictures_of_whole_orbits_come_in_an_order_of_their_own():
    first = descent(batching="whole_orbits").order(0)
    assert (first.view(2, EXAMPLES, 4) % 4).equal(torch.arange(4).expand(2, EXAMPLES, 4))
    assert (first.view(2, EXAMPLES, 4) // 4).equal(
        (first.view(2, EXAMPLES, 4) // 4)[:, :, :1].expand(-1, -1, 4)
    )


@pytest.mark.parametrize("batch_size", [2, 6, 50])
def test_parts_of_orbits_are_refused(batch_size):
    with pytest.raises(
        ValueError,
        match=f"batch_size={batch_size} is no multiple of the 4 elements of QuarterTurns",
    ):
        descent(batching="whole_orbits", batch_size=batch_size)
    assert descent(batching="shuffled", batch_size=batch_size).steps_per_epoch == -(
        -40 // batch_size
    )
    assert descent(batching="plain", batch_size=batch_size).steps_per_epoch == -(-10 // batch_size)


# --- steps


@batchings
@pytest.mark.parametrize(
    ("kind", "equivariant"),
    [("cross", False), ("skew", False), ("random", False), ("cross", True), ("skew", True)],
)
def test_a_step_is_one_along_the_gradient_of_the_batch(batching, kind, equivariant):
    work = run(descent(kind, batching, batch_size=12, equivariant=equivariant), 1)
    (images, targets, _), before = work.batch(), {k: w.clone() for k, w in work.weights.items()}
    leaves = {k: before[k].clone().requires_grad_() for k in work.net.layers}
    outputs = work.net.forward_members(before | leaves, images)
    means = [SquaredError().loss(own, labels) for own, labels in zip(outputs, targets, strict=True)]
    slopes = dict(zip(leaves, torch.autograd.grad(sum(means), list(leaves.values())), strict=True))
    slopes = work.net.project(slopes) if equivariant else slopes
    torch.testing.assert_close(work.step(), torch.stack(means).detach(), rtol=1e-12, atol=0)
    assert work.step_number == 2
    for name, weight in work.weights.items():
        expected = before[name] - 0.1 * slopes[name] if name in slopes else before[name]
        torch.testing.assert_close(weight, expected, rtol=1e-12, atol=1e-14)


@batchings
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_member_is_the_same_alone(batching, kind):
    def made(members: range) -> MiniBatchSGD:
        return run(descent(kind, batching, members, torch.float32), 10)

    together = made(range(3))
    for m in range(3):
        alone, own = made(range(m, m + 1)).weights, slice_members(together.weights, m, m + 1)
        assert alone.keys() == own.keys()
        for name, weight in alone.items():
            assert (own[name] - weight).norm() < 1e-5 * weight.norm()
    assert not together.weights["linear"][0].allclose(together.weights["linear"][1], rtol=0.1)


def test_it_goes_on_at_any_step():
    expected = run(descent(dtype=torch.float32), 12)  # into the third epoch
    half = run(descent(dtype=torch.float32), 7)
    other = descent(dtype=torch.float32)
    other.weights, other.step_number = {k: w.clone() for k, w in half.weights.items()}, 7
    run(other, 5)
    assert expected.steps_per_epoch == 5
    assert all(w.equal(expected.weights[k]) for k, w in other.weights.items())


# --- theory


def drifted(kind: str, batching: str, **settings: object) -> float:
    """The largest distance from E of 30 steps, over the members and relative to how far they have
    moved."""
    work, worst = descent(kind, batching, **settings), 0.0
    before = {name: w.clone() for name, w in work.weights.items()}
    for _ in range(30):
        work.step()
        worst = max(worst, float(work.net.distance(work.weights).norm(dim=1).max()))
    moved = work.net.change(work.weights, before)
    assert moved.min() > 1e-3, "nothing was learnt"
    return worst / float(moved.norm(dim=1).min())


def test_whole_orbits_keep_the_compatible_network():
    assert drifted("cross", "whole_orbits") < 1e-12
    assert drifted("cross", "shuffled") > 1e-2
    assert drifted("cross", "plain") > 1e-2


def test_they_do_not_keep_the_others():
    assert drifted("skew", "whole_orbits") > 1e-2
    assert drifted("random", "whole_orbits") > 1e-2


@pytest.mark.parametrize("kind", ["cross", "skew"])
@batchings
def test_the_equivariant_descent_stays(kind, batching):
    assert drifted(kind, batching, equivariant=True) < 1e-12


def test_the_first_step_leaves_by_the_part_of_the_gradient_outside():
    """lr |g - Pi_E g|, with g of all orbits at once, which only the cross in its orthonormal basis
    has within E."""
    for kind in KINDS:
        work = descent(kind, "whole_orbits", batch_size=EXAMPLES * 4)
        slope, _ = risk_gradient(
            work.net, work.per_example, work.weights, [work.batch()], EXAMPLES * 4
        )
        speed = work.net.distance({**work.weights, **slope})
        found = run(work, 1).net.distance(work.weights) / 0.1
        torch.testing.assert_close(found, speed, rtol=1e-9, atol=1e-12)
        assert (speed[:, :3].min() > 1e-5) == (kind != "cross")


def size(weights: Weights) -> float:
    return float(torch.cat([w.flatten() for w in weights.values()]).norm())


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_free_gradient_on_whole_orbits_and_the_projected_one(kind):
    """At equivariant weights, what a free step on all rotations moves the kernels by, and the
    projected gradient of the data as they are: the same exactly where the support is symmetric and
    the basis orthonormal."""
    net, split = descent(kind).net, examples()
    union = Split(
        torch.cat([split.inputs.rot90(k, (-2, -1)) for k in range(4)]), split.targets.repeat(4)
    )
    weights, loss = start(net, range(2), torch.float64), SquaredError().per_example
    on_union, _ = risk_gradient(net, loss, weights, split_batches(union, 7), len(union))
    step = net.linear_maps(
        weights | on_union
    )  # in the space of kernels: B B^T times their gradient
    kernels = C4Conv(
        1, 3, SIDE, (3, 4, 4), "skew" if kind == "skew" else "cross"
    )  # the same function of kernels
    raw, _ = risk_gradient(
        kernels, loss, net.linear_maps(weights), split_batches(split, 7), len(split)
    )
    projected = kernels.project(raw)
    assert size(kernels.residual(raw)) > 0.1 * size(raw), (
        "the examples are symmetric: nothing would have been shown"
    )
    error = {name: step[name] - projected[name] for name in projected}
    assert size({"linear": error["linear"]}) < 1e-10 * size({"linear": step["linear"]}), (
        "where every weight is free"
    )
    convs = [
        {name: found[name] for name in net.convs}
        for found in (error, projected, net.residual(step), step)
    ]
    wrong, leaving = size(convs[0]) / size(convs[1]), size(convs[2]) / size(convs[3])
    if kind == "cross":
        assert wrong < 1e-10
        assert leaving < 1e-10
    else:
        assert wrong > 1e-2
        assert leaving > 1e-2
