"""Molecules as point clouds: storage, a network's input, and rigid motions as augmentation."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from learnsym.data.base import Data, DataInfo, ExampleSpec, Split
from learnsym.groups.actions import act_on_points
from learnsym.groups.base import homogeneous
from learnsym.groups.rotations import uniform_rotations
from learnsym.schema import Task
from learnsym.utils.rng import BatchRows, batch_uniform

SPECIES = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}
"""The elements of QM9, the only ones that have a feature."""
PointAugmentName = Literal["none", "se3"]
"""The choices of `dataset.augment` for molecules."""
SHIFT = 0.5
"""Angstrom: standard deviation, along each axis, of the shifts of dataset.augment=se3."""


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
        splits: Mapping[str, Split],
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
