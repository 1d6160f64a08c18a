"""What a network sees of molecules: coordinates about the centroid, features of the elements, rigid
motions in training alone."""

import pytest
import torch

from learnsym.data.base import DataInfo, Split
from learnsym.data.molecules.base import (
    SHIFT,
    SPECIES,
    PointData,
    molecule_info,
    normal,
    rigid_motions,
)
from learnsym.utils.rng import BatchRows

CHARGES = ([6, 1, 1, 8], [7], [9, 6, 1], [8, 1, 1, 6, 1])


def molecules(most=6):
    """Molecules [4, most, 4] of 4, 1, 3 and 5 atoms, far from the origin."""
    draws = torch.Generator().manual_seed(0)
    stored = torch.zeros(len(CHARGES), most, 4)
    for row, charges in enumerate(CHARGES):
        stored[row, : len(charges), :3] = 3 * torch.randn(len(charges), 3, generator=draws) + 7
        stored[row, : len(charges), 3] = torch.tensor(charges)
    return stored


def data_of(stored, augment="none", center=True):
    splits = {name: Split(stored, torch.zeros(len(stored), 1)) for name in ("train", "test")}
    return PointData(molecule_info("made", splits, "mev", "Made here."), splits, augment, center)


def distances(points):
    return torch.cdist(
        points[..., :3], points[..., :3], compute_mode="donot_use_mm_for_euclid_dist"
    )


def test_what_a_network_sees_is_number_by_number_what_is_documented():
    stored = molecules()
    seen = data_of(stored).prepare(stored)
    assert seen.shape == (4, 5, 18)
    assert seen.dtype == torch.float32
    for row, charges in enumerate(CHARGES):
        count = len(charges)
        positions = stored[row, :count, :3].double()
        torch.testing.assert_close(
            seen[row, :count, :3].double(), positions - positions.mean(0), atol=2e-6, rtol=0
        )
        for atom, charge in enumerate(charges):
            expected = [0.0] * 15
            place = [1, 6, 7, 8, 9].index(charge)
            expected[3 * place : 3 * place + 3] = [1, charge / 9, (charge / 9) ** 2]
            assert seen[row, atom, 3:].tolist() == pytest.approx(expected)
        assert not seen[row, count:].any(), "padding is all zeros"


def test_positions_may_be_those_of_the_file():
    stored = molecules()
    seen = data_of(stored, center=False).prepare(stored)
    for row, charges in enumerate(CHARGES):
        assert torch.equal(seen[row, : len(charges), :3], stored[row, : len(charges), :3])
        assert not seen[row, len(charges) :].any()
    torch.manual_seed(2)
    moved = data_of(stored, "se3", center=False).prepare(stored, train=True)
    turned = (moved[..., :3].sum(1) / 7).norm(dim=1)
    assert (turned > 0.5).all(), "turned about the origin of the file, far from the molecules"
    torch.testing.assert_close(distances(moved[3, :5]), distances(stored[3, :5]), atol=1e-4, rtol=0)


def test_only_as_many_atoms_as_the_largest_of_the_batch_has():
    stored = molecules()
    data = data_of(stored)
    assert data.prepare(stored[1:2]).shape == (1, 1, 18)
    assert data.prepare(stored[1:3]).shape == (2, 3, 18)
    alone = torch.cat([data.prepare(stored[k : k + 1])[0] for k in range(4)])
    together = data.prepare(stored)
    torch.testing.assert_close(together[(together[..., 3:] != 0).any(-1)], alone, atol=1e-6, rtol=0)


def test_where_a_molecule_lies_does_not_matter():
    stored = molecules()
    moved = stored.clone()
    moved[..., :3] += torch.tensor([1.0, -20.0, 4.0])  # the padding too
    data = data_of(stored)
    torch.testing.assert_close(data.prepare(moved), data.prepare(stored), atol=1e-5, rtol=0)


def test_rigid_motions_are_for_training_alone_and_keep_all_distances():
    stored = molecules()
    data = data_of(stored, "se3")
    still = data.prepare(stored)
    assert torch.equal(still, data_of(stored).prepare(stored, train=True))
    torch.manual_seed(1)
    moved, again = data.prepare(stored, train=True), data.prepare(stored, train=True)
    assert not torch.allclose(moved, again), "other draws each time"
    for row, charges in enumerate(CHARGES):
        count = len(charges)
        before, after = still[row, :count], moved[row, :count]
        torch.testing.assert_close(distances(after), distances(before), atol=1e-5, rtol=0)
        assert torch.equal(after[:, 3:], before[:, 3:])
        assert not moved[row, count:].any(), "padding stays where it is"
        assert after[:, :3].mean(0).abs().max() < 4 * SHIFT
        assert (after[:, :3] - before[:, :3]).abs().max() > 1e-3
    # Proper: four atoms span a volume, which keeps its sign.
    sides = [cloud[0, 1:4, :3] - cloud[0, 0, :3] for cloud in (still, moved)]
    assert torch.linalg.det(sides[0]).item() == pytest.approx(
        torch.linalg.det(sides[1]).item(), rel=1e-3
    )


def test_rotations_are_uniform_and_shifts_are_normal():
    """The moments of Haar's measure: E R = 0, E R_ij R_kl = delta_ik delta_jl / 3; of a normal
    shift t: 0, SHIFT^2, 3 SHIFT^4. A cloud goes to R (x + t): the shift is turned with it."""
    torch.manual_seed(0)
    count, there = 40_000, torch.ones(40_000, 4, dtype=torch.bool)
    frame = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double().expand(count, 4, 3)
    moved = rigid_motions(frame, there)
    turns = (moved[:, 1:] - moved[:, :1]).flatten(1)  # the columns of R, side by side
    shifts = torch.einsum("bij,bj->bi", turns.view(count, 3, 3), moved[:, 0])
    assert turns.mean(0).abs().max() < 5 / (3 * count) ** 0.5
    torch.testing.assert_close(
        turns.T @ turns / count, torch.eye(9).double() / 3, atol=0.012, rtol=0
    )
    assert shifts.mean(0).abs().max() < 5 * SHIFT / count**0.5
    torch.testing.assert_close(
        shifts.T @ shifts / count, SHIFT**2 * torch.eye(3).double(), atol=0.01, rtol=0
    )
    torch.testing.assert_close(
        (shifts / SHIFT).pow(4).mean(0), torch.full((3,), 3.0).double(), atol=0.25, rtol=0
    )
    assert (shifts.T @ turns / count).abs().max() < 0.015, "independent of each other"


def test_a_uniform_number_of_zero_makes_no_infinite_one():
    zero = torch.zeros(2)
    assert normal(zero, zero).equal(zero)
    most = torch.tensor([1 - 2**-24])
    assert normal(most, torch.zeros(1)).isfinite().all()


def test_several_processes_draw_what_one_would():
    stored = molecules()
    data = data_of(stored, "se3")
    torch.manual_seed(3)
    whole = data.prepare(stored, train=True)
    parts = []
    for rows in (range(1), range(1, 4)):
        torch.manual_seed(3)
        held = BatchRows(rows.start, rows.stop, 4)
        parts.append(data.prepare(stored[rows.start : rows.stop], train=True, rows=held))
    assert torch.allclose(parts[0], whole[:1, :4], atol=1e-6)
    assert torch.allclose(parts[1], whole[1:], atol=1e-6)


def test_a_network_is_built_for_fifteen_features():
    data = data_of(molecules())
    assert (data.kind, data.in_channels, PointData.in_channels) == ("points", 15, 15)
    assert data.info.input_shape == (6, 4)
    assert data.info.output_shape == (1,)
    assert isinstance(data.info, DataInfo)
    assert list(SPECIES.values()) == ["H", "C", "N", "O", "F"]
