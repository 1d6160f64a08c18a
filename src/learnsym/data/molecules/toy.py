"""Molecules made by code, with as many atoms as QM9's, and a smooth invariant of the geometry as
the target; needs no files.
"""

import torch
from torch import Tensor

from learnsym.data.molecules.base import PointAugmentName, PointData
from learnsym.data.molecules.files import as_examples, molecule_info
from learnsym.data.splits import generator
from learnsym.schema import Count, Size

_FROM_THREE = (
    2,
    1,
    0,
    2,
    1,
    3,
    13,
    24,
    62,
    135,
    289,
    501,
    791,
    1027,
    1298,
    1395,
    1446,
    909,
    995,
    340,
    488,
    55,
    180,
    3,
    37,
    0,
    3,
)
SIZES = dict(enumerate(_FROM_THREE, 3))
"""Number of atoms -> how many of 10 000 random molecules of QM9 (without fluorine) have it; 18.1 on
average."""
HEAVY = {6: 0.72, 7: 0.11, 8: 0.16, 9: 0.01}
"""Shares among the heavy atoms, of which there are at most nine."""
RANGE = 1.5
"""Angstrom: over which two atoms of a toy know of each other."""


class ToyMolecules(PointData):
    """Trees of atoms, bonds of 1.0 to 1.5 angstrom in random directions, and an "energy" in meV
    that no motion changes.

    E = 100 sum_i mean_j (Z_j / 6) exp(-r_ij^2 / (2 RANGE^2)) over the heavy atoms i and all atoms
    j.
    """

    def __init__(
        self,
        train_size: Size = 1000,
        val_size: Count = 0,
        test_size: Size = 500,
        augment: PointAugmentName = "none",
        center: bool = True,
        seed: Count = 0,
    ) -> None:
        """Args:
        train_size, val_size, test_size: molecules made for each part.
        augment, center: see `PointData`.
        seed: of the molecules.
        """
        splits = {}
        for part, count in {"train": train_size, "val": val_size, "test": test_size}.items():
            if count:
                charges, positions = make(count, generator(seed, f"{part} molecules"))
                energies = toy_energy(charges, positions)
                splits[part] = as_examples(
                    (charges.numpy(), positions.numpy(), energies.numpy()), part, "mev"
                )
        source = f"Toy molecules of QM9's sizes with a made-up invariant energy (seed {seed})."
        super().__init__(
            molecule_info("toy_molecules", splits, "mev", source), splits, augment, center
        )


def make(count: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Atomic numbers [count, 29] with 0 for padding, heavy atoms first, and positions [count, 29,
    3] in angstrom, float64.

    Every atom but the first hangs on an earlier one, a hydrogen atom on a heavy one.
    """
    most, rows = max(SIZES), torch.arange(count)
    atoms = min(SIZES) + torch.multinomial(
        torch.tensor([*SIZES.values()]).double(), count, replacement=True, generator=draws
    )
    heavy = (atoms // 2).clamp(max=9).clamp(min=1)
    kinds = torch.multinomial(
        torch.tensor([*HEAVY.values()]), count * most, replacement=True, generator=draws
    ).view(count, most)
    place = torch.arange(most)
    charges = torch.where(place < heavy[:, None], torch.tensor([*HEAVY])[kinds], 1)
    charges = torch.where(place < atoms[:, None], charges, 0)
    positions = torch.zeros(count, most, 3, dtype=torch.float64)
    for atom in range(1, most):
        before = heavy.clamp(max=atom)  # heavy atoms that it may hang on
        parent = (torch.rand(count, generator=draws) * before).long()
        direction = torch.randn(count, 3, generator=draws, dtype=torch.float64)
        length = 1 + 0.5 * torch.rand(count, 1, generator=draws, dtype=torch.float64)
        positions[:, atom] = positions[rows, parent] + length * direction / direction.norm(
            dim=1, keepdim=True
        )
    return charges, torch.where((charges > 0)[..., None], positions, 0.0)


def toy_energy(charges: Tensor, positions: Tensor) -> Tensor:
    """E [N] in meV (see `ToyMolecules`) of atomic numbers [N, A] and positions [N, A, 3]."""
    squared = (positions[:, :, None] - positions[:, None]).square().sum(-1)
    nearness = torch.exp(-squared / (2 * RANGE**2)) * (charges[:, None] / 6)
    return 100 * (nearness.sum(2) * (charges > 1)).sum(1) / (charges > 0).sum(1)
