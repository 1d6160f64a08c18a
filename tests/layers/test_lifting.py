"""Lifted points: invariance of what is seen of a pair, exact equivariance of the lifts, and uniform
rotations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnsym.groups.rotations import motion_exp, rotation_exp, uniform_rotations
from learnsym.layers.lifting import LIFTS, even_numbers

seeds = st.integers(0, 2**31)
quick = settings(max_examples=20, deadline=None)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def haar(*shape, seed=0):
    return uniform_rotations(
        torch.rand(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    )


def turned(rotations, points):
    return (rotations @ points.unsqueeze(-1)).squeeze(-1)


@quick
@given(seed=seeds)
def test_pairs_do_not_change_under_the_group(seed):
    """(x, h) -> (g x, g h) with the same g everywhere, to rounding."""
    points, rotations, g, shift = (
        normal(2, 4, 3, seed=seed),
        haar(2, 4, seed=seed),
        haar(seed=seed + 1),
        normal(3, seed=seed),
    )
    for name, moved in {
        "t3": (points + shift, None),
        "so3": (turned(g, points), g @ rotations),
        "se3": (turned(g, points) + shift, g @ rotations),
    }.items():
        lift = LIFTS[name]
        before = lift.pairs(lift.elements(points, rotations if lift.sampled else None))
        after = lift.pairs(lift.elements(*moved))
        assert before.shape == (2, 4, 4, lift.pair_size)
        assert torch.allclose(before, after, atol=1e-7), name  # the logarithm near pi
        assert torch.allclose(lift.distances(before), lift.distances(after), atol=1e-7), name


def test_what_is_seen_of_a_pair():
    """Row v, column u, entry by entry."""
    points, h = normal(1, 3, 3), haar(1, 3)
    pairs = {name: lift.pairs(lift.elements(points, h))[0] for name, lift in LIFTS.items()}
    turns = LIFTS["so3"].elements(points, h)[0][0]
    for v in range(3):
        for u in range(3):
            x_v, x_u = points[0, v], points[0, u]
            assert torch.equal(pairs["trivial3"][v, u], torch.cat([x_v, x_u]))
            assert torch.equal(pairs["t3"][v, u], x_u - x_v)
            assert torch.allclose(
                rotation_exp(pairs["so3"][v, u, :3]), turns[v].T @ turns[u], atol=1e-12
            )
            assert torch.allclose(
                pairs["so3"][v, u, 3:], torch.stack([x_v.norm(), x_u.norm()]), atol=1e-14
            )
            rotation, shift = motion_exp(
                pairs["se3"][v, u, :3], pairs["se3"][v, u, 3:]
            )  # v exp(pair) = u
            assert torch.allclose(h[0, v] @ rotation, h[0, u], atol=1e-12)
            assert torch.allclose(x_v + h[0, v] @ shift, x_u, atol=1e-12)


def test_distances_are_of_both_parts():
    points, h = normal(1, 3, 3), haar(1, 3)
    gaps = (points.unsqueeze(1) - points.unsqueeze(2)).norm(dim=-1)
    for name, lift in LIFTS.items():
        pairs = lift.pairs(lift.elements(points, h))
        found = lift.distances(pairs)
        if name in ("trivial3", "t3"):
            assert torch.allclose(found, gaps, atol=1e-14)
        elif name == "so3":
            radius = points.norm(dim=-1)
            expected = (
                pairs[..., :3].square().sum(-1)
                + (radius.unsqueeze(1) - radius.unsqueeze(2)).square()
            )
            assert torch.allclose(found, expected.sqrt(), atol=1e-12)
        else:
            assert torch.allclose(found, pairs.norm(dim=-1), atol=1e-14)
        assert torch.allclose(
            found.diagonal(dim1=1, dim2=2), torch.zeros(1, 3, dtype=torch.float64), atol=1e-7
        )


def test_rotations_over_a_point_take_the_axis_there():
    points = normal(1, 50, 3)
    points[0, 7] = 0
    h = haar(1, 50)
    rotations, radius = LIFTS["so3"].elements(points, h)
    identity = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(rotations.mT @ rotations, identity.expand(1, 50, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(1, 50, dtype=torch.float64))
    assert torch.allclose(rotations[..., 2] * radius, points, atol=1e-14)
    assert torch.allclose(rotations[0, 7], h[0, 7], atol=1e-12), (
        "over the origin lies every rotation"
    )


def test_stabiliser_is_drawn_uniformly():
    """Over one point: the angle of the first column about x/|x|."""
    count = 4000
    rotations, _ = LIFTS["so3"].elements(normal(3).expand(1, count, 3), haar(1, count))
    reference = rotations[0, :1]
    first = (reference.mT @ rotations[0])[..., 0]
    angle = torch.atan2(first[:, 1], first[:, 0])[1:].sort().values
    even = torch.linspace(-math.pi, math.pi, count - 1, dtype=torch.float64)
    assert (angle - even).abs().max() < 2 * math.pi * 1.63 / count**0.5  # Kolmogorov-Smirnov at 1 %


@pytest.mark.parametrize(
    "numbers",
    [
        torch.rand(4000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        even_numbers(4000, "cpu", torch.float64),
    ],
)
def test_rotations_are_uniform(numbers):
    """Haar: entries have mean 0, products of two of them mean 1/3 or 0; the angle has density (1 -
    cos t) / pi."""
    assert ((numbers >= 0) & (numbers < 1)).all()
    rotations = uniform_rotations(numbers)
    entries = rotations.flatten(1)
    assert entries.mean(0).abs().max() < 0.03
    assert (entries.mT @ entries / 4000 - torch.eye(9, dtype=torch.float64) / 3).abs().max() < 0.03
    angle = (
        torch.arccos(((rotations.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2).clamp(-1, 1))
        .sort()
        .values
    )
    found = torch.arange(1, 4001, dtype=torch.float64) / 4000
    assert ((angle - angle.sin()) / math.pi - found).abs().max() < 1.63 / 4000**0.5


def test_the_fixed_sequence_is_even_from_the_start():
    """Its part of a box at the corner is nearer to the volume than that of random numbers, sqrt(V
    (1 - V) / count)."""
    corners = torch.rand(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    volumes = corners.prod(-1)
    for count, factor in ((32, 0.7), (512, 0.3), (4096, 0.15)):
        parts = (
            (even_numbers(count, "cpu", torch.float64).unsqueeze(1) < corners)
            .all(-1)
            .double()
            .mean(0)
        )
        expected = (volumes * (1 - volumes) / count).mean().sqrt()
        assert (parts - volumes).square().mean().sqrt() < factor * expected
    before = torch.get_rng_state()
    assert torch.equal(
        even_numbers(10, "cpu", torch.float64), even_numbers(20, "cpu", torch.float64)[:10]
    )
    assert torch.equal(torch.get_rng_state(), before)


def test_no_relative_rotation_of_the_fixed_sequence_is_near_the_jump_of_the_logarithm():
    lift = LIFTS["se3"]
    h = uniform_rotations(even_numbers(116, "cpu", torch.float64)).unsqueeze(
        0
    )  # 29 atoms, 4 samples
    angles = lift.pairs(lift.elements(torch.zeros(1, 116, 3, dtype=torch.float64), h))[
        ..., :3
    ].norm(dim=-1)
    assert angles.max() < math.pi - 1e-5
