"""Equivariance error of every layer of a network, and of its output.

A transform g = (r, m) of H acts on images as (g f)(y) = f(g^-1 y), on features on the group as (g
f)(y, h) = f(g^-1 y, g^-1 h): it turns space and permutes elements. The maps [B, C, H, W] of a plain
network move as images do; of a steerable one, whose channels g mixes, the output alone is measured.
Masks move, other outputs stay. A layer F is equivariant to g if F(g x) = g F(x). Its error is

    ( sum |F(g x) - g F(x)|^2 / sum |F(x)|^2 )^(1/2),  over images, channels, elements and pixels.

Features are known on sampled elements only: those h count whose g^-1 h is in the set too. Where
there is none (a learned arc that is no whole circle, an angle between the samples) only the maximum
over the elements is compared: max_h F(g x)(y, h) with the transformed max_h F(x)(y, h). Quarter
turns and mirror images are exact on the grid; other angles are interpolated, which adds an error,
and compared inside the disc that stays in the picture.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from learnsym.analysis.evaluation import seeded_forward
from learnsym.analysis.transforms import Rotation, Transform
from learnsym.data.base import Data
from learnsym.distributions.group_sampler import group_samplers
from learnsym.groups.point_groups import Elements
from learnsym.layers.group_conv import ContinuousGroupConv
from learnsym.schema import PlainDict

LOGITS = "logits"
Features = dict[str, tuple[Tensor, Elements | None]]
"""Output of each layer: [B, C, n, H, W] and the n elements, or maps [B, C, H, W] and None."""


LayerErrors = dict[str, PlainDict]
"""Of each layer error (None if no elements pair up), error_of_maximum, and of its elements how many
were compared."""


@contextmanager
def captured(net: nn.Module) -> Iterator[Features]:
    """Collect the outputs of the layers in a pass of `net`, in their order.

    Of a network with a `stabiliser` these are the outputs with elements, of a plain one the maps
    [B, C, H, W] of layers with weights.
    """
    features: Features = {}
    plain = not hasattr(net, "stabiliser") and not getattr(net, "mixes_channels", False)

    def collect(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        maps = all(isinstance(x, Tensor) and x.ndim == 4 for x in (*inputs[:1], output))
        if isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], Elements):
            features[name] = output
        elif plain and maps and any(True for _ in module.parameters(recurse=False)):
            features[name] = output, None

    with ExitStack() as hooks:
        for name, module in net.named_modules():
            if name:
                hooks.enter_context(module.register_forward_hook(partial(collect, name)))
        yield features


def even_and_double(net: nn.Module) -> nn.Module:
    """Copy a network in evaluation and float64, with fixed, even sets of elements."""
    net = copy.deepcopy(net).double().eval()
    for elements in group_samplers(net):
        elements.even_evaluation = True
    return net


@torch.no_grad()
def layer_errors(
    net: nn.Module, inputs: Tensor, transform: Transform, transformed: Tensor | None = None
) -> LayerErrors:
    """Measure the error of every layer and of the "logits".

    Layers are left out whose maps `transform` does not act on, or are too small for any pixel to
    stay in the picture. Of a network that averages a backbone over transforms (net=augerino) the
    layers are those of the backbone, and the whole is under "logits". `transformed` are the inputs
    under g, where they are known better.
    """
    transformed = transform(inputs) if transformed is None else transformed
    rows: LayerErrors = {}
    backbone = getattr(net, "backbone", None)
    if isinstance(backbone, nn.Module):
        for name, row in layer_errors(backbone, inputs, transform, transformed).items():
            rows["backbone" if name == LOGITS else f"backbone.{name}"] = row
    with captured(net if inputs.ndim == 4 and not rows else nn.Module()) as features:
        logits = seeded_forward(net, inputs)
        before = dict(features)
        logits_after = seeded_forward(net, transformed)
    for name, (maps, elements) in before.items():
        # In 2 x 2 pixels none stays in the picture.
        visible = transform.exact or bool(inscribed_disc(*maps.shape[-2:]).any())
        if visible and transform.acts_on(maps):
            rows[name] = feature_error(maps, features[name][0], transform, elements)
    if logits.ndim == 4:
        rows[LOGITS] = feature_error(logits, logits_after, transform, None)
    else:
        rows[LOGITS] = _single_error(_relative_error(logits_after, logits))
    return rows


def _single_error(error: float) -> PlainDict:
    return {"error": error, "error_of_maximum": error, "compared": 1, "elements": 1}


def feature_error(
    features: Tensor, after: Tensor, transform: Transform, elements: Elements | None
) -> PlainDict:
    """Compare F(x) and F(g x), [B, C, n, H, W] on n elements, or [B, C, H, W] and None."""
    size = features.shape[-2:]
    mask = (torch.ones(size) if transform.exact else inscribed_disc(*size)).to(features)
    if elements is None:
        return _single_error(_relative_error(after * mask, transform(features) * mask))
    preimages = transform.preimages(elements)
    paired = (preimages >= 0).nonzero()[:, 0]
    error = None
    if len(paired):
        expected = transform(features[:, :, preimages[paired]].flatten(1, 2))
        error = _relative_error(after[:, :, paired].flatten(1, 2) * mask, expected * mask)
    of_maximum = _relative_error(after.amax(2) * mask, transform(features.amax(2)) * mask)
    counts = {"compared": len(paired), "elements": len(elements)}
    return {"error": error, "error_of_maximum": of_maximum, **counts}


def _relative_error(result: Tensor, expected: Tensor) -> float:
    """Compute |result - expected| / |expected|."""
    norm = expected.norm().clamp_min(torch.finfo(expected.dtype).tiny)
    return float((result - expected).norm() / norm)


def inscribed_disc(height: int, width: int) -> Tensor:
    """Return [H, W], 1 where every rotation stays in the picture."""
    y = (torch.arange(height) - (height - 1) / 2).square()
    x = (torch.arange(width) - (width - 1) / 2).square()
    return (x + y[:, None] <= (max(1, min(height, width) - 1) / 2) ** 2).float()


def errors_on_data(
    net: nn.Module, data: Data, transforms: Sequence[Transform], count: int, device: torch.device
) -> dict[str, LayerErrors]:
    """Measure `layer_errors` of each transform of the first `count` test examples, on a copy."""
    # Images are transformed before they are normalised: black, which comes in, is zero there.
    net, stored = even_and_double(net), stored_inputs(data, count).to(device)
    inputs = data.prepare(stored).double()
    images = data.kind != "points"
    return {
        t.name: layer_errors(net, inputs, t, data.prepare(t(stored)).double() if images else None)
        for t in transforms
    }


def stored_inputs(data: Data, count: int) -> Tensor:
    """Return the first test examples as they are stored, pixels scaled to [0, 1]."""
    stored = data.splits["test"].inputs[:count]
    return stored.float() / (255.0 if stored.dtype == torch.uint8 else 1.0)


def error_metrics(rows: Mapping[str, LayerErrors]) -> dict[str, float]:
    """Name the errors equivariance_error_180deg/lift, or equivariance_error_of_maximum_..."""
    metrics = {}
    for transform, layers in rows.items():
        for layer, row in layers.items():
            kind, error = "", row["error"]
            if error is None:
                kind, error = "_of_maximum", row["error_of_maximum"]
            metrics[f"equivariance_error{kind}_{transform}/{layer}"] = error
    return metrics


@torch.no_grad()
def sampled_kernel(net: nn.Module, layer: str, images: Tensor) -> tuple[Tensor, Elements]:
    """Return the kernel of a convolution, [C', n', C, n, k, k], and its n' output elements."""
    conv, kernels = net.get_submodule(layer), []
    assert isinstance(conv, ContinuousGroupConv)
    assert isinstance(conv.kernel, nn.Module)
    hook = conv.kernel.register_forward_hook(lambda _m, _i, kernel: kernels.append(kernel))
    with hook, captured(net) as features:
        net(images[:1])
    kernel, elements = kernels[0], features[layer][1]
    assert elements is not None
    return conv.conv2d_weight(kernel).view(*kernel.shape[:4], *[conv.kernel_size] * 2), elements


@torch.no_grad()
def rotated_features(
    net: nn.Module, data: Data, pixels: Tensor, layer: str
) -> tuple[Sequence[float], Tensor, Tensor, Elements]:
    """Compute features of one image [1, C, H, W] rotated by eighths of a turn.

    Returns angles in degrees, pictures [A, C, H, W], and of the channel of `layer` that varies most
    the features [A, n, H', W'] and the n elements.
    """
    angles = range(0, 360, 45)
    pictures = torch.cat([Rotation(angle)(pixels) for angle in angles])
    with captured(net) as captures:
        net(data.prepare(pictures).double())
    features, elements = captures[layer]
    assert elements is not None
    channel = int(features.var((0, 2, 3, 4)).argmax())
    return angles, pictures.cpu(), features[:, channel].cpu(), elements
