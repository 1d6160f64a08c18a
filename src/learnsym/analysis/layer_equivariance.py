"""Equivariance error layer by layer, sampled kernels, and feature maps as the input turns, of a network on R^2 x| H.

A motion g = (r, m) of H acts on images as (g f)(y) = f(g^-1 y), on features on the group as (g f)(y, h) = f(g^-1 y, g^-1 h): it
turns space and permutes elements. A layer F is equivariant to g if F(g x) = g F(x). The error of a layer is

    ( sum |F(g x) - g F(x)|^2 / sum |F(x)|^2 )^(1/2),  over images, channels, elements and pixels.

Features are known on sampled elements only: those h count whose g^-1 h is in the set too. Where there is none (a learned arc that
is no whole circle, an angle between the samples) only the maximum over the elements is compared: max_h F(g x)(y, h) with the
turned max_h F(x)(y, h). Quarter turns and mirror images are exact on the grid; other angles are interpolated, which adds an error
of its own, and compared inside the disc that stays in the picture.
"""

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learnsym.data.base import ImageData
from learnsym.distributions.elements import element_sets
from learnsym.errors import ConfigError
from learnsym.groups.actions import rotate_images
from learnsym.groups.stabiliser import CUT, Elements, wrapped
from learnsym.results.record import write_atomically
from learnsym.schema import Size

LOGITS = "logits"
Features = dict[str, tuple[Tensor, Elements]]
"""Of each layer what it gave: [B, C, n, H, W] and the n elements."""


@dataclass(frozen=True)
class Motion:
    """A turn of images counter-clockwise as seen on the screen, after a mirror image (left and right exchanged) if `mirror`."""

    degrees: float
    mirror: bool = False

    @property
    def name(self) -> str:
        """As in the names of metrics: 90deg, mirror."""
        return "_".join(
            [*(["mirror"] if self.mirror else []), *([f"{self.degrees:g}deg"] if self.degrees or not self.mirror else [])]
        )

    @property
    def exact(self) -> bool:
        """Whether pixels go to pixels."""
        return self.degrees % 90 == 0

    def on_images(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        images = images.flip(-1) if self.mirror else images
        if self.exact:
            return torch.rot90(images, int(self.degrees // 90), (-2, -1))
        return rotate_images(images, torch.full((len(images),), math.radians(self.degrees), dtype=images.dtype).to(images.device))

    def places(self, elements: Elements) -> Tensor:
        """For each element h the index of g^-1 h in the same set, or -1 where it is not in it, [n]."""
        # y runs down, so that counter-clockwise on the screen is the angle -r.
        one = torch.ones(1, dtype=elements.angle.dtype, device=elements.angle.device)
        motion = Elements(-math.radians(self.degrees) * one, -one if self.mirror else one)
        wanted = motion.inverse().product(elements)
        apart = wrapped(wanted.angle[:, None] - elements.angle).abs()
        same = (apart < 10 * CUT) & (wanted.sign[:, None] == elements.sign)
        return torch.where(same.any(1), same.to(torch.int8).argmax(1), -1)


@contextmanager
def captured(net: nn.Module) -> Iterator[Features]:
    """Within this context a pass of `net` leaves here what every layer with elements gave, in the order of the pass."""
    found: Features = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], Elements):
                found[name] = output

        return keep

    hooks = [module.register_forward_hook(hook(name)) for name, module in net.named_modules() if name]
    try:
        yield found
    finally:
        for handle in hooks:
            handle.remove()


def even_and_double(net: nn.Module) -> nn.Module:
    """A copy in evaluation and float64 with fixed, even sets: what errors are left are not those of rounding."""
    net = copy.deepcopy(net).double().eval()
    for elements in element_sets(net):
        elements.even_evaluation = True
    return net


@torch.no_grad()
def layer_errors(net: nn.Module, images: Tensor, motion: Motion, turned: Tensor | None = None) -> dict[str, dict[str, Any]]:
    """Per layer, and for the output under the name "logits": error (None where no elements pair up), error_of_maximum, and how
    many elements were compared of how many.

    Args:
        net: a network with a `stabiliser`, in evaluation mode.
        images: [B, C, H, W].
        motion: g.
        turned: the images moved by g, where that is better known than by moving them here.
    """
    with captured(net) as found:
        logits = net(images)
        before = dict(found)
        moved_logits = net(motion.on_images(images) if turned is None else turned)
        rows = {name: compare(features, found[name][0], motion, elements) for name, (features, elements) in before.items()}
    error = relative(moved_logits, logits)
    rows[LOGITS] = {"error": error, "error_of_maximum": error, "compared": 1, "elements": 1}
    return rows


def compare(features: Tensor, moved: Tensor, motion: Motion, elements: Elements) -> dict[str, Any]:
    """F(x) and F(g x), [B, C, n, H, W], on the same n elements: see `layer_errors`."""
    places = motion.places(elements)
    paired = (places >= 0).nonzero()[:, 0]
    mask = torch.ones_like(features[0, 0, 0]) if motion.exact else inscribed_disc(*features.shape[-2:]).to(features)
    error = None
    if len(paired):
        expected = motion.on_images(features[:, :, places[paired]].flatten(1, 2))
        error = relative(moved[:, :, paired].flatten(1, 2) * mask, expected * mask)
    error_of_maximum = relative(moved.amax(2) * mask, motion.on_images(features.amax(2)) * mask)
    return {"error": error, "error_of_maximum": error_of_maximum, "compared": len(paired), "elements": len(elements)}


def relative(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|."""
    return float((found - expected).norm() / expected.norm().clamp_min(torch.finfo(expected.dtype).tiny))


def inscribed_disc(height: int, width: int) -> Tensor:
    """[H, W]: 1 where a turn by any angle stays in the picture, 0 in the corners."""
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    return (x.square() + y.square() <= (max(1, min(height, width) - 1) / 2) ** 2).float()


@torch.no_grad()
def sampled_kernel(net: nn.Module, layer: str, images: Tensor) -> tuple[Tensor, Elements]:
    """The kernel of a convolution as a pass uses it, [C', n', C, n, k, k], and the n' elements of its output."""
    conv, made = net.get_submodule(layer), []
    handle = conv.kernel.register_forward_hook(lambda _m, _i, kernel: made.append(kernel))
    try:
        with captured(net) as found:
            net(images[:1])
    finally:
        handle.remove()
    kernel = made[0]
    return conv.dense(kernel).view(*kernel.shape[:4], *[conv.kernel_size] * 2), found[layer][1]


class LayerEquivariance:
    """Equivariance errors of every layer, sampled kernels and feature maps of one, of a checkpoint's network.

    In evaluation mode and float64, with the fixed, even sets of elements.
    """

    images_only = True
    reads_checkpoint = True
    needs_checkpoint = True

    def __init__(self, images: Size = 16, angles: tuple[float, ...] = (45.0, 90.0, 180.0), layer: str | None = None) -> None:
        """
        Args:
            images: test images that are turned.
            angles: in degrees; with a group that has mirror images the mirror image is compared too.
            layer: whose kernels and feature maps are drawn; None: the lifting, which comes first.
        """
        if not angles:
            raise ValueError("angles=[]: at least one angle is needed")
        self.images, self.angles, self.layer = images, angles, layer

    def __call__(self, session: Any) -> dict[str, Any]:
        """Metrics `equivariance_error_<motion>/<layer>`, or `equivariance_error_of_maximum_...`; curves.json; figures."""
        if not hasattr(session.net, "stabiliser"):
            raise ConfigError("mode=equivariance needs a network of group convolutions, net=ckresnet or net=gcnn.")
        session.load(Path(session.cfg.checkpoint))
        if not session.fabric.is_global_zero:
            return {"metrics": {}}
        net = even_and_double(session.net)
        pixels = first_images(session.data, self.images).to(session.fabric.device)
        images = session.data.prepare(pixels).double()
        layer = self._layer(net, images)
        motions = [Motion(a) for a in self.angles] + ([Motion(0.0, mirror=True)] if net.stabiliser.has_mirror else [])
        rows = {
            motion.name: layer_errors(net, images, motion, session.data.prepare(motion.on_images(pixels)).double())
            for motion in motions
        }
        curves = {"images": len(images), "errors": rows}
        write_atomically(session.directory.path / "curves.json", json.dumps({"layer_equivariance": curves}))
        figures = self._draw(session, net, pixels, rows, layer)
        return {"metrics": metrics_of(rows), "figures": [str(f.relative_to(session.directory.path)) for f in figures]}

    def _layer(self, net: nn.Module, images: Tensor) -> str:
        with captured(net) as found, torch.no_grad():
            net(images[:1])
        convs = [name for name in found if hasattr(net.get_submodule(name), "kernel")]
        if self.layer is not None and self.layer not in convs:
            raise ConfigError(f"mode.layer={self.layer}: the network has no such convolution; valid: {', '.join(convs)}.")
        return self.layer or convs[0]

    def _draw(
        self, session: Any, net: nn.Module, pixels: Tensor, rows: Mapping[str, Mapping[str, Mapping[str, Any]]], layer: str
    ) -> list[Path]:
        from learnsym.analysis.layer_figures import draw_errors, draw_features, draw_kernels

        folder, data = session.directory.figures, session.data
        paths = [folder / f"{name}.png" for name in ("equivariance_error", "sampled_kernels", "feature_maps")]
        kernel, elements = sampled_kernel(net, layer, data.prepare(pixels[:1]).double())
        draw_errors(paths[0], rows)
        draw_kernels(paths[1], kernel.cpu(), elements, layer)
        draw_features(paths[2], *turning_features(net, data, pixels[:1], layer), layer)
        return paths


@torch.no_grad()
def turning_features(
    net: nn.Module, data: ImageData, pixels: Tensor, layer: str, angles: Sequence[float] = tuple(range(0, 360, 45))
) -> tuple[Sequence[float], Tensor, Tensor, Elements]:
    """Of one image [1, C, H, W] turned by angles in degrees: the angles, the pictures [A, C, H, W], and of the channel of `layer`
    that varies most the features [A, n, H', W'] and the n elements."""
    pictures = torch.cat([Motion(a).on_images(pixels) for a in angles])
    with captured(net) as found:
        net(data.prepare(pictures).double())
    features, elements = found[layer]
    channel = int(features.var((0, 2, 3, 4)).argmax())
    return angles, pictures.cpu(), features[:, channel].cpu(), elements


def first_images(data: ImageData, count: int) -> Tensor:
    """The first test images, [count, C, H, W] with pixels in [0, 1]: black is zero there, which is what a turn brings in."""
    stored = data.splits["test"].inputs[:count]
    return stored.float() / (255.0 if stored.dtype == torch.uint8 else 1.0)


def metrics_of(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """equivariance_error_180deg/lift and so on; where no elements pair up, equivariance_error_of_maximum_180deg/lift."""
    found = {}
    for motion, layers in rows.items():
        for layer, row in layers.items():
            known = "error" if row["error"] is not None else "error_of_maximum"
            found[f"equivariance_{known}_{motion}/{layer}"] = row[known]
    return found
