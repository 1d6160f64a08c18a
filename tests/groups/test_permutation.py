"""Groups of permutations: the axioms, the actions, uniform samples, projections against the mean
over the whole group."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learnsym.config.allowed_classes import get_class
from learnsym.groups import permutation
from learnsym.groups.permutation import (
    CyclicShifts1d,
    CyclicShifts2d,
    PermutationGroup,
    QuarterTurns,
    ShiftsAndQuarterTurns,
    SymmetricGroup,
)

IMAGE_GROUPS = [
    kind(side)
    for kind in (CyclicShifts1d, CyclicShifts2d, QuarterTurns, ShiftsAndQuarterTurns)
    for side in (3, 4)
]
FAITHFUL = [
    SymmetricGroup(2),
    SymmetricGroup(3),
    SymmetricGroup(4),
    *IMAGE_GROUPS,
    QuarterTurns(2),
    QuarterTurns(5),
    CyclicShifts1d(1),
]
"""Every element has a table of its own."""
SMALL = [*FAITHFUL, SymmetricGroup(1), ShiftsAndQuarterTurns(1), ShiftsAndQuarterTurns(2)]
CONFIGS = Path(__file__).parents[2] / "cfg/base_group"
each = pytest.mark.parametrize("group", SMALL, ids=repr)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def rows(tables: Tensor) -> set[tuple[int, ...]]:
    return set(map(tuple, tables.tolist()))


def product(a: Tensor, b: Tensor) -> Tensor:
    """The table of "b, then a": (a b x)[p] = (b x)[a[p]] = x[b[a[p]]]."""
    return b.gather(-1, a)


def reynolds_equivariant(group: PermutationGroup, weight: Tensor) -> Tensor:
    """The mean over all elements of W[g p, g q], as its definition says."""
    moved = [weight.index_select(-4, g).index_select(-2, g) for g in group.elements()]
    return torch.stack(moved).mean(0)


def reynolds_invariant(group: PermutationGroup, weight: Tensor) -> Tensor:
    return torch.stack([weight.index_select(-2, g) for g in group.elements()]).mean(0)


def random_weight(
    group: PermutationGroup, *leading: int, dtype: torch.dtype = torch.float64
) -> Tensor:
    return torch.randn(*leading, group.points, 2, group.points, 3, dtype=dtype)


def check_close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-13, rtol=0)


# --- axioms


@each
def test_tables_are_permutations_and_the_identity_is_first(group):
    tables = group.elements()
    assert tables.shape == (group.order, group.points)
    assert tables.dtype == torch.int64
    assert (tables.sort(-1).values == torch.arange(group.points)).all()
    assert tables[0].tolist() == list(range(group.points))
    assert group.points == group.side**2


@pytest.mark.parametrize("group", FAITHFUL, ids=repr)
def test_no_element_occurs_twice(group):
    assert len(rows(group.elements())) == group.order


@each
def test_products_and_inverses_are_in_the_group(group):
    tables = group.elements()
    known = rows(tables)
    for a in tables:
        assert rows(product(a.expand_as(tables), tables)) <= known
    inverses = tables.argsort(-1)
    assert rows(inverses) == known
    assert (product(tables, inverses) == tables[0]).all()


@pytest.mark.parametrize(
    ("group", "order"),
    [
        (SymmetricGroup(10), 3_628_800),
        (CyclicShifts1d(14), 14),
        (CyclicShifts2d(14), 196),
        (QuarterTurns(14), 4),
        (ShiftsAndQuarterTurns(14), 784),
    ],
    ids=str,
)
def test_orders(group, order):
    assert group.order == order


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from([SymmetricGroup(10), ShiftsAndQuarterTurns(14), ShiftsAndQuarterTurns(51)]),
    st.integers(0, 2**32),
)
def test_the_action_is_associative_and_undone_by_inverses(group, seed):
    a, b, c = group.sample(3, torch.Generator().manual_seed(seed))
    x = torch.arange(group.points) * 10
    assert product(a, product(b, c)).equal(product(product(a, b), c))
    assert group.act(a, group.act(b, x)).equal(group.act(product(a, b), x))
    assert group.act(a.argsort(), group.act(a, x)).equal(x)


@settings(deadline=None)
@given(st.integers(1, 10), st.integers(0, 2**32))
def test_sampled_permutations_and_their_products_permute_rows_and_columns_alike(n, seed):
    """SymmetricGroup(10) has too many elements to list; what makes a table one of them is checked
    instead."""
    group = SymmetricGroup(n)
    a, b = group.sample(2, torch.Generator().manual_seed(seed))
    for table in (a, product(a, b), a.argsort()):
        row, column = table.view(n, n) // n, table.view(n, n) % n
        assert (row == row[:, :1]).all()
        assert (column == row[:, 0]).all()
        assert row[:, 0].sort().values.tolist() == list(range(n))


# --- actions


@pytest.mark.parametrize("side", [1, 2, 5, 14])
def test_quarter_turns_are_rot90(side):
    group, x = QuarterTurns(side), torch.randn(2, side, side)
    for k, table in enumerate(group.elements()):
        assert group.act(table, x.flatten(-2)).equal(torch.rot90(x, k, (-2, -1)).flatten(-2))


@pytest.mark.parametrize("side", [1, 2, 5])
def test_shifts_are_roll(side):
    x = torch.randn(2, side, side)
    along, both, turns = CyclicShifts1d(side), CyclicShifts2d(side), ShiftsAndQuarterTurns(side)
    for k in range(side):
        assert along.act(along.elements()[k], x.flatten(-2)).equal(x.roll(k, -1).flatten(-2))
        for j in range(side):
            table = both.elements()[k * side + j]
            assert both.act(table, x.flatten(-2)).equal(x.roll((k, j), (-2, -1)).flatten(-2))
            for turn in range(4):
                table = turns.elements()[(turn * side + k) * side + j]
                expected = torch.rot90(x, turn, (-2, -1)).roll((k, j), (-2, -1))
                assert turns.act(table, x.flatten(-2)).equal(expected.flatten(-2))


def test_permutations_relabel_the_nodes():
    group, matrix = SymmetricGroup(5), torch.randn(5, 5)
    for table in group.sample(20):
        p = table.view(5, 5).diagonal() // 5
        assert group.act(table, matrix.flatten()).equal(matrix[p][:, p].flatten())


def test_permutations_are_listed_in_order():
    firsts = (SymmetricGroup(3).elements().view(6, 3, 3).diagonal(dim1=1, dim2=2) // 3).tolist()
    assert firsts == [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]


def test_act_broadcasts_tables_against_tensors_and_lets_gradients_through():
    group = ShiftsAndQuarterTurns(3)
    tables = group.sample(4)
    x = torch.randn(5, 1, 9, requires_grad=True)
    found = group.act(tables, x)
    assert found.shape == (5, 4, 9)
    for i, table in enumerate(tables):
        assert found[:, i].equal(x[:, 0, table])
    found.sum().backward()
    assert (x.grad == 4).all()
    assert group.act(tables[:, None], torch.randn(9)).shape == (4, 1, 9)


def test_wrong_sizes_are_named():
    group = CyclicShifts1d(3)
    with pytest.raises(
        ValueError, match=r"CyclicShifts1d\(3\) acts by permutations \[\.\.\., 9\].*\[9\] and \[4\]"
    ):
        group.act(group.elements()[0], torch.randn(4))
    with pytest.raises(ValueError, match=r"\[\.\.\., 9, c\]; got \[3, 9\]"):
        group.project_invariant(torch.randn(3, 9))
    with pytest.raises(ValueError, match=r"\[\.\.\., 9, c_out, 9, c_in\]; got \[1, 9, 9, 1\]"):
        group.project_equivariant(torch.randn(1, 9, 9, 1))
    with pytest.raises(ValueError, match=r"got \[9, 9\]"):
        group.project_equivariant(torch.randn(9, 9))


# --- samples


@pytest.mark.parametrize(
    "group",
    [SymmetricGroup(3), QuarterTurns(3), CyclicShifts1d(5), ShiftsAndQuarterTurns(3)],
    ids=repr,
)
def test_samples_are_uniform_over_the_whole_group(group):
    count = 500 * group.order
    drawn = group.sample(count)
    assert drawn.shape == (count, group.points)
    assert drawn.dtype == torch.int64
    found, counts = drawn.unique(dim=0, return_counts=True)
    assert rows(found) == rows(group.elements())
    freedom = group.order - 1
    statistic = (
        ((counts - 500) ** 2 / 500).sum().item()
    )  # chi-squared: mean `freedom`, standard deviation sqrt(2 freedom)
    assert abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)


def test_single_nodes_of_large_permutations_are_uniform():
    nodes = SymmetricGroup(10).sample(20_000).view(-1, 10, 10).diagonal(dim1=1, dim2=2) // 10
    counts = torch.stack([(nodes == j).sum(0) for j in range(10)])
    assert (counts - 2000).abs().max() < 5 * math.sqrt(20_000 * 0.1 * 0.9)


@each
def test_samples_follow_their_generator(group):
    first, second = (group.sample(20, torch.Generator().manual_seed(7)) for _ in range(2))
    assert first.equal(second)
    assert rows(first) <= rows(group.elements())
    assert group.sample(0).shape == (0, group.points)


def test_large_groups_are_sampled_but_not_listed():
    for group in (
        SymmetricGroup(8),
        SymmetricGroup(25),
        CyclicShifts2d(101),
        ShiftsAndQuarterTurns(51),
    ):
        with pytest.raises(
            ValueError, match=f"{group.order} elements, too many to enumerate; sample instead"
        ):
            group.elements()
        assert group.sample(3).shape == (3, group.points)
    assert len(SymmetricGroup(7).elements()) == 5040


def test_the_limit_itself_is_still_listed(monkeypatch):
    assert permutation.MOST_ELEMENTS == 10_000
    monkeypatch.setattr(permutation, "MOST_ELEMENTS", 9)
    assert len(CyclicShifts2d(3).elements()) == 9
    with pytest.raises(ValueError, match="10 elements"):
        CyclicShifts1d(10).elements()


# --- orbits and projections


def numbered(first: Tensor) -> Tensor:
    return first.unique(return_inverse=True)[1]


@each
def test_orbits_are_what_the_group_reaches(group):
    tables = group.elements()
    pairs = tables.unsqueeze(-1) * group.points + tables.unsqueeze(-2)  # [order, points, points]
    assert group.orbits().equal(numbered(tables.amin(0)))
    assert group.pair_orbits().equal(numbered(pairs.amin(0)))


@pytest.mark.parametrize(
    ("group", "points", "pairs"),
    [
        (SymmetricGroup(1), 1, 1),
        (SymmetricGroup(2), 2, 8),
        (SymmetricGroup(3), 2, 14),
        *((SymmetricGroup(n), 2, 15) for n in (4, 5, 6, 10)),
        (CyclicShifts1d(14), 14, 14 * 196),
        (CyclicShifts2d(14), 1, 196),
        (QuarterTurns(14), 49, 196 * 49),
        (
            QuarterTurns(5),
            7,
            157,
        ),  # 1 + 24 / 4 of points; the pair of centres is fixed, the other 624 pairs are not
        (ShiftsAndQuarterTurns(14), 1, 51),
    ],
    ids=str,
)
def test_numbers_of_orbits(group, points, pairs):
    """Of pairs of points under shifts: as many as there are points in the orbits' stead; of
    matrices: Maron et al. 2019."""
    assert len(group.orbits().unique()) == points == group.orbits().max() + 1
    assert len(group.pair_orbits().unique()) == pairs == group.pair_orbits().max() + 1


@each
def test_projections_are_the_means_over_the_group(group):
    weight = random_weight(group)
    check_close(group.project_equivariant(weight), reynolds_equivariant(group, weight))
    weight = torch.randn(group.points, 3, dtype=torch.float64)
    check_close(group.project_invariant(weight), reynolds_invariant(group, weight))


@pytest.mark.parametrize("group", [*SMALL, SymmetricGroup(6)], ids=repr)
def test_projections_are_orthogonal(group):
    for project, shape in (
        (group.project_equivariant, (group.points, 2, group.points, 3)),
        (group.project_invariant, (group.points, 3)),
    ):
        a, b = torch.randn(2, *shape, dtype=torch.float64)
        projected = project(a)
        check_close(project(projected), projected)
        torch.testing.assert_close(
            (projected * b).sum(), (a * project(b)).sum(), atol=1e-10, rtol=1e-12
        )


@pytest.mark.parametrize("group", [*SMALL, SymmetricGroup(6)], ids=repr)
def test_projected_weights_commute_with_the_action(group):
    equivariant = group.project_equivariant(random_weight(group))
    invariant = group.project_invariant(torch.randn(group.points, 3, dtype=torch.float64))
    x = torch.randn(
        3, group.points, dtype=torch.float64
    )  # channels first, so that the group acts on the last axis

    def layer(x: Tensor) -> Tensor:
        return torch.einsum("poqi,iq->op", equivariant, x)

    for table in group.sample(20):
        torch.testing.assert_close(
            layer(group.act(table, x)), group.act(table, layer(x)), atol=1e-12, rtol=0
        )
        moved = torch.einsum("qi,iq->", invariant, group.act(table, x))
        torch.testing.assert_close(moved, torch.einsum("qi,iq->", invariant, x), atol=1e-12, rtol=0)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(
        [SymmetricGroup(3), CyclicShifts1d(3), ShiftsAndQuarterTurns(3), QuarterTurns(3)]
    ),
    st.lists(st.integers(0, 3), max_size=2),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
)
def test_leading_axes_and_layouts(group, leading, c_out, c_in, transposed):
    shape = (*leading, group.points, c_out, group.points, c_in)
    weight = torch.randn(shape, dtype=torch.float64)
    if transposed:
        weight = torch.randn(shape[::-1], dtype=torch.float64).permute(
            *range(len(shape) - 1, -1, -1)
        )
    before = weight.clone()
    found = group.project_equivariant(weight)
    assert found.is_contiguous()
    assert found.shape == weight.shape
    check_close(found, reynolds_equivariant(group, weight))
    vectors = weight[..., 0, :, :]
    found = group.project_invariant(vectors)
    assert found.shape == vectors.shape
    check_close(found, reynolds_invariant(group, vectors))
    assert weight.equal(before), "the argument is left alone"


@pytest.mark.parametrize("group", [SymmetricGroup(6), ShiftsAndQuarterTurns(7)], ids=repr)
def test_single_precision_is_projected_once_and_for_all(group):
    """A sum of single precision would move weights that are equivariant already, by as much as the
    drift to be measured."""
    weight = random_weight(group, dtype=torch.float32)
    once = group.project_equivariant(weight)
    assert once.dtype == torch.float32
    assert group.project_equivariant(once).equal(once)
    torch.testing.assert_close(
        once, group.project_equivariant(weight.double()).float(), atol=0, rtol=2e-7
    )
    once = group.project_invariant(weight[:, 0, :, 0])
    assert once.dtype == torch.float32
    assert group.project_invariant(once).equal(once)


def test_gradients_pass_through_projections():
    group = CyclicShifts1d(2)
    weight = torch.randn(2, 4, 1, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(group.project_equivariant, weight)
    assert torch.autograd.gradgradcheck(lambda w: group.project_equivariant(w).square(), weight)
    assert torch.autograd.gradcheck(
        group.project_invariant, weight[:, :, 0, 0].detach().requires_grad_()
    )


def test_orbits_found_at_test_time_serve_in_training():
    group = QuarterTurns(2)
    with torch.inference_mode():
        group.project_equivariant(torch.randn(4, 1, 4, 1))
        labels = group.pair_orbits()
    values = torch.randn(4, requires_grad=True)
    values[labels].sum().backward()
    assert values.grad.tolist() == [4.0] * 4


def test_permutations_of_ten_nodes_are_projected_by_patterns():
    """15 patterns of equal nodes, written out by hand: W[(i, j), (k, l)] depends on which of the
    four are equal."""
    group = SymmetricGroup(10)
    labels = group.pair_orbits().view(10, 10, 10, 10)
    assert (
        labels[0, 1, 2, 3]
        == labels[7, 3, 9, 0]
        != labels[0, 1, 2, 2]
        == labels[5, 4, 9, 9]
        != labels[5, 4, 5, 4]
    )
    sizes = labels.flatten().bincount().sort().values.tolist()
    assert sizes == [10] + [90] * 7 + [720] * 6 + [
        5040
    ]  # 1 block, 7 ways of 2 blocks, 6 of 3, 1 of 4


# --- configs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("permutation", "SymmetricGroup(10)"),
        ("shift_x", "CyclicShifts1d(14)"),
        ("shift_xy", "CyclicShifts2d(14)"),
        ("quarter_turns", "QuarterTurns(14)"),
        ("shift_turns", "ShiftsAndQuarterTurns(14)"),
    ],
)
def test_configs_build_their_groups(name, expected):
    node = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert repr(get_class(name, node.pop("_target_"))(**node)) == expected


class MirrorX(PermutationGroup):
    """A user's group, which knows its elements alone (docs/extending.md)."""

    def __init__(self, side):
        super().__init__(side, order=2)

    def _all(self):
        image = torch.arange(self.points).view(self.side, self.side)
        return torch.stack([image, image.flip(-1)]).flatten(1)


def test_a_group_needs_its_elements_alone():
    group, weight = MirrorX(3), torch.randn(9, 2, 9, 2, dtype=torch.float64)
    elements = group.elements()
    assert torch.equal(elements[group.sample_indices(5).long()].sort(-1).values[0], elements[0])
    mean = sum(weight[g][:, :, g] for g in elements) / 2
    torch.testing.assert_close(group.project_equivariant(weight), mean, rtol=0, atol=1e-12)
    rows = weight[0, 0]
    mean = sum(rows[g] for g in elements) / 2
    torch.testing.assert_close(group.project_invariant(rows), mean, rtol=0, atol=1e-12)
    assert group.orbits().tolist() == [0, 1, 0, 2, 3, 2, 4, 5, 4]
