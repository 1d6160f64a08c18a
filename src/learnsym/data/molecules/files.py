"""A user's molecules in .npz files and in those that ase reads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from learnsym.data.base import Split
from learnsym.data.molecules.base import Arrays, SplitMolecules, Unit, as_examples
from learnsym.data.readers.arrays import describe, find_named, read_npz
from learnsym.data.readers.structures import read_structures
from learnsym.errors import DataError

QM9_UNITS: dict[str, Unit] = {
    "mu": "debye",
    "alpha": "bohr3",
    **dict.fromkeys(("homo", "lumo", "gap"), "hartree"),
    "r2": "bohr2",
    **dict.fromkeys(("zpve", "u0", "u", "h", "g"), "hartree"),
    "cv": "cal_per_mol_k",
    **dict.fromkeys(("a", "b", "c"), "ghz"),
}
"""Properties of QM9, names in lower case, in the units of its original files (Ramakrishnan et al.
2014, table 3)."""


@dataclass(eq=False)
class Molecules(SplitMolecules):
    """Molecules in .npz, (extended) .xyz, .sdf, .db and other files of ase.

    A .npz has charges [N, A] (atomic numbers, 0 = padding), positions [N, A, 3] (angstrom) and one
    array [N] per property. In other files the property belongs to every molecule: `homo=-0.25` in
    the second line of extended .xyz, a field of .sdf, a key of .db. The target is reported in meV
    if it is an energy. All examples are shuffled by `seed` before they are split.
    """

    file: str | list[str]
    data_dir: str = "data"
    target: str = "homo"
    unit: Unit | None = None

    def __post_init__(self) -> None:
        unit = self.unit or QM9_UNITS.get(self.target.lower())
        if unit is None:
            raise DataError(
                f"dataset.unit=null with dataset.target={self.target}: no property of QM9 has this "
                f"name ({', '.join(QM9_UNITS)}), so its unit in the file must be given, such as "
                "dataset.unit=hartree."
            )
        paths = find_named(self.file, self.data_dir)
        parts = []
        for path in paths:
            read = _read_arrays if path.suffix == ".npz" else read_structures
            parts.append(as_examples(read(path, self.target), str(path), unit))
        most = max(part.inputs.shape[1] for part in parts)
        padded = [F.pad(part.tensor, (0, 0, 0, most - part.inputs.shape[1])) for part in parts]
        examples = Split(torch.cat(padded), torch.cat([part.targets for part in parts]))
        names = ", ".join(map(str, paths))
        source = f"{self.target} ({unit} in the file) of the molecules of {names}."
        self.finish("molecules", examples, unit, source, names)


def _read_arrays(path: Path, target: str) -> Arrays:
    """Return the arrays of a .npz file after a check of their form."""
    arrays = read_npz(path, ("charges", "positions"))
    charges, positions = arrays["charges"], arrays["positions"]
    numbers = charges.ndim == 2 and charges.size > 0 and charges.dtype.kind in "iuf"
    if not numbers or (charges != np.rint(charges)).any():
        raise DataError(
            f"{path}: array 'charges' is {describe(charges)}. Expected atomic numbers, [N, A] (0 = "
            "padding)."
        )
    if positions.shape != (*charges.shape, 3) or positions.dtype.kind != "f":
        raise DataError(
            f"{path}: array 'positions' is {describe(positions)}. Expected numbers of shape "
            f"{[*charges.shape, 3]}."
        )
    form = (len(charges),)
    properties = [k for k, v in arrays.items() if v.shape == form and v.dtype.kind in "iuf"]
    if target not in properties:
        missing = f"there is no array {target!r}"
        if target in arrays:
            missing = f"array {target!r} is {describe(arrays[target])}"
        raise DataError(
            f"{path}: dataset.target={target}, but {missing}. Expected one number for each of its "
            f"{len(charges)} molecules, as in {', '.join(properties) or 'none of its arrays'}."
        )
    return charges.astype(np.int64), positions, arrays[target]
