"""Molecules as point clouds: storage, checks, units, splits, a network's input, rigid motions."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from learnsym.data.base import Data, DataInfo, ExampleSpec, Split, Splits
from learnsym.data.splits import SplitSettings, take
from learnsym.errors import DataError
from learnsym.groups.actions import act_on_points
from learnsym.groups.base import homogeneous
from learnsym.groups.rotations import uniform_rotations
from learnsym.schema import Task
from learnsym.utils.rng import BatchRows, batch_uniform

SPECIES = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}
"""The elements of QM9, the only ones that have a feature."""
PointAugmentName = Literal["none", "se3"]  # the choices of `dataset.augment` for molecules
SHIFT = 0.5  # angstrom: standard deviation, along each axis, of the shifts of dataset.augment=se3
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


class PointData(Data):
    """A data set of molecules [N, A, 4], float32: x, y, z (angstrom), atomic number.

    Atomic number 0 is padding and comes last. A network sees [B, n, 3 + 15] with n the number of
    atoms of the largest molecule of the batch: coordinates in angstrom, about the centroid (the
    plain mean of the positions) of the molecule's atoms (`center`) or as they are in the file, and
    one-hot(H, C, N, O, F) x (1, q, q^2) with q = atomic number / 9; padding is all zeros.

    `augment`="se3" applies `rigid_motions` to the training molecules.
    """

    kind = "points"
    task: Task = "regression"
    spec = ExampleSpec((29, 4), 1, "regression", "points")
    in_channels = 3 * len(SPECIES)

    def __init__(
        self,
        info: DataInfo,
        splits: Splits,
        augment: PointAugmentName = "none",
        center: bool = True,
    ) -> None:
        self.info = info
        self.splits = dict(splits)
        self.augment = augment
        self.center = center
        self._features: dict[torch.device, Tensor] = {}

    def prepare(self, inputs: Tensor, train: bool = False, rows: BatchRows | None = None) -> Tensor:
        """Return what a network sees of molecules [B, A, 4]: [B, n, 18], float32."""
        charges = inputs[..., 3].long()
        mask = charges > 0
        atoms = mask.sum(1)
        most = int(atoms.max())  # padding would cost the network more than this wait for the device
        charges, mask, positions = charges[:, :most], mask[:, :most], inputs[:, :most, :3]
        positions = torch.where(mask.unsqueeze(-1), positions, 0.0)
        if self.center:
            centroid = positions.sum(1, keepdim=True) / atoms.view(-1, 1, 1)
            positions = torch.where(mask.unsqueeze(-1), positions - centroid, 0.0)
        if train and self.augment == "se3":
            positions = rigid_motions(positions, mask, rows)
        return torch.cat([positions, self._table(inputs.device)[charges]], -1)

    def _table(self, device: torch.device) -> Tensor:
        """Return the features [10, 15] of atomic numbers up to 9, cached."""
        if device not in self._features:
            table = torch.zeros(max(SPECIES) + 1, len(SPECIES), 3)
            for index, charge in enumerate(SPECIES):
                table[charge, index] = (charge / 9) ** torch.arange(3)
            self._features[device] = table.flatten(1).to(device)
        return self._features[device]


def rigid_motions(positions: Tensor, mask: Tensor, rows: BatchRows | None = None) -> Tensor:
    """Move and rotate clouds [B, N, 3], in angstrom: x -> R (x + t) where `mask` [B, N] is True.

    t is normal with standard deviation SHIFT along each axis, R uniform by Haar's measure. `rows`
    says which of a global batch these are (None: all).
    """
    draws = batch_uniform(
        len(positions), 9, rows=rows, device=positions.device, dtype=positions.dtype
    )
    rotations, shifts = uniform_rotations(draws[:, :3]), SHIFT * normal(draws[:, 3:6], draws[:, 6:])
    moved = (rotations @ shifts.unsqueeze(-1)).squeeze(-1)
    return act_on_points(homogeneous(rotations, moved), positions, mask)


def normal(radius: Tensor, angle: Tensor) -> Tensor:
    """Turn two uniform numbers into a standard normal one (Box and Muller)."""
    return (-2 * torch.log1p(-radius)).sqrt() * torch.cos(2 * math.pi * angle)


@dataclass(eq=False, kw_only=True)
class SplitMolecules(SplitSettings, PointData):
    """Molecules that are loaded as one set and split at random."""

    augment: PointAugmentName = "none"
    center: bool = True

    def finish(self, name: str, examples: Split, unit: Unit, source: str, origin: str) -> None:
        """Split all examples of the files `origin`, with targets in `unit`, and describe them."""
        train, test, _ = self.hold_out_test(examples, origin)
        splits = take(train, test, self.choose(len(train), len(test)))
        provenance = (
            f"{source} The parts were drawn at random (seed {self.seed}); median and mean absolute "
            "deviation are those of the training part."
        )
        info = molecule_info(name, splits, reported(unit)[1], provenance)
        PointData.__init__(self, info, splits, self.augment, self.center)


def molecule_info(name: str, splits: Splits, unit: str, provenance: str) -> DataInfo:
    """Describe molecules with one number as the target, in `unit`."""
    return DataInfo.of(
        name, splits, provenance, task="regression", target_unit=unit, target_error="absolute"
    )


def reported(unit: Unit) -> tuple[float, str]:
    """Return factor and name of the unit of results: energies are in meV."""
    if unit in _MILLIELECTRONVOLTS:
        return _MILLIELECTRONVOLTS[unit], "mev"
    return 1.0, "" if unit == "none" else unit


def as_examples(arrays: Arrays, source: str, unit: Unit) -> Split:
    """Return molecules, whose padding may stand anywhere, as `PointData` holds them.

    Targets [N, 1] are in the reported unit, float64: total energies need it. A DataError names the
    `source` and a molecule that has none, or others, of H, C, N, O and F.
    """
    charges, positions, values = arrays
    mask = charges != 0
    unknown = mask & ~np.isin(charges, list(SPECIES))
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
    if not mask.any(1).all():
        empty = mask.any(1).argmin()
        raise DataError(f"{source}: molecule {empty} has no atoms. Expected at least one.")
    for name, numbers in (("a position", positions[mask]), ("a target", values)):
        if not np.isfinite(numbers).all():
            raise DataError(f"{source}: {name} is not a finite number. Expected finite ones.")
    atoms_first = np.argsort(~mask, axis=1, kind="stable")[:, : mask.sum(1).max()]
    padded = np.concatenate([np.where(mask[..., None], positions, 0), charges[..., None]], -1)
    inputs = np.take_along_axis(padded, atoms_first[..., None], 1).astype(np.float32)
    targets = values.astype(np.float64)[:, None] * reported(unit)[0]
    return Split(torch.from_numpy(inputs), torch.from_numpy(targets))
