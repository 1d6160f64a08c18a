"""Molecules made by code: sizes like QM9's, bonds, a target that no motion and no renumbering
changes but the geometry does."""

import pytest
import torch

from learnsym.data.molecules.base import rigid_motions
from learnsym.data.molecules.toy import HEAVY, SIZES, ToyMolecules, draw_molecules, toy_energy


def test_sizes_and_elements_are_like_those_of_qm9():
    charges, _ = draw_molecules(8000, torch.Generator().manual_seed(0))
    atoms = (charges > 0).sum(1).double()
    expected = (
        torch.tensor([*SIZES], dtype=torch.float64),
        torch.tensor([*SIZES.values()], dtype=torch.float64),
    )
    mean = float((expected[0] * expected[1]).sum() / expected[1].sum())
    assert float(atoms.mean()) == pytest.approx(mean, abs=5 * 2.93 / 8000**0.5)
    assert (int(atoms.min()), int(atoms.max())) == (3, 29)
    heavy = charges[charges > 1]
    assert float((heavy == 6).double().mean()) == pytest.approx(HEAVY[6], abs=0.02)
    assert ((charges > 1).sum(1) <= 9).all()
    assert set(charges.unique().tolist()) == {0, 1, 6, 7, 8, 9}


def test_every_atom_has_a_bond():
    charges, positions = draw_molecules(50, torch.Generator().manual_seed(1))
    there = charges > 0
    apart = torch.cdist(positions, positions)
    bonded = (apart > 0.999) & (apart < 1.501) & there[:, None] & there[:, :, None]
    assert torch.equal(bonded.any(2), there)
    assert not positions[~there].any()


def test_the_energy_is_an_invariant_and_depends_on_the_geometry():
    charges, positions = draw_molecules(20, torch.Generator().manual_seed(2))
    energy = toy_energy(charges, positions)
    torch.manual_seed(0)
    torch.testing.assert_close(
        toy_energy(charges, rigid_motions(positions, charges > 0)), energy, atol=1e-9, rtol=0
    )
    order = torch.randperm(29)
    torch.testing.assert_close(
        toy_energy(charges[:, order], positions[:, order]), energy, atol=1e-9, rtol=0
    )
    assert ((toy_energy(charges, 1.1 * positions) - energy).abs() > 1).all()


def test_the_energy_is_what_it_says():
    charges, positions = draw_molecules(3, torch.Generator().manual_seed(3))
    for row in range(3):
        atoms = [(z, p) for z, p in zip(charges[row].tolist(), positions[row], strict=True) if z]
        total = sum(
            zj / 6 * float(torch.exp(-(pi - pj).square().sum() / 4.5))
            for zi, pi in atoms
            if zi > 1
            for zj, pj in atoms
        )
        assert float(toy_energy(charges, positions)[row]) == pytest.approx(100 * total / len(atoms))


def test_parts_and_seeds():
    first, again, other = (ToyMolecules(30, 10, 20, seed=s) for s in (0, 0, 1))
    assert dict(first.info.sizes) == {"train": 30, "val": 10, "test": 20}
    assert dict(ToyMolecules(5, test_size=5).info.sizes) == {"train": 5, "test": 5}
    for name, part in first.splits.items():
        assert torch.equal(part.inputs, again.splits[name].inputs)
        assert not torch.equal(part.targets, other.splits[name].targets)
        assert part.targets.shape == (len(part), 1)
    assert first.info.target_unit == "mev"
