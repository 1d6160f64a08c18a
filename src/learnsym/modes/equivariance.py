"""One ruler for every network: by how much its output, and the maps of its layers, fail to follow
as the input moves.

`mode=equivariance` measures a checkpoint; with `analysis.equivariance_angles` a training measures
its network before and after.
"""

import json
from pathlib import Path
from typing import Any

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
from learnsym.schema import Size
from learnsym.utils.files import write_atomically


class Equivariance:
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

    def __call__(self, session: Any) -> dict[str, Any]:
        """Metrics `equivariance_error_<motion>/<layer>`, or `equivariance_error_of_maximum_...`;
        curves.json; figures.
        """
        session.load(Path(session.cfg.checkpoint))
        stabiliser = getattr(session.net, "stabiliser", None)
        if stabiliser is None and self.layer is not None:
            raise ConfigError(
                f"mode.layer={self.layer} would have no effect: kernels and feature maps are drawn of group convolutions, "
                "net=ckresnet or net=gcnn."
            )
        if not session.fabric.is_global_zero:
            return {"metrics": {}}
        mirror = (
            self.mirror
            if self.mirror is not None
            else bool(stabiliser is not None and stabiliser.has_mirror)
        )
        motions = moves(self.group, self.angles, mirror, session.data.info.input_shape)
        rows = errors(session.net, session.data, motions, self.images, session.fabric.device)
        curves = {
            "images": min(self.images, len(session.data.splits["test"])),
            "group": self.group,
            "errors": rows,
        }
        write_atomically(
            session.directory.path / "curves.json", json.dumps({"layer_equivariance": curves})
        )
        figures = self._draw(session, rows)
        return {
            "metrics": metrics_of(rows),
            "figures": [str(f.relative_to(session.directory.path)) for f in figures],
        }

    def _draw(self, session: Any, rows: Rows) -> list[Path]:
        from learnsym.figures.layers import draw_errors, draw_features, draw_kernels

        folder, data = session.directory.figures, session.data
        paths = [folder / "equivariance_error.png"]
        draw_errors(paths[0], rows)
        if not hasattr(session.net, "stabiliser"):
            return paths
        net, pixels = even_and_double(session.net), stored_inputs(data, 1).to(session.fabric.device)
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


def before_and_after(session: Any) -> dict[str, float]:
    """Metrics of a training's network as it is, against turns by `analysis.equivariance_angles`;
    empty if there are none.
    """
    angles = session.cfg.analysis.equivariance_angles
    if not angles or not session.fabric.is_global_zero:
        return {}
    motions = moves("rotation", tuple(angles), False, session.data.info.input_shape)
    return metrics_of(errors(session.net, session.data, motions, IMAGES, session.fabric.device))
