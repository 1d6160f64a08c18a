"""QM9 (Ramakrishnan et al. 2014) by torch-geometric: 130 831 molecules, 19 properties."""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence

from learnsym.data.molecules.base import SplitMolecules, Unit, as_examples
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction

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


@dataclass(eq=False)
class QM9(SplitMolecules):
    """The usual split of QM9 (Anderson et al. 2019).

    100 000 molecules for training, 17 748 for validation, 13 083 for testing. The 3 054 molecules
    whose geometry is not consistent are left out, as torch-geometric does. Energies are in meV.
    """

    data_dir: str = "data"
    target: Target = "homo"
    test_fraction: Fraction = field(init=False, default=0.1)
    val_size: Count = field(default=17_748, kw_only=True)

    def __post_init__(self) -> None:
        unit = TARGETS[self.target]
        root = Path(self.data_dir).expanduser() / "qm9"
        published = _load(root)
        counts = torch.as_tensor(published.slices["z"]).diff().tolist()
        atoms = (published.z.split(counts), published.pos.split(counts))
        charges, positions = (pad_sequence(list(each), batch_first=True).numpy() for each in atoms)
        values = published.y.numpy()[:, list(TARGETS).index(self.target)]
        examples = as_examples((charges, positions, values), f"QM9 in {root}", unit)
        source = f"{self.target} of {len(examples)} molecules of torch-geometric's QM9 in {root}."
        self.finish("qm9", examples, unit, source, f"QM9 in {root}")


def _load(root: Path) -> Any:
    """Return torch-geometric's data set in this folder, downloaded if need be."""
    other = "dataset=molecules dataset.file=FILE reads molecules without it"
    try:
        from torch_geometric.datasets import QM9 as Published  # noqa: N811
    except ImportError as error:
        raise DataError(
            f"dataset=qm9 needs torch-geometric, which cannot be imported ({error}): pip install "
            f"torch-geometric; {other}."
        ) from error
    try:
        with (  # it prints what it does
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
            tensors_only(),
        ):
            return Published(str(root))
    except Exception as error:  # it does not say what its downloads and readers raise
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")  # without its advice
        raise DataError(
            f"dataset=qm9: torch-geometric could not get or read QM9 in {root} "
            f"({type(error).__name__}: {reason}); put its qm9_v3.pt into {root / 'raw'}, or set "
            f"paths.data to a folder that has qm9/raw/qm9_v3.pt; {other}."
        ) from error


@contextlib.contextmanager
def tensors_only() -> Iterator[None]:
    """Let torch.load read tensors and plain containers alone, against its caller's wish.

    torch-geometric would load anything else in a file as a pickle, which may run code.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
