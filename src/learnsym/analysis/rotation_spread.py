"""Measure how predictions vary as molecules rotate."""

import torch
from torch import Tensor, nn

from learnsym.analysis.evaluation import dtype_of, evaluating, seeded_forward
from learnsym.data.base import Data
from learnsym.groups.rotations import uniform_rotations

_BATCH = 100


@torch.no_grad()
def rotation_spread(
    net: nn.Module, data: Data, device: torch.device, molecules: int, rotations: int, seed: int = 0
) -> Tensor:
    """Measure the standard deviation of outputs over random rotations about the centroid.

    Args:
        net: [B, N, 3 + C] -> [B, K].
        data: point clouds.
        device: where the network is.
        molecules: the first so many of the test split, or all.
        rotations: of each molecule, uniform on SO(3); at least 2.
        seed: of the rotations.

    Returns:
        The mean over molecules [K], float64, in units of the outputs; the standard deviation is
        that of a sample (divided by rotations - 1).
    """
    split, dtype = data.splits["test"], dtype_of(net)
    count = min(molecules, len(split))
    draws = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, rotations, 3, generator=draws, dtype=torch.float64)
    matrices = uniform_rotations(uniform).to(device, dtype)  # [count, rotations, 3, 3]
    total = torch.zeros((), dtype=torch.float64, device=device)
    with evaluating(net):
        for rows in torch.arange(count).split(_BATCH):
            stored = split.inputs[rows.to(split.targets.device)].to(device)
            points = data.prepare(stored).to(dtype)
            outputs = [
                seeded_forward(net, rotate_clouds(points, rotation)).double()
                for rotation in matrices[rows.to(device)].unbind(1)
            ]
            total = total + torch.stack(outputs).std(0).sum(0)
    return total / count


def rotate_clouds(points: Tensor, rotations: Tensor) -> Tensor:
    """Rotate clouds [B, N, 3 + C] about their centroids by [B, 3, 3].

    Rows without features are padding and stay.
    """
    positions, features = points[..., :3], points[..., 3:]
    mask = (features != 0).any(-1, keepdim=True)
    centroid = (positions * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    rotated = centroid + (positions - centroid) @ rotations.transpose(-1, -2)
    return torch.cat([torch.where(mask, rotated, positions), features], -1)
