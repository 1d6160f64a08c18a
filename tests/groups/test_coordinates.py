"""The free numbers of equivariant and of invariant weights: coordinates in an orthonormal basis,
one vector for every orbit."""

import pytest
import torch
from torch import Tensor

from learnsym.groups.permutation import (
    GROUPS,
    CyclicShifts1d,
    CyclicShifts2d,
    PermutationGroup,
    QuarterTurns,
    ShiftsAndQuarterTurns,
    SymmetricGroup,
    named_group,
)

FIVE = [
    SymmetricGroup(4),
    CyclicShifts1d(4),
    CyclicShifts2d(3),
    QuarterTurns(5),
    ShiftsAndQuarterTurns(4),
]
SMALL = [*FIVE, SymmetricGroup(1), SymmetricGroup(3), QuarterTurns(4), ShiftsAndQuarterTurns(2)]
"""Odd and even sides, orbits of one entry (Permutation(1); the centre of QuarterTurns(5)), tables
that occur more than once."""
each = pytest.mark.parametrize("group", SMALL, ids=repr)
LEADING = ((), (2,), (2, 3))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def kinds(group: PermutationGroup) -> list[tuple]:
    """(coordinates, weight, projection, shape of a weight, orbits, channels) of maps from 3
    channels of points."""
    equivariant = (
        group.equivariant_coordinates,
        group.equivariant_weight,
        group.project_equivariant,
    )
    invariant = (group.invariant_coordinates, group.invariant_weight, group.project_invariant)
    return [
        (
            *equivariant,
            (group.points, 2, group.points, 3),
            len(group.pair_orbits().unique()),
            (2, 3),
        ),
        (*invariant, (group.points, 3), len(group.orbits().unique()), (3,)),
    ]


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def check_close(a: Tensor, b: Tensor, atol: float = 1e-13) -> None:
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@each
@pytest.mark.parametrize("leading", LEADING, ids=str)
def test_there_and_back(group, leading):
    for coordinates, weight, project, shape, orbits, channels in kinds(group):
        anything, numbers = normal(*leading, *shape), normal(*leading, orbits, *channels)
        found = coordinates(anything)
        assert found.shape == numbers.shape
        assert weight(numbers).shape == anything.shape
        assert weight(numbers).is_contiguous()
        check_close(weight(found), project(anything))
        check_close(coordinates(weight(numbers)), numbers)
        check_close(project(weight(numbers)), weight(numbers))


@each
def test_the_basis_is_orthonormal(group):
    """Norms and inner products are kept, to rounding of float64: a step of the numbers is then a
    step of the weights."""
    for coordinates, weight, project, shape, orbits, channels in kinds(group):
        a, b = normal(2, orbits, *channels)
        for one, other in ((a, a), (a, b)):
            torch.testing.assert_close(
                (weight(one) * weight(other)).sum(), (one * other).sum(), atol=1e-12, rtol=1e-13
            )
        # Of a weight that is not equivariant: its inner product with one that is.
        c = normal(*shape)
        torch.testing.assert_close(
            (weight(a) * c).sum(), (a * coordinates(c)).sum(), atol=1e-12, rtol=1e-13
        )
        torch.testing.assert_close(coordinates(c).norm(), project(c).norm(), atol=0, rtol=1e-13)


@each
def test_every_basis_vector_lives_on_one_orbit(group):
    labels = group.pair_orbits()
    count = int(labels.max()) + 1
    basis = group.equivariant_weight(
        torch.eye(count, dtype=torch.float64).view(count, count, 1, 1)
    )[:, :, 0, :, 0]
    for k in range(count):
        on_it = labels == k
        assert basis[k][~on_it].eq(0).all()
        check_close(
            basis[k][on_it],
            torch.full((int(on_it.sum()),), float(on_it.sum()) ** -0.5, dtype=torch.float64),
        )
    points = group.orbits()
    single = group.invariant_weight(
        torch.eye(int(points.max()) + 1, dtype=torch.float64).unsqueeze(-1)
    ).squeeze(-1)
    assert single.ne(0).equal(points == torch.arange(len(single)).unsqueeze(-1))


@pytest.mark.parametrize("group", FIVE, ids=repr)
def test_every_copy_has_coordinates_of_its_own(group):
    for coordinates, weight, _, shape, orbits, channels in kinds(group):
        anything, numbers = normal(2, *shape), normal(2, orbits, *channels)
        for m in range(2):
            assert coordinates(anything)[m].equal(coordinates(anything[m]))
            assert weight(numbers)[m].equal(weight(numbers[m]))


@pytest.mark.parametrize("group", FIVE, ids=repr)
def test_gradients_with_respect_to_the_numbers_are_coordinates(group):
    """Of f(weight(numbers)): the coordinates of f's gradient, which is why either may be
    trained."""
    for coordinates, weight, _, shape, orbits, channels in kinds(group):
        numbers, slope = normal(orbits, *channels).requires_grad_(), normal(*shape)
        (found,) = torch.autograd.grad(
            (weight(numbers) * slope).sum() + weight(numbers).square().sum(), numbers
        )
        check_close(found, coordinates(slope + 2 * weight(numbers.detach())), 1e-12)


def test_single_precision_stays_single():
    group = ShiftsAndQuarterTurns(4)
    weight = group.project_equivariant(torch.randn(16, 2, 16, 3))
    numbers = group.equivariant_coordinates(weight)
    assert numbers.dtype == group.equivariant_weight(numbers).dtype == torch.float32
    torch.testing.assert_close(group.equivariant_weight(numbers), weight, atol=0, rtol=3e-7)


def test_every_name_has_its_group():
    expected = {
        "permutation": SymmetricGroup,
        "shift_x": CyclicShifts1d,
        "shift_xy": CyclicShifts2d,
        "quarter_turns": QuarterTurns,
        "shift_turns": ShiftsAndQuarterTurns,
    }
    assert expected == GROUPS
    for name, kind in expected.items():
        group = named_group(name, 5)
        assert type(group) is kind
        assert group.side == 5
        assert group.points == 25
