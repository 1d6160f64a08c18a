"""Equivariance error layer by layer of any network; of one on R^2 x| H also sampled kernels, and
feature maps as the input turns.

A motion g = (r, m) of H acts on images as (g f)(y) = f(g^-1 y), on features on the group as (g
f)(y, h) = f(g^-1 y, g^-1 h): it turns space and permutes elements. Of a plain network the maps [B,
C, H, W] of its layers move as images do; of a steerable one, whose channels g mixes, the output
alone is looked at. Masks move, other outputs stay. A layer F is equivariant to g if F(g x) = g
F(x). The error of a layer is

    ( sum |F(g x) - g F(x)|^2 / sum |F(x)|^2 )^(1/2),  over images, channels, elements and pixels.

Features are known on sampled elements only: those h count whose g^-1 h is in the set too. Where
there is none (a learned arc that is no whole circle, an angle between the samples) only the maximum
over the elements is compared: max_h F(g x)(y, h) with the turned max_h F(x)(y, h). Quarter turns
and mirror images are exact on the grid; other angles are interpolated, which adds an error of its
own, and compared inside the disc that stays in the picture.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from learnsym.analysis.transforms import Motion, Move
from learnsym.data.base import ImageData
from learnsym.distributions.group_sampler import group_samplers
from learnsym.groups.point_groups import Elements

LOGITS = "logits"
BACKBONE = "backbone"
DRAWS_SEED = 0
"""The input and the moved input see the same draws of a network's own augmentation: what differs is
due to the motion."""
Features = dict[str, tuple[Tensor, Elements | None]]
"""Of each layer what it gave: [B, C, n, H, W] and the n elements, or maps [B, C, H, W] and None."""


@contextmanager
def captured(net: nn.Module) -> Iterator[Features]:
    """Within this context a pass of `net` leaves here what its layers gave, in the order of the
    pass: of a network with a `stabiliser` those with elements, of a plain one those that have
    weights and give maps [B, C, H, W].
    """
    found: Features = {}

    def hook(name: str, weighs: bool) -> Callable[..., None]:
        def keep(_module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], Elements):
                found[name] = output
            elif weighs and all(isinstance(x, Tensor) and x.ndim == 4 for x in (inputs[0], output)):
                found[name] = output, None

        return keep

    planar = not hasattr(net, "stabiliser") and not getattr(net, "mixes_channels", False)
    hooks = [
        module.register_forward_hook(
            hook(name, planar and any(True for _ in module.parameters(recurse=False)))
        )
        for name, module in net.named_modules()
        if name
    ]
    try:
        yield found
    finally:
        for handle in hooks:
            handle.remove()


def even_and_double(net: nn.Module) -> nn.Module:
    """A copy in evaluation and float64 with fixed, even sets: what errors are left are not those of
    rounding.
    """
    net = copy.deepcopy(net).double().eval()
    for elements in group_samplers(net):
        elements.even_evaluation = True
    return net


@torch.no_grad()
def layer_errors(
    net: nn.Module, inputs: Tensor, motion: Move, moved: Tensor | None = None
) -> dict[str, dict[str, Any]]:
    """Per layer, and for the output under the name "logits": error (None where no elements pair
    up), error_of_maximum, and how many elements were compared of how many. Layers whose maps
    `motion` does not act on are left out, as are maps too small for any pixel to stay in the
    picture.

    Of a network that averages a backbone over transformations (net=augerino) the backbone is looked
    at by itself, and the whole under "logits".

    Args:
        net: in evaluation mode.
        inputs: images [B, C, H, W] or clouds [B, N, 3 + C].
        motion: g.
        moved: the inputs moved by g, where they are better known than by moving them here.
    """
    images = inputs.ndim == 4
    if moved is None:
        moved = motion.on_images(inputs) if images else motion.on_clouds(inputs)
    rows: dict[str, dict[str, Any]] = {}
    backbone = getattr(net, BACKBONE, None)
    if isinstance(backbone, nn.Module):
        inner = layer_errors(backbone, inputs, motion, moved)
        rows = {
            BACKBONE if name == LOGITS else f"{BACKBONE}.{name}": row for name, row in inner.items()
        }
    with captured(net if images and not rows else nn.Module()) as found:
        logits = _seeded(net, inputs)
        before = dict(found)
        moved_logits = _seeded(net, moved)
        for name, (features, elements) in before.items():
            whole = motion.exact or bool(
                inscribed_disc(*features.shape[-2:]).any()
            )  # of 2 x 2 pixels none stays in the picture
            if whole and motion.acts_on(features):
                rows[name] = compare(features, found[name][0], motion, elements)
    rows[LOGITS] = (
        compare(logits, moved_logits, motion, None)
        if logits.ndim == 4
        else _row(relative(moved_logits, logits))
    )
    return rows


def _seeded(net: nn.Module, inputs: Tensor) -> Tensor:
    with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
        torch.manual_seed(DRAWS_SEED)
        return net(inputs)


def _row(error: float) -> dict[str, Any]:
    return {"error": error, "error_of_maximum": error, "compared": 1, "elements": 1}


def compare(
    features: Tensor, moved: Tensor, motion: Move, elements: Elements | None
) -> dict[str, Any]:
    """F(x) and F(g x), [B, C, n, H, W], on the same n elements, or [B, C, H, W] and None: see
    `layer_errors`.
    """
    side = features.shape[-2:]
    mask = torch.ones(side).to(features) if motion.exact else inscribed_disc(*side).to(features)
    if elements is None:
        return _row(relative(moved * mask, motion.on_images(features) * mask))
    places = motion.places(elements)
    paired = (places >= 0).nonzero()[:, 0]
    error = None
    if len(paired):
        expected = motion.on_images(features[:, :, places[paired]].flatten(1, 2))
        error = relative(moved[:, :, paired].flatten(1, 2) * mask, expected * mask)
    error_of_maximum = relative(moved.amax(2) * mask, motion.on_images(features.amax(2)) * mask)
    return {
        "error": error,
        "error_of_maximum": error_of_maximum,
        "compared": len(paired),
        "elements": len(elements),
    }


def relative(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|."""
    return float(
        (found - expected).norm() / expected.norm().clamp_min(torch.finfo(expected.dtype).tiny)
    )


def inscribed_disc(height: int, width: int) -> Tensor:
    """[H, W]: 1 where a turn by any angle stays in the picture, 0 in the corners."""
    y, x = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2,
        torch.arange(width) - (width - 1) / 2,
        indexing="ij",
    )
    return (x.square() + y.square() <= (max(1, min(height, width) - 1) / 2) ** 2).float()


@torch.no_grad()
def sampled_kernel(net: nn.Module, layer: str, images: Tensor) -> tuple[Tensor, Elements]:
    """The kernel of a convolution as a pass uses it, [C', n', C, n, k, k], and the n' elements of
    its output.
    """
    conv, made = net.get_submodule(layer), []
    handle = conv.kernel.register_forward_hook(lambda _m, _i, kernel: made.append(kernel))
    try:
        with captured(net) as found:
            net(images[:1])
    finally:
        handle.remove()
    kernel = made[0]
    return conv.conv2d_weight(kernel).view(*kernel.shape[:4], *[conv.kernel_size] * 2), found[
        layer
    ][1]


@torch.no_grad()
def turning_features(
    net: nn.Module,
    data: ImageData,
    pixels: Tensor,
    layer: str,
    angles: Sequence[float] = tuple(range(0, 360, 45)),
) -> tuple[Sequence[float], Tensor, Tensor, Elements]:
    """Of one image [1, C, H, W] turned by angles in degrees: the angles, the pictures [A, C, H, W],
    and of the channel of `layer` that varies most the features [A, n, H', W'] and the n
    elements.
    """
    pictures = torch.cat([Motion(a).on_images(pixels) for a in angles])
    with captured(net) as found:
        net(data.prepare(pictures).double())
    features, elements = found[layer]
    channel = int(features.var((0, 2, 3, 4)).argmax())
    return angles, pictures.cpu(), features[:, channel].cpu(), elements
