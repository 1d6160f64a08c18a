"""`mode=equivariance`: equivariance errors of the output and layers of a checkpoint.

With `analysis.equivariance_angles` a training measures its network before and after.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from learnsym.analysis import layer_equivariance as layers
from learnsym.analysis.transforms import TransformGroup, transforms_of
from learnsym.errors import ConfigError
from learnsym.figures.layers import draw_features, draw_kernels, draw_layer_errors
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Size
from learnsym.utils.files import to_json, write_atomically


@dataclass
class Equivariance(Mode):
    """Measure equivariance errors of output and layers, in evaluation mode and float64.

    Of a network of group convolutions with the fixed, even sets of elements, and sampled kernels
    and feature maps of one layer.
    """

    reads_checkpoint = True
    needs_checkpoint = True

    images: Size = 16
    group: TransformGroup = "rotation"
    angles: tuple[float, ...] = (45.0, 90.0, 180.0)
    mirror: bool | None = None
    layer: str | None = None

    def __post_init__(self) -> None:
        if not self.angles:
            raise ValueError("angles=[]: at least one angle is needed")

    def __call__(self, context: RunContext) -> Outcome:
        """Measure equivariance_error[_of_maximum]_<transform>/<layer>; write curves and figures."""
        context.load(Path(context.cfg.checkpoint))
        net, data, path = context.net, context.data, context.directory.path
        stabiliser = getattr(net, "stabiliser", None)
        if stabiliser is None and self.layer is not None:
            raise ConfigError(
                f"mode.layer={self.layer} would have no effect: kernels and feature maps are drawn "
                "of group convolutions. Try net=ckresnet or net=gcnn."
            )
        if not context.fabric.is_global_zero:
            return Outcome({})
        has_mirror = bool(getattr(stabiliser, "has_mirror", False))
        mirror = has_mirror if self.mirror is None else self.mirror
        transforms = transforms_of(self.group, self.angles, mirror, data.info.input_shape)
        rows = layers.errors_on_data(net, data, transforms, self.images, context.fabric.device)
        count = min(self.images, len(data.splits["test"]))
        curves = {"images": count, "group": self.group, "errors": rows}
        write_atomically(path / "curves.json", to_json({"layer_equivariance": curves}))
        figures = [str(figure.relative_to(path)) for figure in self._draw(context, rows)]
        return Outcome(layers.error_metrics(rows), figures)

    def _draw(self, context: RunContext, rows: dict[str, layers.LayerErrors]) -> list[Path]:
        folder, data = context.directory.figures, context.data
        names = ("equivariance_error", "sampled_kernels", "feature_maps")
        paths = [folder / f"{name}.png" for name in names]
        draw_layer_errors(paths[0], rows)
        if not hasattr(context.net, "stabiliser"):
            return paths[:1]
        net, pixels = layers.even_and_double(context.net), layers.stored_inputs(data, 1)
        pixels = pixels.to(context.fabric.device)
        images = data.prepare(pixels).double()
        with layers.captured(net) as features, torch.no_grad():
            net(images)
        convs = [name for name in features if hasattr(net.get_submodule(name), "kernel")]
        if self.layer is not None and self.layer not in convs:
            raise ConfigError(
                f"mode.layer={self.layer}: the network has no such convolution; "
                f"valid: {', '.join(convs)}."
            )
        layer = self.layer or convs[0]
        kernel, elements = layers.sampled_kernel(net, layer, images)
        draw_kernels(paths[1], kernel.cpu(), elements, layer)
        draw_features(paths[2], *layers.rotated_features(net, data, pixels, layer), layer)
        return paths


def training_errors(context: RunContext) -> dict[str, float]:
    """Measure a training's network as it is, at `analysis.equivariance_angles` if there are any."""
    angles, data = context.cfg.analysis.equivariance_angles, context.data
    if not angles or not context.fabric.is_global_zero:
        return {}
    transforms = transforms_of("rotation", tuple(angles), False, data.info.input_shape)
    rows = layers.errors_on_data(context.net, data, transforms, 16, context.fabric.device)
    return layers.error_metrics(rows)
