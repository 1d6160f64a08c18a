"""LieConv and its neighbourhoods against loops over points, and what is kept for the backward
pass."""

import copy
import math
from unittest import mock

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from learnsym.groups.rotations import uniform_rotations
from learnsym.layers import lie_conv
from learnsym.layers.lie_conv import LieConv
from learnsym.layers.lifting import LIFTS
from learnsym.layers.neighbourhoods import (
    Block,
    Neighbourhoods,
    clouds_by_size,
    neighbourhoods,
    sorted_points,
)

CHANNELS, OUT, MIXING = 3, 4, 5


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def lifted_clouds(group, sizes, seed=0):
    """Clouds as (number, points of each), lifted: a list of entries [b, n, ...]."""
    lift = LIFTS[group]
    found = []
    for place, (b, n) in enumerate(sizes):
        drawn = torch.rand(
            b, n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + place)
        )
        found.append(
            lift.elements(
                normal(b, n, 3, seed=seed + place),
                uniform_rotations(drawn) if lift.sampled else None,
            )
        )
    return found


def nearest(lift, elements, cloud, v, fill, most):
    """Neighbours of one point, by a sort in Python, and all pairs of its cloud."""
    pairs = lift.pairs(tuple(e[cloud : cloud + 1] for e in elements))[0]
    n = len(pairs)
    count = min(most, max(1, math.ceil(round(fill * n, 9))))
    distances = [float(lift.distances(pairs[v, u])) for u in range(n)]
    return sorted(range(n), key=distances.__getitem__)[:count], pairs


def by_loops(conv, lift, lifted, features, fill, most):
    """The layer, a point and a neighbour at a time; batch norm over all pairs by its definition."""
    seen, places, row = [], [], 0
    for elements in lifted:
        clouds, n = elements[0].shape[:2]
        for cloud in range(clouds):
            for v in range(n):
                hood, pairs = nearest(lift, elements, cloud, v, fill, most)
                seen += [pairs[v, u] for u in hood]
                places.append([row + u for u in hood])
            row += n
    hidden = torch.stack(seen)
    for linear, norm in zip(conv.weights.linears, conv.weights.norms, strict=True):
        hidden = hidden @ linear.weight.T + linear.bias
        mean, variance = (
            (hidden.mean(0), hidden.var(0, correction=0))
            if conv.training
            else (norm.running_mean, norm.running_var)
        )
        hidden = (hidden - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias
        hidden = hidden * torch.sigmoid(hidden)
    rows, at = [], 0
    for hood in places:
        total = 0
        for u in hood:
            for j in range(MIXING):
                kernel = conv.linear.weight[:, j * CHANNELS : (j + 1) * CHANNELS]
                total = total + hidden[at, j] * (kernel @ features[u])
            at += 1
        rows.append((total + conv.linear.bias) / len(hood))
    return torch.stack(rows)


@settings(max_examples=30, deadline=None)
@given(
    group=st.sampled_from(list(LIFTS)),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    fill=st.sampled_from([1.0, 0.7, 0.34, 0.01]),
    most=st.sampled_from([100, 3, 1]),
    training=st.booleans(),
    part_rows=st.sampled_from([256, 5, 1]),
)
@example(group="t3", sizes=[1, 3, 3, 5], fill=1.0, most=100, training=True, part_rows=3)
@example(group="trivial3", sizes=[2, 6, 6], fill=0.5, most=100, training=True, part_rows=256)
def test_values_and_gradients_by_loops(group, sizes, fill, most, training, part_rows):
    lift, lifted = LIFTS[group], lifted_clouds(group, clouds_by_size(sizes))
    hoods = neighbourhoods(lift, lifted, fill, most)
    if len(hoods.pairs) < 2:
        return
    torch.manual_seed(3)
    conv = LieConv(CHANNELS, OUT, lift.pair_size, MIXING, (4,)).double()
    conv.weights(hoods.pairs)  # running statistics
    conv.train(training)
    features = normal(sum(sizes), CHANNELS, seed=7).requires_grad_()
    twin = copy.deepcopy(conv)
    expected = by_loops(twin, lift, lifted, features, fill, most)
    weights = normal(*expected.shape, seed=11)
    with mock.patch.object(lie_conv, "_CHUNK_POINTS", part_rows):
        y = conv(features, hoods)
        found = torch.autograd.grad((y * weights).sum(), [features, *conv.parameters()])
    torch.testing.assert_close(y, expected, atol=1e-9, rtol=1e-9)
    wanted = torch.autograd.grad((expected * weights).sum(), [features, *twin.parameters()])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-7)


def test_gradients_of_positions():
    """Augmentations are learned through them; by differences."""
    for group, lift in LIFTS.items():
        points = [normal(2, 3, 3).requires_grad_(), normal(1, 4, 3, seed=1).requires_grad_()]
        turns = [uniform_rotations(torch.rand(*p.shape, dtype=torch.float64)) for p in points]
        torch.manual_seed(0)
        conv = LieConv(CHANNELS, OUT, lift.pair_size, MIXING, (4,)).double()
        features = normal(10, CHANNELS)

        def call(*points, lift=lift, turns=turns, conv=conv, features=features):
            lifted = [
                lift.elements(p, h if lift.sampled else None)
                for p, h in zip(points, turns, strict=True)
            ]
            return conv(features, neighbourhoods(lift, lifted, 0.7, 100))

        assert torch.autograd.gradcheck(call, points), group


@pytest.mark.long
@pytest.mark.parametrize("restricted", [False, True])
@mock.patch.object(lie_conv, "_CHUNK_POINTS", 2)
def test_first_and_second_derivatives_of_the_product(restricted):
    chosen = torch.tensor([[[0, 2], [2, 1], [1, 0]]] * 2) if restricted else None
    blocks = (Block(1, 2, 2), Block(2, 3, 2 if restricted else 3, chosen))
    pairs = sum(block.pairs for block in blocks)
    inputs = [normal(8, 2), normal(pairs, 3, seed=1), normal(4, 6, seed=2), normal(4, seed=3)]
    inputs = [x.requires_grad_() for x in inputs]

    def call(features, mixing, weight, bias):
        conv, hoods = LieConv(2, 4, 1, 3).double(), Neighbourhoods(blocks, mixing)
        conv.weights = torch.nn.Identity()
        state = {"linear.weight": weight, "linear.bias": bias}
        return hoods.counts() * torch.func.functional_call(conv, state, (features, hoods))

    in_parts = call(*inputs)
    with mock.patch.object(lie_conv, "_CHUNK_POINTS", 256):
        torch.testing.assert_close(in_parts, call(*inputs))
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_nothing_as_large_as_the_mixed_features_is_kept():
    hoods = neighbourhoods(LIFTS["t3"], lifted_clouds("t3", [(4, 6)]), 1.0, 100)
    hoods = type(hoods)(hoods.blocks, hoods.pairs.float())
    conv = LieConv(64, 8, 3, MIXING, (4,))
    features = torch.randn(24, 64, requires_grad=True)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (sizes.append(t.numel()), t)[1], lambda t: t
    ):
        conv(features, hoods)
    assert max(sizes) == conv.linear.weight.numel() < 24 * MIXING * 64


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 30), fill=st.floats(1e-12, 1.0), most=st.integers(1, 40))
@example(n=25, fill=0.28, most=100)
def test_how_many_neighbours(n, fill, most):
    block = neighbourhoods(LIFTS["t3"], lifted_clouds("t3", [(1, n)]), fill, most).blocks[0]
    assert 1 <= block.neighbours <= min(n, most)
    if block.neighbours < most:
        assert block.neighbours - 1 < fill * n < block.neighbours + 1e-6 or block.neighbours == 1
    assert (n, fill) != (25, 0.28) or block.neighbours == 7
    assert (block.chosen is None) == (block.neighbours == n)


def test_neighbours_are_the_nearest_and_the_first_of_equals():
    line = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3.5, 0, 0]]).unsqueeze(0)
    block = neighbourhoods(LIFTS["t3"], [(line,)], 0.5, 100).blocks[0]
    assert block.chosen[0].tolist() == [[0, 1], [1, 0], [2, 1], [3, 2]]
    block = neighbourhoods(LIFTS["trivial3"], [(line,)], 1.0, 3).blocks[0]
    assert block.chosen[0].tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 3], [3, 2, 1]]


def test_rows_by_size():
    present = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 1, 0], [0, 1, 0, 0]]).bool()
    sizes = present.sum(1).tolist()
    assert sorted_points(present, sizes).tolist() == [6, 13, 0, 1, 3, 8, 9, 10]
    assert clouds_by_size(sizes) == [(2, 1), (2, 3)]
