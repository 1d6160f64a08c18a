"""The axioms of a group, through the methods that every kind of group shares."""

import pytest
import torch
from strategies import coefficients
from torch import Tensor

from learnsym.groups import (
    E2,
    O2,
    SE2,
    SE3,
    SO2,
    SO3,
    Affine2,
    Affine3,
    Cyclic,
    CyclicShifts2d,
    Dihedral,
    DiscreteIsometries,
    Elements,
    Group,
    LieGroup,
    QuarterTurns,
    Rotation2,
    Stabiliser,
    SymmetricGroup,
    Translation2,
    Trivial,
    Trivial3,
)

LIE = [Translation2(), Rotation2(), SE2(), E2(), Affine2(), Trivial3(), SO3(), SE3(), Affine3()]
COMPACT = [
    *(Trivial(), SO2(), O2(), Cyclic(5), Dihedral(3)),
    *(SymmetricGroup(3), CyclicShifts2d(3), QuarterTurns(4)),
    *(Rotation2(), SO3()),
]


def three(group: Group) -> list:
    """Three batches of elements."""
    torch.manual_seed(0)
    if group in COMPACT:
        return [group.sample(7, torch.Generator().manual_seed(k)) for k in range(3)]
    return [group.exp(coefficients(group, 1.0, 7, k)) for k in range(3)]


def check_same(a: Tensor | Elements, b: Tensor | Elements) -> None:
    if isinstance(a, Elements):
        a, b = a.matrices(), b.matrices()
    a, b = torch.broadcast_tensors(a, b)
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5, check_dtype=False)


@pytest.mark.parametrize("group", [*LIE, *COMPACT], ids=repr)
def test_axioms(group):
    a, b, c = three(group)
    product, one = group.product, group.identity()
    check_same(product(product(a, b), c), product(a, product(b, c)))
    check_same(product(one, a), a)
    check_same(product(a, one), a)
    check_same(product(a, group.inverse(a)), one)
    check_same(product(group.inverse(a), a), one)


@pytest.mark.parametrize("group", [g for g in COMPACT if g.order], ids=repr)
def test_all_elements_of_a_finite_group_begin_with_the_identity(group):
    elements = group.elements()
    assert len(elements) == group.order
    first = elements
    if isinstance(group, Stabiliser):
        first = Elements(elements.angle[:1], elements.sign[:1])
        check_same(first, group.identity())
    else:
        check_same(first[0], group.identity())


def test_what_a_group_does_not_have_is_refused_by_name():
    with pytest.raises(ValueError, match="infinitely many elements"):
        SE2().elements()
    with pytest.raises(ValueError, match="no uniform distribution"):
        SE2().sample(1)
    assert DiscreteIsometries(4).order is None
    assert issubclass(LieGroup, Group)


@pytest.mark.parametrize("group", [Rotation2(), SO3()], ids=repr)
def test_compact_lie_groups_are_sampled_by_haars_measure(group):
    """E R = 0 and E R_ij^2 = 1 / d; the angle of Rotation2 is uniform."""
    d = group.space_dim
    rotations = group.sample(20_000, torch.Generator().manual_seed(0))[:, :d, :d]
    assert rotations.mean(0).abs().max() < 0.02
    assert (rotations.square().mean(0) - 1 / d).abs().max() < 0.02
    assert (torch.linalg.det(rotations) - 1).abs().max() < 1e-5
