"""Stabilisers: the axioms of a group, matrices, coordinates, finite subgroups."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnsym.groups.planar import E2, SE2, Translation2
from learnsym.groups.point_groups import (
    O2,
    SO2,
    Cyclic,
    Dihedral,
    DiscreteIsometries,
    Elements,
    Trivial,
    evenly_spaced,
    wrap_angle,
)

angles = st.floats(-7, 7)
signs = st.sampled_from([-1.0, 1.0])
element = st.builds(
    lambda a, s: Elements(
        torch.tensor([a], dtype=torch.float64), torch.tensor([s], dtype=torch.float64)
    ),
    angles,
    signs,
)
GROUPS = [
    Trivial(),
    SO2(),
    O2(),
    Cyclic(2),
    Cyclic(5),
    Cyclic(8),
    Dihedral(2),
    Dihedral(3),
    Dihedral(4),
]
FINITE = [g for g in GROUPS if g.order]


def check_same(a: Elements, b: Elements) -> None:
    torch.testing.assert_close(a.matrices(), b.matrices(), atol=1e-12, rtol=0)


@settings(deadline=None)
@given(element, element, element)
def test_products_are_associative(a, b, c):
    check_same(a.product(b).product(c), a.product(b.product(c)))


@settings(deadline=None)
@given(element)
def test_inverses(a):
    one = Elements(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    check_same(a.product(a.inverse()), one)
    check_same(a.inverse().product(a), one)
    check_same(one.product(a), a)


@settings(deadline=None)
@given(element, element)
def test_matrices_are_a_homomorphism(a, b):
    torch.testing.assert_close(
        a.product(b).matrices(), a.matrices() @ b.matrices(), atol=1e-12, rtol=0
    )


@settings(deadline=None)
@given(element)
def test_pulling_back_is_the_inverse_matrix(a):
    points = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = points @ torch.linalg.inv(a.matrices()[0]).T
    torch.testing.assert_close(a.inverse_act(points)[0], expected, atol=1e-12, rtol=0)


def test_a_mirror_image_exchanges_left_and_right_and_a_turn_follows_it():
    mirror = Elements(torch.tensor([0.0]), torch.tensor([-1.0]))
    torch.testing.assert_close(mirror.matrices()[0], torch.tensor([[-1.0, 0.0], [0.0, 1.0]]))
    turned = Elements(torch.tensor([math.pi / 2]), torch.tensor([-1.0])).matrices()[0]
    torch.testing.assert_close(
        turned @ torch.tensor([1.0, 0.0]), torch.tensor([0.0, -1.0]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("group", [SO2(), O2(), Cyclic(5), Dihedral(3)], ids=repr)
def test_relative_elements_are_those_of_every_pair(group):
    torch.manual_seed(0)
    first, second = (
        Elements(drawn.angle.view(2, -1), drawn.sign.view(2, -1))
        for drawn in (group.sample(count, dtype=torch.float64) for count in (6, 8))
    )
    found = first.relative(second).matrices()
    assert found.shape == (2, 3, 4, 2, 2)
    expected = torch.linalg.inv(first.matrices())[:, :, None] @ second.matrices()[:, None]
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("group", FINITE, ids=repr)
def test_finite_groups_are_closed(group):
    whole = group.elements()
    matrices = whole.matrices()
    assert len(whole) == group.order
    torch.testing.assert_close(matrices[0], torch.eye(2, dtype=torch.float64))
    distances = torch.cdist(matrices.flatten(1), matrices.flatten(1)) + 9 * torch.eye(len(whole))
    assert distances.min() > 0.1, "an element occurs twice"
    products = (matrices[:, None] @ matrices).flatten(0, 1).flatten(1)
    inverses = torch.linalg.inv(matrices).flatten(1)
    for found in (products, inverses):
        assert torch.cdist(found, matrices.flatten(1)).min(1).values.max() < 1e-7
    assert (whole.sign[: group.rotations] == 1).all()
    assert (whole.sign[group.rotations :] == -1).all()


@pytest.mark.parametrize("group", [g for g in GROUPS if not g.trivial], ids=repr)
def test_uniform_samples_are_in_the_group_and_everywhere(group):
    torch.manual_seed(0)
    drawn = group.sample(4000, dtype=torch.float64)
    assert (drawn.sign < 0).double().mean() == pytest.approx(0.5 * group.has_mirror, abs=0.04)
    shares = torch.histc(drawn.angle, 8, -math.pi, math.pi) / 4000
    if group.order is None:
        assert shares.min() > 0.1
    else:
        turns = drawn.angle * group.rotations / (2 * math.pi)
        torch.testing.assert_close(turns, turns.round(), atol=1e-9, rtol=0)
        assert len(set(turns.round().int().tolist())) == group.rotations


def test_coordinates_lie_in_the_unit_cube_and_are_cut_at_the_half_turn():
    angle = torch.tensor([0.0, math.pi / 2, math.pi, -math.pi, math.pi - 1e-7, 3 * math.pi, -0.1])
    elements = Elements(angle, torch.ones(7))
    expected = torch.tensor([0.0, 0.5, -1.0, -1.0, -1.0, -1.0, -0.1 / math.pi])
    torch.testing.assert_close(
        SO2().kernel_coordinates(elements)[:, 0], expected, atol=1e-6, rtol=0
    )
    both = O2().kernel_coordinates(Elements(angle, -torch.ones(7)))
    assert both.shape == (7, 2)
    assert (both[:, 1] == -1).all()
    assert Trivial().kernel_coordinates(elements).equal(torch.ones(7, 1))


def test_the_published_cut_is_at_the_identity():
    angle = torch.tensor([0.0, math.pi / 2, math.pi, -math.pi, -1e-7, 2 * math.pi, -0.1])
    expected = torch.tensor([-1.0, -0.5, 0.0, 0.0, -1.0, -1.0, 1 - 0.1 / math.pi])
    for group in (SO2(), O2()):
        found = group.kernel_coordinates(Elements(angle, torch.ones(7)), cut="identity")[:, 0]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cut", ["half_turn", "identity"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [2, 4, 6, 8, 12, 16])
def test_rounding_does_not_decide_about_the_cut(n, dtype, cut):
    """Differences of evenly spaced angles: the half turn comes out as +pi or -pi by rounding, and
    must be one number."""
    for offset in torch.rand(50, dtype=dtype, generator=torch.Generator().manual_seed(0)):
        elements = SO2().rotations_from(evenly_spaced(n, offset))
        coordinates = SO2().kernel_coordinates(elements.relative(elements), cut=cut)[..., 0]
        assert len(set((coordinates * n).round().int().flatten().tolist())) == n
        assert coordinates.max() < 1 - 0.5 / n


def test_the_embedding_is_continuous_on_the_circle():
    near = Elements(torch.tensor([math.pi - 1e-3, -math.pi + 1e-3]), torch.ones(2))
    raw, circle = (O2().kernel_coordinates(near, periodic) for periodic in (False, True))
    assert (raw[0] - raw[1]).abs().max() > 1.9
    assert (circle[0] - circle[1]).abs().max() < 1e-2
    assert O2().kernel_dim(True) == 3
    assert SO2().kernel_dim(True) == 2
    assert (
        SO2().kernel_dim(),
        O2().kernel_dim(),
        Trivial().kernel_dim(),
        Trivial().kernel_dim(True),
    ) == (1, 2, 1, 1)


def test_gradients_pass_through_wrapping():
    angle = torch.tensor([1.0, 4.0, -9.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(wrap_angle(angle).sum(), angle)
    assert gradient.equal(torch.ones(3, dtype=torch.float64))


def test_which_planar_group_has_which_stabiliser():
    assert Translation2().stabiliser.trivial
    assert isinstance(SE2().stabiliser, SO2)
    assert isinstance(E2().stabiliser, O2)
    assert repr(DiscreteIsometries(4)) == "DiscreteIsometries(Cyclic(4))"
    assert DiscreteIsometries(4, mirror=True).stabiliser.order == 8
    with pytest.raises(ValueError, match="at least 2 rotations, got 1"):
        DiscreteIsometries(1)
    with pytest.raises(ValueError, match="infinitely many"):
        SO2().elements()
