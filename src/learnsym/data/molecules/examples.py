"""Arrays of molecules made into examples: checks, padding, units, splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from learnsym.data.base import DataInfo, Split
from learnsym.data.molecules.base import SPECIES, PointAugmentName, PointData
from learnsym.data.splits import SplitSettings, take
from learnsym.errors import DataError

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Atomic numbers [N, A] with 0 for padding, positions [N, A, 3] in angstrom, values of the target
[N]."""
Energy = Literal["hartree", "ev", "mev", "kcal_per_mol", "kj_per_mol"]
Unit = Energy | Literal["debye", "bohr2", "bohr3", "cal_per_mol_k", "ghz", "none"]
"""Units that a property can be in; "none" is dimensionless."""
EV_PER_HARTREE = 27.2114
"""As in the papers that report errors on QM9 in meV; `ase.units.Hartree` (CODATA: 27.211386)
differs by 5e-7, which would change every number in meV."""
_MILLIELECTRONVOLTS = {
    "hartree": 1e3 * EV_PER_HARTREE,
    "ev": 1e3,
    "mev": 1.0,
    "kcal_per_mol": 1e3 * EV_PER_HARTREE / 627.5095,
    "kj_per_mol": 1e3 * EV_PER_HARTREE / 2625.4996,
}


@dataclass(eq=False, kw_only=True)
class SplitMolecules(SplitSettings, PointData):
    """Molecules that are loaded as one set and split at random."""

    augment: PointAugmentName = "none"
    center: bool = True

    def finish(self, name: str, examples: Split, unit: Unit, source: str, origin: str) -> None:
        """Split all examples, whose targets were in `unit`, and describe them.

        `source` is for the provenance; `origin`, the names of the files, for messages.
        """
        train, test, _ = self.hold_out_test(examples, origin)
        splits = take(train, test, self.choose(len(train), len(test)))
        provenance = (
            f"{source} The parts were drawn at random (seed {self.seed}); median and mean absolute "
            "deviation are those of the training part."
        )
        info = molecule_info(name, splits, reported(unit)[1], provenance)
        PointData.__init__(self, info, splits, self.augment, self.center)


def molecule_info(name: str, splits: Mapping[str, Split], unit: str, provenance: str) -> DataInfo:
    """Describe molecules with one number as the target, in `unit`."""
    return DataInfo.of(
        name, splits, provenance, task="regression", target_unit=unit, target_error="absolute"
    )


def reported(unit: Unit) -> tuple[float, str]:
    """Return factor and name of the unit of results: energies are in meV.

    >>> reported("ev")
    (1000.0, 'mev')
    >>> reported("debye")
    (1.0, 'debye')
    """
    if unit in _MILLIELECTRONVOLTS:
        return _MILLIELECTRONVOLTS[unit], "mev"
    return 1.0, "" if unit == "none" else unit


def as_examples(arrays: Arrays, source: str, unit: Unit) -> Split:
    """Return molecules, whose padding may stand anywhere, as `PointData` holds them.

    Targets [N, 1] are in the reported unit, float64: total energies need it. A DataError names the
    `source` and a molecule that has none, or others, of H, C, N, O and F.
    """
    charges, positions, values = arrays
    _check_elements(charges, source)
    mask = charges != 0
    for name, numbers in (("a position", positions[mask]), ("a target", values)):
        if not np.isfinite(numbers).all():
            raise DataError(f"{source}: {name} is not a finite number. Expected finite ones.")
    atoms_first = np.argsort(~mask, axis=1, kind="stable")[:, : mask.sum(1).max()]
    padded = np.concatenate([np.where(mask[..., None], positions, 0), charges[..., None]], -1)
    inputs = np.take_along_axis(padded, atoms_first[..., None], 1).astype(np.float32)
    targets = values.astype(np.float64)[:, None] * reported(unit)[0]
    return Split(torch.from_numpy(inputs), torch.from_numpy(targets))


def _check_elements(charges: np.ndarray, source: str) -> None:
    """Refuse molecules without atoms, or with others than a network can tell apart."""
    unknown = (charges != 0) & ~np.isin(charges, list(SPECIES))
    if unknown.any():
        from ase.data import chemical_symbols

        molecule, atom = np.argwhere(unknown)[0]
        number = int(charges[molecule, atom])
        known = 0 < number < len(chemical_symbols)
        raise DataError(
            f"{source}: molecule {molecule} has an atom of atomic number {number} "
            f"({chemical_symbols[number] if known else 'no element'}). Expected molecules of "
            f"{', '.join(SPECIES.values())} alone."
        )
    empty = np.flatnonzero(~(charges != 0).any(1))
    if len(empty):
        raise DataError(f"{source}: molecule {empty[0]} has no atoms. Expected at least one.")
