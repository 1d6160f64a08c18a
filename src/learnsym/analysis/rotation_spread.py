"""How much the prediction for a molecule varies as it is turned: its energy does not depend on how
it lies in space.
"""

import torch
from torch import Tensor, nn

from learnsym.data.base import Data
from learnsym.groups.rotations import uniform_rotations

DRAWS_SEED = 0
"""Every rotation sees the same draws of a network's own augmentation: what varies is due to the
rotation."""
AT_A_TIME = 100


@torch.no_grad()
def rotation_spread(
    net: nn.Module, data: Data, device: torch.device, molecules: int, rotations: int, seed: int = 0
) -> Tensor:
    """Standard deviation [K], the mean over test molecules, of a network's outputs over random
    rotations about the centroid.

    Args:
        net: [B, N, 3 + C] -> [B, K]; left in the mode in which it was.
        data: point clouds.
        device: where the network is.
        molecules: the first so many of the test part, or all.
        rotations: of each molecule, uniform on SO(3); at least 2.
        seed: of the rotations.

    Returns:
        In units of the outputs, float64; the standard deviation is that of a sample (divided by
        rotations - 1).
    """
    split = data.splits["test"]
    count = min(molecules, len(split))
    dtype = next((p.dtype for p in net.parameters()), torch.float32)
    draws = torch.rand(
        count, rotations, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    turns = uniform_rotations(draws).to(device, dtype)  # [count, rotations, 3, 3]
    was_training, total = net.training, torch.zeros((), dtype=torch.float64, device=device)
    net.eval()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for rows in torch.arange(count).split(AT_A_TIME):
            seen = data.prepare(split.inputs[rows.to(split.inputs.device)].to(device)).to(dtype)
            outputs = []
            for turn in turns[rows.to(device)].unbind(1):
                torch.manual_seed(DRAWS_SEED)
                outputs.append(net(turned(seen, turn)).double())
            total = total + torch.stack(outputs).std(0).sum(0)
    net.train(was_training)
    return total / count


def turned(points: Tensor, rotations: Tensor) -> Tensor:
    """Turn clouds [B, N, 3 + C], each about its centroid, by a rotation of [B, 3, 3]; rows without
    features are padding.
    """
    positions, features = points[..., :3], points[..., 3:]
    there = (features != 0).any(-1, keepdim=True)
    centroid = (positions * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
    moved = centroid + (positions - centroid) @ rotations.transpose(-1, -2)
    return torch.cat([torch.where(there, moved, positions), features], -1)
