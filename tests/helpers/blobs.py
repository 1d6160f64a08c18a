"""Smooth images that rotate by any angle without resampling."""

import torch
from torch import Tensor


def blobs(count: int, channels: int, side: int, degrees: float = 0.0, seed: int = 0) -> Tensor:
    """Draw smooth images [count, channels, side, side], rotated without interpolation, in float64.

    Each channel is a sum of six Gaussians inside a disc of half the image's width, evaluated at the
    rotated pixel centres: what a network makes of a rotation by any angle can be measured free of
    the error of resampling.
    """
    generator = torch.Generator().manual_seed(seed)
    radius, heights = torch.rand(2, count, channels, 6, generator=generator, dtype=torch.float64)
    phase = 2 * torch.pi * torch.rand(count, channels, 6, generator=generator, dtype=torch.float64)
    # y runs down: a counter-clockwise turn on the screen lowers the angle measured from x to y.
    phase = phase - torch.tensor(degrees, dtype=torch.float64).deg2rad()
    centres = 0.5 * radius.sqrt() * torch.stack([phase.cos(), phase.sin()])
    axis = torch.linspace(-1, 1, side, dtype=torch.float64)
    squared = (axis - centres[0, ..., None, None]) ** 2 + (
        axis[:, None] - centres[1, ..., None, None]
    ) ** 2
    return ((2 * heights - 1)[..., None, None] * torch.exp(-squared / (2 * 0.12**2))).sum(2)
