"""Molecules made by code, with an invariant of the geometry as the target."""

from dataclasses import dataclass

import torch
from torch import Tensor

from learnsym.data.base import Split
from learnsym.data.molecules.base import PointAugmentName, PointData, as_examples, molecule_info
from learnsym.schema import Count, Size
from learnsym.utils.rng import generator

COUNTS = [2, 1, 0, 2, 1, 3, 13, 24, 62, 135, 289, 501, 791, 1027, 1298, 1395, 1446, 909]
COUNTS += [995, 340, 488, 55, 180, 3, 37, 0, 3]
SIZES = dict(enumerate(COUNTS, 3))
"""Number of atoms -> how many of 10 000 random molecules of QM9 (without fluorine) have it; 18.1 on
average."""
HEAVY = {6: 0.72, 7: 0.11, 8: 0.16, 9: 0.01}
"""Shares among the heavy atoms, of which there are at most nine."""
RANGE = 1.5  # angstrom: standard deviation of the Gaussian of the distance in the energy


@dataclass(eq=False)
class ToyMolecules(PointData):
    """Trees of atoms with bonds of 1.0 to 1.5 angstrom in random directions, and an "energy".

    It is E = 100 sum_i mean_j (Z_j / 6) exp(-r_ij^2 / (2 RANGE^2)) in meV, over the heavy atoms i
    and all atoms j.
    """

    redrawn = True

    train_size: Size = 1000
    val_size: Count = 0
    test_size: Size = 500
    augment: PointAugmentName = "none"
    center: bool = True
    seed: Count = 0

    def __post_init__(self) -> None:
        sizes = {"train": self.train_size, "val": self.val_size, "test": self.test_size}
        splits = {
            name: toy_split(count, generator(self.seed, f"{name} molecules"))
            for name, count in sizes.items()
            if count
        }
        source = f"Toy molecules of QM9's sizes with a made-up invariant energy (seed {self.seed})."
        info = molecule_info("toy_molecules", splits, "mev", source)
        super().__init__(info, splits, self.augment, self.center)


def toy_split(count: int, draws: torch.Generator) -> Split:
    """Draw molecules with their energies, as `PointData` holds them."""
    charges, positions = draw_molecules(count, draws)
    energies = toy_energy(charges, positions)
    return as_examples((charges.numpy(), positions.numpy(), energies.numpy()), "toys", "mev")


def draw_molecules(count: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw trees of atoms: atomic numbers [count, 29] and positions [count, 29, 3] in angstrom.

    Each hangs on an earlier heavy one; heavy atoms come first, padding (0) last.
    """
    most, rows = max(SIZES), torch.arange(count)
    weights = torch.tensor([*SIZES.values()]).double()
    atoms = min(SIZES) + torch.multinomial(weights, count, replacement=True, generator=draws)
    heavy = (atoms // 2).clamp(1, 9)
    shares = torch.tensor([*HEAVY.values()])
    elements = torch.multinomial(shares, count * most, replacement=True, generator=draws)
    index = torch.arange(most)
    charges = torch.tensor([*HEAVY])[elements.view(count, most)]
    charges = torch.where(index < heavy[:, None], charges, 1)
    charges = torch.where(index < atoms[:, None], charges, 0)
    positions = torch.zeros(count, most, 3, dtype=torch.float64)
    for atom in range(1, most):
        candidates = heavy.clamp(max=atom)
        parent = (torch.rand(count, generator=draws) * candidates).long()
        direction = torch.randn(count, 3, generator=draws, dtype=torch.float64)
        length = 1 + 0.5 * torch.rand(count, 1, generator=draws, dtype=torch.float64)
        bond = length * direction / direction.norm(dim=1, keepdim=True)
        positions[:, atom] = positions[rows, parent] + bond
    return charges, torch.where((charges > 0)[..., None], positions, 0.0)


def toy_energy(charges: Tensor, positions: Tensor) -> Tensor:
    """Return the energies [N] in meV (see `ToyMolecules`)."""
    squared = (positions[:, :, None] - positions[:, None]).square().sum(-1)
    nearness = torch.exp(-squared / (2 * RANGE**2)) * (charges[:, None] / 6)
    return 100 * (nearness.sum(2) * (charges > 1)).sum(1) / (charges > 0).sum(1)
