"""One ruler for every network: by how much its output, and the maps of its layers, fail to follow
as the input moves.

`mode=equivariance` measures a checkpoint; with `analysis.equivariance_angles` a training measures
its network before and after.
"""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from learnsym.analysis.equivariance_error import IMAGES, Rows, errors, metrics_of, stored_inputs
from learnsym.analysis.layer_equivariance import (
    captured,
    even_and_double,
    sampled_kernel,
    turning_features,
)
from learnsym.analysis.transforms import RulerName, moves
from learnsym.errors import ConfigError
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Size
from learnsym.utils.files import write_atomically


class Equivariance(Mode):
    """Equivariance errors of the output and of every layer of a checkpoint's network, in evaluation
    mode and float64.

    Of a network of group convolutions with the fixed, even sets of elements, and sampled kernels
    and feature maps of one layer.
    """

    reads_checkpoint = True
    needs_checkpoint = True

    def __init__(
        self,
        images: Size = IMAGES,
        group: RulerName = "rotation",
        angles: tuple[float, ...] = (45.0, 90.0, 180.0),
        mirror: bool | None = None,
        layer: str | None = None,
    ) -> None:
        """Args:
        images: test examples that are moved.
        group: rotations by the angles, or a group that permutes the pixels, of which each image
            is moved by a random element.
        angles: in degrees, for rotations alone; molecules turn about random axes.
        mirror: whether a mirror image is compared too, for rotations alone; None: if the
            network's group has them.
        layer: whose kernels and feature maps are drawn, for group convolutions; None: the
            lifting, which comes first.
        """
        if not angles:
            raise ValueError("angles=[]: at least one angle is needed")
        self.images, self.group, self.angles, self.mirror, self.layer = (
            images,
            group,
            angles,
            mirror,
            layer,
        )

    def __call__(self, context: RunContext) -> Outcome:
        """Metrics `equivariance_error_<motion>/<layer>`, or `equivariance_error_of_maximum_...`;
        curves.json; figures.
        """
        context.load(Path(context.cfg.checkpoint))
        stabiliser = getattr(context.net, "stabiliser", None)
        if stabiliser is None and self.layer is not None:
            raise ConfigError(
                f"mode.layer={self.layer} would have no effect: kernels and feature maps are drawn of group convolutions, "
                "net=ckresnet or net=gcnn."
            )
        if not context.fabric.is_global_zero:
            return Outcome({})
        mirror = (
            self.mirror
            if self.mirror is not None
            else bool(stabiliser is not None and stabiliser.has_mirror)
        )
        motions = moves(self.group, self.angles, mirror, context.data.info.input_shape)
        rows = errors(context.net, context.data, motions, self.images, context.fabric.device)
        curves = {
            "images": min(self.images, len(context.data.splits["test"])),
            "group": self.group,
            "errors": rows,
        }
        write_atomically(
            context.directory.path / "curves.json", json.dumps({"layer_equivariance": curves})
        )
        figures = self._draw(context, rows)
        return Outcome(
            metrics_of(rows), [str(f.relative_to(context.directory.path)) for f in figures]
        )

    def _draw(self, context: RunContext, rows: Rows) -> list[Path]:
        from learnsym.figures.layers import draw_layer_errors, draw_features, draw_kernels

        folder, data = context.directory.figures, context.data
        paths = [folder / "equivariance_error.png"]
        draw_layer_errors(paths[0], rows)
        if not hasattr(context.net, "stabiliser"):
            return paths
        net, pixels = even_and_double(context.net), stored_inputs(data, 1).to(context.fabric.device)
        layer = self._layer(net, data.prepare(pixels).double())
        paths += [folder / f"{name}.png" for name in ("sampled_kernels", "feature_maps")]
        kernel, elements = sampled_kernel(net, layer, data.prepare(pixels).double())
        draw_kernels(paths[1], kernel.cpu(), elements, layer)
        draw_features(paths[2], *turning_features(net, data, pixels, layer), layer)
        return paths

    def _layer(self, net: nn.Module, images: Tensor) -> str:
        with captured(net) as found, torch.no_grad():
            net(images)
        convs = [name for name in found if hasattr(net.get_submodule(name), "kernel")]
        if self.layer is not None and self.layer not in convs:
            raise ConfigError(
                f"mode.layer={self.layer}: the network has no such convolution; valid: {', '.join(convs)}."
            )
        return self.layer or convs[0]


def before_and_after(context: RunContext) -> dict[str, float]:
    """Metrics of a training's network as it is, against turns by `analysis.equivariance_angles`;
    empty if there are none.
    """
    angles = context.cfg.analysis.equivariance_angles
    if not angles or not context.fabric.is_global_zero:
        return {}
    motions = moves("rotation", tuple(angles), False, context.data.info.input_shape)
    return metrics_of(errors(context.net, context.data, motions, IMAGES, context.fabric.device))
