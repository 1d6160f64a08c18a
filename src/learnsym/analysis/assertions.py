"""How far a map is from commuting with transformations: measured, reported per case, asserted.

A map f is equivariant if f(T x) = S f(x) for every transformation T of the inputs and its companion
S of the outputs, and invariant if S is the identity. The error of a case is the largest distance
|f(T x) - S f(x)| over the examples, relative to the root mean square over them of |f(x)| ("norm"),
or of |f(x) - mean f| ("spread"). The second is the stricter: a map that is nearly constant has
small errors of the first kind whatever it does.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from learnsym.groups.actions import rotate_images

Transform = Callable[[Tensor], Tensor]


def equivariance_errors(
    function: Transform,
    inputs: Tensor,
    transforms: Mapping[str, Transform],
    outputs: Mapping[str, Transform] | None = None,
    dtype: torch.dtype = torch.float64,
    relative_to: Literal["norm", "spread"] = "norm",
) -> dict[str, float]:
    """Relative error of each case (see above).

    Args:
        function: f; of a module a copy is taken, in evaluation mode and in `dtype`.
        inputs: [B, ...], converted to `dtype`.
        transforms: name of each case and its T, [B, ...] to [B, ...].
        outputs: for each of these names its S; None for invariance.
        dtype: float64 by default, so that rounding does not hide what the map does.
        relative_to: what an error of 1 means (see above).

    >>> equivariance_errors(lambda x: x.amax((-2, -1)), torch.rand(2, 1, 5, 5), quarter_turns())
    {'90 degrees': 0.0, '180 degrees': 0.0, '270 degrees': 0.0}
    """
    if outputs is not None and outputs.keys() != transforms.keys():
        raise ValueError(
            f"transformations of inputs {list(transforms)} and of outputs {list(outputs)} do not pair up"
        )
    if isinstance(function, nn.Module):
        function = copy.deepcopy(function).to(dtype).eval()
    inputs, errors = inputs.to(dtype), {}
    with torch.no_grad():
        reference = function(inputs)
        centre = reference.mean(0) if relative_to == "spread" else torch.zeros_like(reference[0])
        scale = (reference - centre).flatten(1).norm(dim=1).square().mean().sqrt()
        if not scale > 0:
            raise ValueError(
                f"the map gives outputs of {relative_to} {float(scale)}: an error relative to it means nothing"
            )
        for name, transform in transforms.items():
            expected = reference if outputs is None else outputs[name](reference)
            distance = (function(transform(inputs)) - expected).flatten(1).norm(dim=1).amax()
            errors[name] = float(distance / scale)
    return errors


def assert_equivariant(
    function: Transform,
    inputs: Tensor,
    transforms: Mapping[str, Transform],
    outputs: Mapping[str, Transform] | None = None,
    tolerance: float = 1e-4,
    dtype: torch.dtype = torch.float64,
    relative_to: Literal["norm", "spread"] = "norm",
) -> dict[str, float]:
    """Raise an AssertionError that lists every case, if an error exceeds `tolerance` (or is not a
    number); else return them.
    """
    errors = equivariance_errors(function, inputs, transforms, outputs, dtype, relative_to)
    if not all(error <= tolerance for error in errors.values()):
        listed = ", ".join(f"{name}: {error:.2e}" for name, error in errors.items())
        raise AssertionError(f"relative errors beyond {tolerance:.0e}: {listed}")
    return errors


def assert_invariant(
    function: Transform,
    inputs: Tensor,
    transforms: Mapping[str, Transform],
    tolerance: float = 1e-4,
    dtype: torch.dtype = torch.float64,
    relative_to: Literal["norm", "spread"] = "norm",
) -> dict[str, float]:
    """`assert_equivariant` for a map whose output should not change at all."""
    return assert_equivariant(function, inputs, transforms, None, tolerance, dtype, relative_to)


def quarter_turns() -> dict[str, Transform]:
    """Turns of images [B, C, H, W] by 90, 180 and 270 degrees counter-clockwise: exact on the
    grid.
    """
    return {f"{90 * k} degrees": lambda x, k=k: torch.rot90(x, k, (-2, -1)) for k in (1, 2, 3)}


def mirror_images() -> dict[str, Transform]:
    """Mirror images of [B, C, H, W] in the four axes of a square: exact on the grid."""
    return {
        "left-right": lambda x: x.flip(-1),
        "up-down": lambda x: x.flip(-2),
        "diagonal": lambda x: x.transpose(-2, -1),
        "antidiagonal": lambda x: torch.rot90(x, 2, (-2, -1)).transpose(-2, -1),
    }


def rotations(*degrees: float) -> dict[str, Transform]:
    """Turns of images [B, C, H, W] by any angle, counter-clockwise, bilinear: interpolation adds an
    error of its own.
    """
    return {
        f"{a:g} degrees": lambda x, a=a: rotate_images(x, torch.full((len(x),), a).deg2rad().to(x))
        for a in degrees
    }


def blobs(count: int, channels: int, side: int, degrees: float = 0.0, seed: int = 0) -> Tensor:
    """Smooth images [count, channels, side, side] turned counter-clockwise without any
    interpolation, in float64.

    Each channel is a sum of six Gaussians inside a disc of half the image's width, evaluated at the
    turned pixel centres: what a network makes of a turn by any angle can be measured free of the
    error of resampling.
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
