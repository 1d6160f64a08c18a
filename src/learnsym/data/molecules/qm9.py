"""QM9 (Ramakrishnan et al. 2014) as torch-geometric has it: 130 831 molecules of H, C, N, O and F,
19 properties.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from learnsym.data.molecules.base import PointAugmentName, PointData
from learnsym.data.molecules.files import (
    Arrays,
    as_examples,
    how_split,
    molecule_info,
    split_molecules,
)
from learnsym.data.molecules.units import Unit, reported
from learnsym.errors import DataError
from learnsym.schema import Count, Size

Energy = Literal[
    "homo", "lumo", "gap", "zpve", "U0", "U", "H", "G", "U0_atom", "U_atom", "H_atom", "G_atom"
]
Target = Energy | Literal["mu", "alpha", "r2", "Cv", "A", "B", "C"]
TARGETS: dict[Target, Unit] = {
    "mu": "debye",
    "alpha": "bohr3",
    **dict.fromkeys(("homo", "lumo", "gap"), "ev"),
    "r2": "bohr2",
    **dict.fromkeys(("zpve", "U0", "U", "H", "G"), "ev"),
    "Cv": "cal_per_mol_k",
    **dict.fromkeys(("U0_atom", "U_atom", "H_atom", "G_atom"), "ev"),
    **dict.fromkeys(("A", "B", "C"), "ghz"),
}
"""The columns of torch-geometric's y, in order, and their units: it has converted energies by
27.211386 eV per hartree (and those of atomisation by 0.04336414 eV per kcal/mol)."""
TEST_FRACTION = 0.1
"""Of 130 831 molecules: 13 083."""


class QM9(PointData):
    """The usual split (Anderson et al. 2019): 100 000 molecules for training, 17 748 for
    validation, 13 083 for testing.

    The 3 054 molecules whose geometry is not consistent are left out, as torch-geometric does.
    Energies are reported in meV.
    """

    def __init__(
        self,
        data_dir: str = "data",
        target: Target = "homo",
        train_size: Size | None = None,
        val_size: Count = 17_748,
        test_size: Size | None = None,
        augment: PointAugmentName = "none",
        center: bool = True,
        seed: Count = 0,
    ) -> None:
        """Args:
        data_dir: folder that has, or gets, torch-geometric's files in its sub-folder qm9.
        target: which of the 19 properties.
        train_size, test_size: at most so many, drawn at random; None takes all that the other
            parts leave.
        val_size: so many are for validation.
        augment, center: see `PointData`.
        seed: of the split.
        """
        unit = TARGETS[target]
        root = Path(data_dir).expanduser() / "qm9"
        everything = as_examples(as_arrays(load(root), target), f"QM9 in {root}", unit)
        splits = split_molecules(
            everything, TEST_FRACTION, train_size, val_size, test_size, seed, f"QM9 in {root}"
        )
        source = (
            f"{target} of {len(everything)} molecules of QM9, read by torch-geometric in {root}."
        )
        super().__init__(
            molecule_info("qm9", splits, reported(unit)[1], f"{source} {how_split(seed)}"),
            splits,
            augment,
            center,
        )


def load(root: Path) -> Any:
    """torch-geometric's data set in this folder, downloaded if it is not there.

    Raises:
        DataError: there is no torch-geometric, or it could not get or read the files.
    """
    own = "dataset=molecules dataset.file=FILE reads molecules without it"
    try:
        from torch_geometric.datasets import QM9 as Published
    except ImportError as error:
        raise DataError(
            f"dataset=qm9 needs torch-geometric, which cannot be imported ({error}): uv sync --extra molecules, or pip install "
            f"torch-geometric; {own}."
        ) from error
    try:
        # It prints what it does.
        with (
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
            tensors_only(),
        ):
            return Published(str(root))
    except (
        Exception
    ) as error:  # of its downloads and of reading what lies there: of many kinds, not documented
        reason = (
            str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        )  # no advice that follows it
        raise DataError(
            f"dataset=qm9: torch-geometric could not get or read QM9 in {root} ({type(error).__name__}: {reason}); put its "
            f"qm9_v3.pt into {root / 'raw'}, or set paths.data to a folder that has qm9/raw/qm9_v3.pt; {own}."
        ) from error


@contextlib.contextmanager
def tensors_only() -> Iterator[None]:
    """torch.load within reads tensors and plain containers alone, whatever its caller says:
    torch-geometric, where it meets anything else in a file, would load it as a pickle, which may
    run code.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def as_arrays(published: Any, target: Target) -> Arrays:
    """Atomic numbers [N, A] (0 = padding), positions [N, A, 3] in angstrom, and the target [N] in
    torch-geometric's unit.
    """
    z, pos, y = (getattr(published, name).numpy() for name in ("z", "pos", "y"))
    starts = np.asarray(published.slices["z"])
    counts = np.diff(starts)
    molecule = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(z)) - starts[molecule]
    charges = np.zeros((len(counts), counts.max()), np.int64)
    positions = np.zeros((*charges.shape, 3), np.float32)
    charges[molecule, place], positions[molecule, place] = z, pos
    return charges, positions, y[:, list(TARGETS).index(target)]
