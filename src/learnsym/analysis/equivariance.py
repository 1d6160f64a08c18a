"""Measure, or assert, how far a map is from commuting with transforms.

A map f is equivariant if f(T x) = S f(x) for every transform T of the inputs and its companion S of
the outputs, and invariant if S is the identity. The error of T is the largest distance
|f(T x) - S f(x)| over the examples, relative to the root mean square over them of |f(x)| ("norm"),
or of |f(x) - mean f| ("spread"). The second is the stricter: a map that is nearly constant has
small errors of the first kind whatever it does.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

TensorMap = Callable[[Tensor], Tensor]
Scale = Literal["norm", "spread"]


def equivariance_errors(
    function: TensorMap,
    inputs: Tensor,
    transforms: Mapping[str, TensorMap],
    outputs: Mapping[str, TensorMap] | None = None,
    dtype: torch.dtype = torch.float64,
    relative_to: Scale = "norm",
) -> dict[str, float]:
    """Measure the relative error of each transform T of inputs [B, ...], by name.

    Of a module a copy is taken, in evaluation mode and in `dtype`, float64, so that rounding does
    not hide what the map does. `outputs` are S under the same names; None: invariance.
    """
    if outputs is not None and outputs.keys() != transforms.keys():
        raise ValueError(
            f"transformations of inputs {list(transforms)} and of outputs {list(outputs)} do not "
            "pair up"
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
                f"the map gives outputs of {relative_to} {float(scale)}: an error relative to it "
                "means nothing"
            )
        for name, transform in transforms.items():
            expected = reference if outputs is None else outputs[name](reference)
            distance = (function(transform(inputs)) - expected).flatten(1).norm(dim=1).amax()
            errors[name] = float(distance / scale)
    return errors


def equivariance_error(
    function: TensorMap,
    inputs: Tensor,
    transforms: TensorMap | Sequence[TensorMap] | Mapping[str, TensorMap],
    equivariant: bool = False,
    dtype: torch.dtype = torch.float64,
    relative_to: Scale = "norm",
) -> float:
    """Measure the largest of the `equivariance_errors` of one or several transforms.

    They are such as `Rotation(45.0)` or `quarter_turns()`. Of an `equivariant` function the outputs
    should be transformed as the inputs are, of others they should not change.

    >>> from learnsym.analysis.transforms import quarter_turns
    >>> images = torch.arange(18.0).view(2, 1, 3, 3)
    >>> equivariance_error(lambda x: x.amax((-2, -1)), images, quarter_turns())
    0.0
    >>> equivariance_error(lambda x: x[..., 0], images, quarter_turns(), relative_to="spread") > 0.1
    True
    """
    if not isinstance(transforms, Mapping):
        listed = transforms if isinstance(transforms, Sequence) else [transforms]
        transforms = {str(index): transform for index, transform in enumerate(listed)}
    outputs = transforms if equivariant else None
    errors = equivariance_errors(function, inputs, transforms, outputs, dtype, relative_to)
    return max(errors.values())


def assert_equivariant(
    function: TensorMap,
    inputs: Tensor,
    transforms: Mapping[str, TensorMap],
    outputs: Mapping[str, TensorMap] | None = None,
    tolerance: float = 1e-4,
    dtype: torch.dtype = torch.float64,
    relative_to: Scale = "norm",
) -> dict[str, float]:
    """Return `equivariance_errors`, or raise AssertionError if one is NaN or above `tolerance`."""
    errors = equivariance_errors(function, inputs, transforms, outputs, dtype, relative_to)
    if not all(error <= tolerance for error in errors.values()):
        listed = ", ".join(f"{name}: {error:.2e}" for name, error in errors.items())
        raise AssertionError(f"relative errors beyond {tolerance:.0e}: {listed}")
    return errors
