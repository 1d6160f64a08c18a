"""Molecules from one's own files: what is read, in which unit, how it is split, and what is said of
files that are not right."""

import math
import re

import numpy as np
import pytest
import torch

from learnsym.data.molecules.base import EV_PER_HARTREE
from learnsym.data.molecules.files import Molecules
from learnsym.errors import DataError

ATOMS = (4, 1, 3, 5, 2, 4, 3, 3, 5, 1, 2, 4)


def arrays():
    """Twelve molecules of up to 5 atoms, padded to 7; homo in hartree, an array of 3 numbers each
    that is no target."""
    draw = np.random.default_rng(0)
    charges = np.zeros((12, 7), np.uint8)
    positions = np.zeros((12, 7, 3), np.float32)
    for row, count in enumerate(ATOMS):
        charges[row, :count] = draw.choice([1, 6, 7, 8, 9], count)
        positions[row, :count] = draw.normal(size=(count, 3))
    return {
        "charges": charges,
        "positions": positions,
        "homo": draw.normal(-0.25, 0.02, 12),
        "mu": draw.random(12),
        "my_energy": draw.random(12),
        "dipole": draw.random((12, 3)),
    }


@pytest.fixture
def mine(npz):
    made = arrays()
    return made, npz(made)


def everything(data):
    """All examples of all parts, in the order of the first coordinate."""
    inputs = torch.cat([part.inputs for part in data.splits.values()])
    targets = torch.cat([part.targets for part in data.splits.values()])
    order = inputs[:, 0, 0].argsort()
    return inputs[order], targets[order, 0]


def test_a_file_is_read_as_it_is(tmp_path, mine):
    made, _ = mine
    data = Molecules("mine.npz", str(tmp_path))
    assert data.info.input_shape == (5, 4), "as many atoms as the largest has"
    assert dict(data.info.sizes) == {"train": 10, "test": 2}
    assert (data.info.task, data.info.num_outputs, data.info.target_unit) == (
        "regression",
        1,
        "mev",
    )
    assert data.info.target_error == "absolute"
    inputs, targets = everything(data)
    order = made["positions"][:, 0, 0].argsort()
    np.testing.assert_array_equal(inputs[..., :3], made["positions"][order][:, :5])
    np.testing.assert_array_equal(inputs[..., 3], made["charges"][order][:, :5])
    np.testing.assert_allclose(targets, made["homo"][order] * 27211.4, rtol=1e-12)
    assert targets.dtype == torch.float64
    assert "homo (hartree in the file)" in data.info.provenance


@pytest.mark.parametrize(
    ("unit", "factor", "name"),
    [
        ("hartree", 1e3 * EV_PER_HARTREE, "mev"),
        ("ev", 1e3, "mev"),
        ("mev", 1, "mev"),
        ("kcal_per_mol", 43.3641, "mev"),
        ("kj_per_mol", 10.36427, "mev"),
        ("debye", 1, "debye"),
        ("none", 1, ""),
    ],
)
def test_units(tmp_path, mine, unit, factor, name):
    data = Molecules("mine.npz", str(tmp_path), target="my_energy", unit=unit)
    assert data.info.target_unit == name
    np.testing.assert_allclose(
        everything(data)[1],
        mine[0]["my_energy"][mine[0]["positions"][:, 0, 0].argsort()] * factor,
        1e-5,
    )


def test_the_units_of_qm9_are_known(tmp_path, mine):
    mine[1](U0=np.full(12, -400.0), Cv=np.ones(12), A=np.ones(12))
    for target, unit in (
        ("homo", "mev"),
        ("U0", "mev"),
        ("mu", "debye"),
        ("Cv", "cal_per_mol_k"),
        ("A", "ghz"),
    ):
        assert Molecules("mine.npz", str(tmp_path), target=target).info.target_unit == unit
    with pytest.raises(
        DataError,
        match=r"dataset\.unit=null with dataset\.target=my_energy: .* dataset\.unit=hartree",
    ):
        Molecules("mine.npz", str(tmp_path), target="my_energy")


def test_total_energies_keep_their_digits(tmp_path, mine):
    """Differences of a hundredth of a meV in 10^7 meV: float32 would lose them."""
    energies = -400 + 1e-9 * np.arange(12)
    mine[1](U0=energies)
    targets = everything(Molecules("mine.npz", str(tmp_path), target="U0"))[1]
    assert sorted(np.diff(np.sort(targets))) == pytest.approx([27211.4e-9] * 11, rel=1e-3)


def test_parts_are_drawn_by_the_seed_and_do_not_overlap(tmp_path, mine):
    def parts(**settings):
        data = Molecules("mine.npz", str(tmp_path), **settings)
        return {
            name: {row.tobytes() for row in part.inputs.numpy()}
            for name, part in data.splits.items()
        }

    first, again, other = parts(val_size=3), parts(val_size=3), parts(val_size=3, seed=1)
    assert first == again != other
    assert {k: len(v) for k, v in first.items()} == {"train": 7, "val": 3, "test": 2}
    assert len(first["train"] | first["val"] | first["test"]) == 12
    fewer = parts(val_size=3, train_size=4)
    assert fewer["train"] < first["train"], "less of the same"
    assert fewer["test"] == first["test"]
    assert len(parts(test_fraction=0.5)["test"]) == 6


def test_padding_may_stand_anywhere(tmp_path, mine):
    made, write = mine
    before = everything(Molecules("mine.npz", str(tmp_path)))[0]
    order = [6, 0, 5, 1, 2, 3, 4]
    positions = made["positions"].copy()
    positions[made["charges"] == 0] = np.nan  # whatever stands in the padding
    write(charges=made["charges"][:, order].astype(np.float64), positions=positions[:, order])
    np.testing.assert_array_equal(everything(Molecules("mine.npz", str(tmp_path)))[0], before)


def test_several_files_are_read_one_after_the_other(tmp_path, mine):
    made, _ = mine
    cut = {k: (v[:7], v[7:]) for k, v in made.items()}
    for place in (0, 1):
        part = {k: v[place] for k, v in cut.items()}
        part |= {k: part[k][:, : (7, 6)[place]] for k in ("charges", "positions")}
        np.savez(tmp_path / f"part{place}.npz", **part)
    for names in ("part*.npz", ["part0.npz", "part1.npz"]):
        both = everything(Molecules(names, str(tmp_path)))
        for found, expected in zip(
            both, everything(Molecules("mine.npz", str(tmp_path))), strict=True
        ):
            assert torch.equal(found, expected)


def changed_charges(value):
    def change(made):
        charges = made["charges"].astype(np.int64)
        charges[3, 1] = value
        return {"charges": charges}

    return change


def without_atoms(made):
    charges = made["charges"].copy()
    charges[5] = 0
    return {"charges": charges}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: {"charges": None}, r"has the arrays positions, .* but not charges"),
        (lambda made: {"positions": None}, "but not positions"),
        (
            lambda made: {"homo": None},
            r"dataset\.target=homo, but there is no array 'homo'.* as in mu, my_energy",
        ),
        (
            lambda made: {"homo": made["dipole"]},
            r"array 'homo' is float64 of shape \[12, 3\]. Expected one number for each of its 12",
        ),
        (lambda made: {"homo": made["homo"][:5]}, r"array 'homo' is float64 of shape \[5\]"),
        (lambda made: {"homo": np.full(12, np.inf)}, "a target is not a finite number"),
        (
            lambda made: {"positions": made["positions"] * np.nan},
            "a position is not a finite number",
        ),
        (
            lambda made: {"positions": made["positions"][:, :, :2]},
            r"'positions' is float32 of shape \[12, 7, 2\]. Expected .*\[12, 7, 3\]",
        ),
        (
            lambda made: {"charges": made["charges"][0]},
            r"'charges' is uint8 of shape \[7\]. Expected atomic numbers, \[N, A\]",
        ),
        (lambda made: {"charges": made["charges"] + 0.5}, "atomic numbers"),
        (
            changed_charges(16),
            r"molecule 3 has an atom of atomic number 16 \(S\). Expected molecules of H, C, N",
        ),
        (changed_charges(-1), r"atomic number -1 \(no element\)"),
        (without_atoms, "molecule 5 has no atoms"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, mine, change, said):
    made, write = mine
    write(**change(made))
    with pytest.raises(DataError, match=said) as caught:
        Molecules("mine.npz", str(tmp_path))
    assert str(tmp_path / "mine.npz") in str(caught.value)
    assert "Expected" in str(caught.value)


def test_what_cannot_be_had_is_refused(tmp_path, mine):
    with pytest.raises(DataError, match=r"dataset\.file: there is no file other\.npz"):
        Molecules("other.npz", str(tmp_path))
    with pytest.raises(DataError, match=r"dataset\.train_size=11 .* training examples"):
        Molecules("mine.npz", str(tmp_path), train_size=11)
    with pytest.raises(DataError, match=r"dataset\.test_size=3 asks for more test examples"):
        Molecules("mine.npz", str(tmp_path), test_size=3)
    with pytest.raises(DataError, match=r"dataset\.test_fraction=0\.01"):
        Molecules("mine.npz", str(tmp_path), test_fraction=0.01)


def test_the_global_random_numbers_are_left_alone(tmp_path, mine):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Molecules("mine.npz", str(tmp_path), augment="se3")
    assert torch.equal(torch.get_rng_state(), before)


# --- extended .xyz

SYMBOL = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}


def write_xyz(path, made, properties="species:S:1:pos:R:3"):
    """The molecules of `arrays` as text; with other columns where Properties says so."""
    lines = []
    for charges, positions, homo in zip(
        made["charges"], made["positions"], made["homo"], strict=True
    ):
        count = int((charges > 0).sum())
        lines += [
            str(count),
            f'Properties={properties} name="a = b" pbc="F F F" homo={homo!r} other=1',
        ]
        for charge, position in zip(
            charges[:count].tolist(), positions[:count].tolist(), strict=True
        ):
            numbers = " ".join(repr(x) for x in position)
            symbol = SYMBOL[charge]
            lines.append(
                f"0.5  {numbers} {charge}"
                if properties.startswith("q")
                else f"{symbol:3} {numbers}   1 2 3"
            )
    path.write_text("\n".join(lines).replace("np.float64(", "").replace(")", "") + "\n\n")


@pytest.mark.parametrize("properties", ["species:S:1:pos:R:3:force:R:3", "q:R:1:pos:R:3:Z:I:1"])
def test_xyz_files_hold_the_same(tmp_path, mine, properties):
    write_xyz(tmp_path / "mine.xyz", mine[0], properties)
    for found, expected in zip(
        everything(Molecules("mine.xyz", str(tmp_path))),
        everything(Molecules("mine.npz", str(tmp_path))),
        strict=True,
    ):
        assert torch.equal(found, expected)


def test_a_plain_xyz_file(tmp_path):
    water = "3\n{}\nO 0 0 0.119\nh 0 0.763 -0.477\nH 0 -0.763 -4.77e-1\n"
    (tmp_path / "water.xyz").write_text(
        "".join(water.format(f"homo = -0.{k}  lumo='0.1'") for k in (2, 3, 4, 5))
    )
    data = Molecules("water.xyz", str(tmp_path), test_fraction=0.25)
    assert sorted(everything(data)[1].tolist()) == pytest.approx(
        [-27211.4 * k / 10 for k in (5, 4, 3, 2)]
    )
    assert everything(data)[0][0, :, 3].tolist() == [8, 1, 1]
    assert everything(data)[0][0, 2].tolist() == pytest.approx([0, -0.763, -0.477, 1])
    assert everything(Molecules("water.xyz", str(tmp_path), target="lumo", test_fraction=0.25))[1][
        0
    ] == pytest.approx(2721.14)


def test_atomic_numbers_for_symbols(tmp_path):
    water = "3\nhomo=-0.{}\n8 0 0 0.119\n1 0 0.763 -0.477\n1 0 -0.763 -0.477\n"
    (tmp_path / "water.xyz").write_text("".join(map(water.format, (2, 3, 4, 5))))
    inputs, targets = everything(Molecules("water.xyz", str(tmp_path), test_fraction=0.25))
    assert inputs[0, :, 3].tolist() == [8, 1, 1]
    assert sorted(targets.tolist()) == pytest.approx([-27211.4 * k / 10 for k in (5, 4, 3, 2)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no molecule"),
        ("water\n\n", r"line 1: Expected the number of atoms of a molecule, got 'water'"),
        ("0\nhomo=1\n", "line 1: .* got '0'"),
        ("2\nhomo=1\nH 0 0 0\n", "line 1 announces 2 atoms, but the file ends after line 3"),
        (
            "1\nlumo=1\nH 0 0 0\n",
            r"line 2: dataset\.target=homo is not there. Expected homo=<number>, got lumo",
        ),
        ("1\nhomo=high\nH 0 0 0\n", "line 2, homo: Expected a finite number, got 'high'"),
        ("1\nhomo=nan\nH 0 0 0\n", "a finite number"),
        ("1\nhomo=1\nH 0 0\n", "the molecule in lines 1 to 3 cannot be read"),
        ("1\nhomo=1\nH 0 0 x\n", "lines 1 to 3 cannot be read .*'x'"),
        ("1\nhomo=1\nXx 0 0 0\n", "lines 1 to 3 cannot be read .*'Xx'"),
        ("1\nhomo=1 Properties=pos:R:3\n0 0 0\n", "line 2 has an atom that is no element"),
        (
            "1\nhomo=1 Properties=species:S:1:pos:R:2\nH 0 0\n",
            "lines 1 to 3 cannot be read .*wrong shape",
        ),
        ("1\nhomo=1\nX 0 0 0\n", "line 2 has an atom that is no element"),
        ('1\nhomo=1 Lattice="5 0 0 0 5 0 0 0 5"\nH 0 0 0\n', "line 2 is periodic"),
        ("1\nhomo=1\nCl 0 0 0\n", r"molecule 0 has an atom of atomic number 17 \(Cl\)"),
    ],
)
def test_a_wrong_xyz_file_is_named(tmp_path, text, said):
    (tmp_path / "bad.xyz").write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        Molecules("bad.xyz", str(tmp_path))
    assert "bad.xyz" in str(caught.value)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "bad.xyz").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(
        DataError, match=r"bad\.xyz: molecule 0 cannot be read \(UnicodeDecodeError"
    ):
        Molecules("bad.xyz", str(tmp_path))


# --- other formats


def test_an_sdf_file_of_several_records(tmp_path):
    """ase alone would read the first, without its fields."""
    record = (
        "water\n  made\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n"
        "    0.0000    0.0000    0.1190 O   0  0\n    0.0000    0.7630   -0.4770 H   0  0\n"
        "    0.0000   -0.7630   -0.4770 H   0  0\n  1  2  1  0\n  1  3  1  0\nM  END\n"
        ">  <homo>  (1)\n-0.{}\n\n> <mu>\n1.5\n\n$$$$\n"
    )
    (tmp_path / "water.sdf").write_text("".join(map(record.format, (2, 3, 4, 5))))
    inputs, targets = everything(Molecules("water.sdf", str(tmp_path), test_fraction=0.25))
    assert sorted(targets.tolist()) == pytest.approx([-27211.4 * k / 10 for k in (5, 4, 3, 2)])
    assert inputs[0, :, 3].tolist() == [8, 1, 1]
    assert inputs[0, 2].tolist() == pytest.approx([0, -0.763, -0.477, 1])
    other = Molecules("water.sdf", str(tmp_path), target="mu", test_fraction=0.25)
    assert everything(other)[1].tolist() == [1.5] * 4


@pytest.mark.parametrize("suffix", ["db", "json", "traj"])
def test_files_of_ase(tmp_path, mine, suffix):
    import ase.db
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    made, path = mine[0], tmp_path / f"mine.{suffix}"
    molecules = [
        ase.Atoms(z[z > 0], x[z > 0], info={"homo": float(homo)})
        for z, x, homo in zip(made["charges"], made["positions"], made["homo"], strict=True)
    ]
    for atoms in molecules:
        atoms.calc = SinglePointCalculator(atoms, energy=2.0)
    if suffix == "traj":
        ase.io.write(path, molecules)
    else:
        with ase.db.connect(str(path)) as rows:
            for atoms in molecules:
                rows.write(atoms, homo=atoms.info["homo"])
    for found, expected in zip(
        everything(Molecules(path.name, str(tmp_path))),
        everything(Molecules("mine.npz", str(tmp_path))),
        strict=True,
    ):
        assert torch.equal(found, expected)
    energy = Molecules(path.name, str(tmp_path), target="energy", unit="ev")
    assert everything(energy)[1].tolist() == [2000.0] * 12


def test_molecules_after_an_empty_line_are_not_lost(tmp_path):
    (tmp_path / "two.xyz").write_text("1\nhomo=1\nH 0 0 0\n\n\n1\nhomo=2\nH 1 0 0\n\n")
    inputs, _ = everything(Molecules("two.xyz", str(tmp_path), test_fraction=0.5))
    assert inputs[:, 0, 0].tolist() == [0, 1]


def test_formats_that_hold_pickles_are_refused(tmp_path):
    (tmp_path / "mine.trj").write_bytes(b"PickleTrajectory")
    with pytest.raises(DataError, match=r"mine\.trj may hold pickled objects"):
        Molecules("mine.trj", str(tmp_path))
    (tmp_path / "mine.abc").write_bytes(b"nothing that is known")
    with pytest.raises(DataError, match=r"mine\.abc: molecule 0 cannot be read"):
        Molecules("mine.abc", str(tmp_path))


# --- real data


def test_the_isomers(real_data):
    data = Molecules("qm9_c7h10o2.npz", real_data, val_size=500)
    assert dict(data.info.sizes) == {"train": 4376, "val": 500, "test": 1219}
    assert data.info.input_shape == (19, 4)
    charges = data.splits["test"].inputs[..., 3]
    assert torch.equal(
        charges.sort(dim=1).values[0], torch.tensor([1.0] * 10 + [6.0] * 7 + [8.0] * 2)
    )
    targets = data.splits["train"].targets
    assert -7500 < float(targets.mean()) < -6000, "meV: highest occupied orbitals lie near -6.5 eV"
    gap, lumo = (
        Molecules("qm9_c7h10o2.npz", real_data, target=t).splits["test"].targets
        for t in ("gap", "lumo")
    )
    homo = Molecules("qm9_c7h10o2.npz", real_data).splits["test"].targets
    assert (gap - lumo + homo).abs().max() < 1e-6 * gap.max()


def test_molecules_of_all_sizes(real_data):
    data = Molecules(
        "qm9_subset.npz", real_data, target="energy_mp2", unit="hartree", augment="se3"
    )
    assert data.info.input_shape == (29, 4)
    sizes = (data.splits["train"].inputs[..., 3] > 0).sum(1)
    assert (int(sizes.min()), int(sizes.max())) == (3, 29)
    seen = data.prepare(data.splits["train"].inputs[:50], train=True)
    near = torch.cdist(seen[..., :3], seen[..., :3])
    there = (seen[..., 3:] != 0).any(-1)
    pairs = there[:, :, None] & there[:, None] & ~torch.eye(seen.shape[1], dtype=torch.bool)
    assert near[pairs].min() > 0.95, "no two atoms are nearer than in the file"
    assert math.isfinite(float(seen.sum()))
    with pytest.raises(
        DataError,
        match=re.escape(
            "dataset.target=dipole_hf, but array 'dipole_hf' is float32 of shape [10000, 3]"
        ),
    ):
        Molecules("qm9_subset.npz", real_data, target="dipole_hf", unit="debye")
