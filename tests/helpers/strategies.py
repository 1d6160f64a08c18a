"""What tests of several folders make: random numbers of their own, and networks that always draw
the same."""

import torch
from torch import Tensor, nn

from learnsym.groups.base import LieGroup


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def coefficients(group: LieGroup, size: float, count: int = 32, seed: int = 0) -> Tensor:
    """Coefficients [count, n] in [-size, size], float64."""
    drawn = torch.rand(
        count, group.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return (2 * drawn - 1) * size


class Seeded(nn.Module):
    """A network whose draws are the same in every pass."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return self.net(images)
