"""A user's molecules, in plain .npz files or in any format that ase reads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from learnsym.data.base import Split
from learnsym.data.molecules.examples import Arrays, SplitMolecules, as_examples
from learnsym.data.molecules.units import QM9_UNITS, Unit
from learnsym.data.readers.arrays import describe, find_named, read_npz
from learnsym.data.readers.structures import read_structures
from learnsym.errors import DataError


@dataclass(eq=False)
class Molecules(SplitMolecules):
    """Molecules in .npz, (extended) .xyz, .sdf, .db and other files of ase.

    A .npz has charges [N, A] (atomic numbers, 0 = padding), positions [N, A, 3] (angstrom) and one
    array [N] per property. In other files the property belongs to every molecule: `homo=-0.25` in
    the second line of extended .xyz, a field of .sdf, a key of .db. The target is reported in meV
    if it is an energy. All examples are shuffled by `seed` before they are split. Other arguments:
    see `SplitMolecules` and `SplitSettings`.

    Args:
        file: a file, a list of files or a pattern; several are read one after the other.
        data_dir: folder where a relative name is looked for if it is not in the current one.
        target: which property.
        unit: of that property in the file; None: as in QM9, for its properties.
    """

    file: str | list[str]
    data_dir: str = "data"
    target: str = "homo"
    unit: Unit | None = None

    def __post_init__(self) -> None:
        unit = self.unit or _unit_of(self.target)
        paths = find_named(self.file, self.data_dir)
        parts = [as_examples(_read(path, self.target), str(path), unit) for path in paths]
        names = ", ".join(map(str, paths))
        source = f"{self.target} ({unit} in the file) of the molecules of {names}."
        self.finish("molecules", _concatenate(parts), unit, source, names)


def _unit_of(target: str) -> Unit:
    """Return the unit of a property of QM9 in QM9's files."""
    if target.lower() not in QM9_UNITS:
        raise DataError(
            f"dataset.unit=null with dataset.target={target}: no property of QM9 has this name "
            f"({', '.join(QM9_UNITS)}), so its unit in the file must be given, such as "
            "dataset.unit=hartree."
        )
    return QM9_UNITS[target.lower()]


def _read(path: Path, target: str) -> Arrays:
    return _read_arrays(path, target) if path.suffix == ".npz" else read_structures(path, target)


def _read_arrays(path: Path, target: str) -> Arrays:
    """Return the arrays of a .npz file after a check of their form."""
    arrays = read_npz(path, ("charges", "positions"))
    charges, positions = arrays["charges"], arrays["positions"]
    numbers = charges.ndim == 2 and charges.size > 0 and charges.dtype.kind in "iuf"
    if not numbers or (charges != np.rint(charges)).any():
        raise DataError(
            f"{path}: array 'charges' is {describe(charges)}. Expected atomic numbers, [N, A] with "
            "0 for padding."
        )
    if positions.shape != (*charges.shape, 3) or positions.dtype.kind != "f":
        raise DataError(
            f"{path}: array 'positions' is {describe(positions)}. Expected numbers "
            f"{[*charges.shape, 3]}."
        )
    properties = {
        name: array
        for name, array in arrays.items()
        if array.shape == (len(charges),) and array.dtype.kind in "iuf"
    }
    if target not in properties:
        missing = f"there is no array {target!r}"
        if target in arrays:
            missing = f"array {target!r} is {describe(arrays[target])}"
        raise DataError(
            f"{path}: dataset.target={target}, but {missing}. Expected one number for each of its "
            f"{len(charges)} molecules, as in {', '.join(properties) or 'none of its arrays'}."
        )
    return charges.astype(np.int64), positions, properties[target]


def _concatenate(parts: list[Split]) -> Split:
    """Join files, padded to the largest molecule of all."""
    most = max(part.inputs.shape[1] for part in parts)
    padded = [F.pad(part.tensor, (0, 0, 0, most - part.inputs.shape[1])) for part in parts]
    return Split(torch.cat(padded), torch.cat([part.targets for part in parts]))
