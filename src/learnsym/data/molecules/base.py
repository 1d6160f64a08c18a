"""Molecules as point clouds: how they are held, what a network sees of them, and rigid motions as
their augmentation.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from learnsym.data.base import Data, DataInfo, Form, Split
from learnsym.groups.actions import act_on_points
from learnsym.groups.base import homogeneous
from learnsym.groups.rotations import uniform_rotations
from learnsym.schema import Task
from learnsym.utils.rng import batch_uniform

SPECIES = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}
"""The elements of QM9, the only ones that have a feature."""
PointAugmentName = Literal["none", "se3"]
"""The choices of `dataset.augment` for molecules."""
SHIFT = 0.5
"""Angstrom: standard deviation, along each axis, of the shifts of dataset.augment=se3."""


class PointData(Data):
    """A data set of molecules, held as [N, A, 4] float32: x, y, z in angstrom and the atomic
    number; 0 is padding and comes last.

    A network sees [B, n, 3 + 15] with n the number of atoms of the largest molecule of the batch:
    coordinates in angstrom, about the centroid (the plain mean of the positions) of the molecule's
    atoms or as they are in the file, and one-hot(H, C, N, O, F) x (1, q, q^2) with q = atomic
    number / 9; padding is all zeros.
    """

    kind = "points"
    task: Task = "regression"
    form = Form((29, 4), 1, "regression", "points")
    in_channels = 3 * len(SPECIES)

    def __init__(
        self,
        info: DataInfo,
        splits: Mapping[str, Split],
        augment: PointAugmentName = "none",
        center: bool = True,
    ) -> None:
        """Args:
        info: the description.
        splits: "train" and "test", and "val" where there is one.
        augment: fixed augmentation of the training molecules: "se3" moves each along each axis
            by a normal number of standard deviation 0.5 angstrom and then turns it about the
            origin by a rotation uniform on SO(3).
        center: put the centroid of every molecule at the origin; otherwise positions are those
            of the file.
        """
        self.info = info
        self.splits = dict(splits)
        self.center = center
        self.augment: Callable[[Tensor, Tensor], Tensor] = {"none": keep, "se3": rigid_motions}[
            augment
        ]
        self._features: dict[torch.device, Tensor] = {}

    def prepare(self, inputs: Tensor, train: bool = False) -> Tensor:
        """Stored molecules [B, A, 4] -> [B, n, 18] (see above), float32."""
        charges = inputs[..., 3].long()
        there = charges > 0
        atoms = there.sum(1)
        most = int(
            atoms.max()
        )  # what the network would do for nothing costs more than this wait for the device
        charges, there, positions = charges[:, :most], there[:, :most], inputs[:, :most, :3]
        positions = torch.where(there.unsqueeze(-1), positions, 0.0)
        if self.center:
            centroid = positions.sum(1, keepdim=True) / atoms.view(-1, 1, 1)
            positions = torch.where(there.unsqueeze(-1), positions - centroid, 0.0)
        if train:
            positions = self.augment(positions, there)
        return torch.cat([positions, self._table(inputs.device)[charges]], -1)

    def _table(self, device: torch.device) -> Tensor:
        """The features [10, 15] of every atomic number up to 9, made once per device; zeros for 0,
        the padding.
        """
        if device not in self._features:
            table = torch.zeros(max(SPECIES) + 1, len(SPECIES), 3)
            for place, charge in enumerate(SPECIES):
                table[charge, place] = (charge / 9) ** torch.arange(3)
            self._features[device] = table.flatten(1).to(device)
        return self._features[device]


def keep(positions: Tensor, there: Tensor) -> Tensor:
    """No augmentation: the positions themselves."""
    return positions


def rigid_motions(positions: Tensor, there: Tensor) -> Tensor:
    """Move and turn clouds, x -> R (x + t), t ~ N(0, SHIFT^2) along each axis and R uniform by
    Haar's measure.

    Args:
        positions: [B, N, 3] in angstrom.
        there: [B, N], True where there is an atom; the rest stays zero.

    Returns:
        [B, N, 3].
    """
    draws = batch_uniform(len(positions), 9, device=positions.device, dtype=positions.dtype)
    rotations, shifts = uniform_rotations(draws[:, :3]), SHIFT * normal(draws[:, 3:6], draws[:, 6:])
    moved = (rotations @ shifts.unsqueeze(-1)).squeeze(-1)
    return act_on_points(homogeneous(rotations, moved), positions, there)


def normal(radius: Tensor, angle: Tensor) -> Tensor:
    """Make standard normal numbers of uniform ones in [0, 1), [...] of [...] twice (Box and
    Muller).
    """
    return (-2 * torch.log1p(-radius)).sqrt() * torch.cos(2 * math.pi * angle)
