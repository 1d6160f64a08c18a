"""QM9 through a synthetic twin of torch-geometric's: columns and units, molecules, splits, and what
is said without it."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from learnsym.data.molecules.qm9 import QM9, TARGETS
from learnsym.errors import DataError

COLUMNS = "mu alpha homo lumo gap r2 zpve U0 U H G Cv U0_atom U_atom H_atom G_atom A B C".split()  # noqa: SIM905
COUNT = 200


def twin():
    """What torch-geometric has of 200 molecules: atoms one after the other, y[:, k] = 100 k +
    number of the molecule / 1000."""
    draws = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 9, (COUNT,), generator=draws)
    z = torch.tensor([1, 6, 7, 8, 9])[torch.randint(5, (int(sizes.sum()),), generator=draws)]
    y = 100 * torch.arange(19.0) + torch.arange(COUNT)[:, None] / 1000
    starts = torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])
    return SimpleNamespace(
        z=z, pos=torch.randn(len(z), 3, generator=draws), y=y, slices={"z": starts}
    )


@pytest.fixture
def published(monkeypatch):
    """A torch_geometric that hands out the twin and remembers the folders it was asked for."""
    made, asked = twin(), []

    def give(root):
        asked.append(root)
        print("Processing...")
        return made

    package, datasets = ModuleType("torch_geometric"), ModuleType("torch_geometric.datasets")
    datasets.QM9, package.datasets, made.asked = give, datasets, asked
    monkeypatch.setitem(sys.modules, "torch_geometric", package)
    monkeypatch.setitem(sys.modules, "torch_geometric.datasets", datasets)
    return made


def test_columns_are_those_of_torch_geometric():
    assert list(TARGETS) == COLUMNS


@pytest.mark.parametrize(
    ("target", "column", "factor", "unit"),
    [
        ("mu", 0, 1, "debye"),
        ("alpha", 1, 1, "bohr3"),
        ("homo", 2, 1000, "mev"),
        ("lumo", 3, 1000, "mev"),
        ("gap", 4, 1000, "mev"),
        ("r2", 5, 1, "bohr2"),
        ("zpve", 6, 1000, "mev"),
        ("U0", 7, 1000, "mev"),
        ("G", 10, 1000, "mev"),
        ("Cv", 11, 1, "cal_per_mol_k"),
        ("G_atom", 15, 1000, "mev"),
        ("C", 18, 1, "ghz"),
    ],
)
def test_targets_and_their_units(published, tmp_path, target, column, factor, unit):
    data = QM9(str(tmp_path), target, val_size=30)
    assert data.info.target_unit == unit
    assert data.info.name == "qm9"
    found = torch.cat([part.targets for part in data.splits.values()]).sort(dim=0).values[:, 0]
    np.testing.assert_allclose(found, published.y[:, column].double() * factor, rtol=1e-6)


def test_molecules_are_as_published(published, tmp_path, capsys):
    data = QM9(str(tmp_path), "mu", val_size=30)
    assert published.asked == [str(tmp_path / "qm9")]
    assert capsys.readouterr() == ("", "")
    assert dict(data.info.sizes) == {"train": 150, "val": 30, "test": 20}
    assert data.info.input_shape == (8, 4)
    seen = set()
    for part in data.splits.values():
        for stored, target in zip(part.inputs, part.targets[:, 0].tolist(), strict=True):
            number = round(1000 * target)
            rows = slice(*published.slices["z"][number : number + 2].tolist())
            count = rows.stop - rows.start
            assert torch.equal(stored[:count, :3], published.pos[rows])
            assert torch.equal(stored[:count, 3].long(), published.z[rows])
            assert not stored[count:].any()
            seen.add(number)
    assert seen == set(range(COUNT)), "every molecule is in one part"


def test_the_split_is_that_of_the_seed_whatever_the_target(published, tmp_path):
    homo, lumo, other = (
        QM9(str(tmp_path), t, val_size=30, seed=s)
        for t, s in (("homo", 0), ("lumo", 0), ("homo", 1))
    )
    for name in ("train", "val", "test"):
        assert torch.equal(homo.splits[name].inputs, lumo.splits[name].inputs)
        assert not torch.equal(homo.splits[name].inputs, other.splits[name].inputs)


def test_the_usual_sizes(published, tmp_path):
    """Of 130 831 molecules: 100 000, 17 748 and 13 083."""
    atoms = 130_831
    published.z, published.pos = torch.ones(atoms, dtype=torch.long), torch.zeros(atoms, 3)
    published.y, published.slices = torch.zeros(atoms, 19), {"z": torch.arange(atoms + 1)}
    assert dict(QM9(str(tmp_path)).info.sizes) == {"train": 100_000, "val": 17_748, "test": 13_083}


def test_without_torch_geometric(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    monkeypatch.setitem(sys.modules, "torch_geometric.datasets", None)
    with pytest.raises(
        DataError, match=r"dataset=qm9 needs torch-geometric, .* pip install .*; dataset=molecules"
    ):
        QM9(str(tmp_path))


def test_without_a_network(published, monkeypatch, tmp_path):
    def fail(root):
        raise OSError("no route to host. Try again.")

    monkeypatch.setattr(sys.modules["torch_geometric.datasets"], "QM9", fail)
    with pytest.raises(
        DataError,
        match=r"could not get or read QM9 in .*qm9 \(OSError: no route to host\); put its",
    ) as e:
        QM9(str(tmp_path))
    assert str(tmp_path / "qm9" / "raw") in str(e.value)


def test_too_few_for_what_is_asked(published, tmp_path):
    with pytest.raises(
        DataError, match=r"dataset\.val_size=17748 leaves nothing of 180 training examples"
    ):
        QM9(str(tmp_path))


@pytest.mark.filterwarnings("ignore")  # what torch-geometric imports warns
def test_torch_geometric_itself_reads_its_own_file(tmp_path):
    """Its pre-processed file with molecules of our own: what comes back through all of
    torch-geometric's machinery."""
    pytest.importorskip("torch_geometric")
    made = twin()
    (tmp_path / "qm9" / "raw").mkdir(parents=True)
    rows = [
        slice(*pair)
        for pair in zip(made.slices["z"][:-1].tolist(), made.slices["z"][1:].tolist(), strict=True)
    ]
    molecules = [
        {
            "x": torch.zeros(r.stop - r.start, 11),
            "z": made.z[r],
            "pos": made.pos[r],
            "edge_index": torch.zeros(2, 0).long(),
        }
        | {"edge_attr": torch.zeros(0, 4), "y": made.y[k : k + 1], "name": f"gdb_{k}", "idx": k}
        for k, r in enumerate(rows)
    ]
    torch.save(molecules, tmp_path / "qm9" / "raw" / "qm9_v3.pt")
    data = QM9(str(tmp_path), "lumo", val_size=30)
    stored, target = data.splits["test"].inputs[0], float(data.splits["test"].targets[0])
    number = round(target - 1000 * 300)
    count = rows[number].stop - rows[number].start
    assert torch.equal(stored[:count, :3], made.pos[rows[number]])
    assert torch.equal(stored[:count, 3].long(), made.z[rows[number]])
    (tmp_path / "bad" / "qm9" / "raw").mkdir(parents=True)
    (tmp_path / "bad" / "qm9" / "raw" / "qm9_v3.pt").write_text("no such thing")
    with pytest.raises(DataError, match="could not get or read QM9") as caught:
        QM9(str(tmp_path / "bad"))
    assert "weights_only" not in str(caught.value) or "Re-running" not in str(caught.value)
