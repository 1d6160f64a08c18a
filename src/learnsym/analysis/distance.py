"""The distance of a network's layers from the layers that commute with a finite group of motions of
the pixels.

It is |A - Pi A| of every layer's linear map A, with Pi the mean over the group (Reynolds): how far
a network that is free to leave the equivariant networks has gone (Flinth and Ohlsson 2023). Maps
[B, C, s, s] carry the group that permutes the pixels of s x s images, s their own side, and numbers
without space the trivial one (see `learnsym.analysis.feature_action`):

* a convolution: in the norm of its kernel, see `learnsym.groups.conv_projection`; its bias, equal
  on all pixels, is equivariant;
* a linear layer on a flattened map: against weights that are constant on the orbits of points; on
  numbers without space: 0;
* a normalisation with an affine map per channel: 0. What lies between the layers is taken to be
  equivariant.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from learnsym.analysis.feature_action import Trace, Use, has_space, one_use
from learnsym.distributions.base import LearnedSymmetry
from learnsym.errors import ConfigError
from learnsym.groups.conv_projection import ANY_SIDES, Stencil, distance_matrices, point_codes
from learnsym.groups.permutation import GroupName
from learnsym.groups.reynolds import Orbits

Measure = Callable[[nn.Module], dict[str, float]]
LayerMeasure = Callable[[Tensor], tuple[float, float]]
"""From a layer's weight in float64 to the distance of its map and the norm of its map."""
KEY = "distance_to_equivariance"
NORMALISATIONS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.LayerNorm,
)


@dataclass(frozen=True)
class AnalysisSettings:
    """What a training measures besides its metrics.

    Attributes:
        distance_to_equivariance: after every epoch, the distance of the layers from equivariant
            ones.
        group: with respect to which group.
        equivariance_angles: before and after the training, the equivariance error of output and
            layers for turns of the input by these angles in degrees (see
            `learnsym.modes.equivariance`); empty: not measured.
    """

    distance_to_equivariance: bool = False
    group: GroupName = "quarter_turns"
    equivariance_angles: tuple[float, ...] = ()

    def measure(self, net: nn.Module, example: Tensor) -> Measure | None:
        """What to call after every epoch with the network; None: nothing is measured.

        Args:
            net: the network, on the CPU; it is left as it is.
            example: an input [B, C, H, W].

        Raises:
            ConfigError: the distance of one of its layers is not known.
        """
        return Distance(net, example, self.group) if self.distance_to_equivariance else None


class Distance:
    """d(net) gives the row keys: in total, per layer, and in total relative to the norm of the
    layers.
    """

    def __init__(self, net: nn.Module, example: Tensor, group: GroupName) -> None:
        """See `AnalysisSettings`; all that does not depend on the weights is found here, once."""
        if group not in get_args(GroupName):
            raise ValueError(f"group is {group!r}; choose one of {', '.join(get_args(GroupName))}")
        self.group, self.owners = group, list(owners(net))
        for name in self.owners:
            try:
                net.get_submodule(name).distance_to_equivariance(group)
            except ValueError as error:
                raise ConfigError(f"analysis.group={group}: {error}.") from error
        self.layers: dict[str, LayerMeasure] = {}
        modules = measurable(net)
        if not modules:
            return
        trace = Trace(net, modules, example)
        trace.end_at(
            [name for name, module in modules.items() if not isinstance(module, NORMALISATIONS)]
        )
        if trace.unfolded():
            raise ConfigError(
                f"analysis.{KEY}=true: {type(net).__name__} makes maps of what a layer gives without space, and how {group} acts "
                "on those is not known."
            )
        for name, module in modules.items():
            where = f"analysis.{KEY}=true: {name} of {type(net).__name__}"
            if isinstance(module, NORMALISATIONS):
                _check_normalisation(module, trace, trace.uses[name], where)
            elif isinstance(module, nn.Conv2d):
                self.layers[name] = self._convolution(
                    module, trace, one_use(trace.uses[name], where), where
                )
            else:
                self.layers[name] = self._linear(trace, one_use(trace.uses[name], where), where)

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> dict[str, float]:
        """The distances as the weights are now."""
        layers: dict[str, float] = {}
        norms: list[float] = []
        for name in self.owners:
            of_its_own = net.get_submodule(name).distance_to_equivariance(self.group)
            layers |= {
                f"{name}.{layer}" if name else layer: float(value)
                for layer, value in of_its_own.items()
            }
        for name, measure in self.layers.items():
            layers[name], norm = measure(net.get_submodule(name).weight.detach().cpu().double())
            norms.append(norm)
        total = math.hypot(*layers.values())
        row = {KEY: total} | {f"{KEY}/{name}": value for name, value in layers.items()}
        if not self.owners:  # whose norms are their own affair
            row[f"relative_{KEY}"] = total / (math.hypot(*norms) or 1.0)
        return row

    def _convolution(self, conv: nn.Conv2d, trace: Trace, use: Use, where: str) -> LayerMeasure:
        if use.given.ndim != 4 or (not has_space(use.given) and trace.carried(use) != "vector"):
            raise _unknown_input(where, "Conv2d")
        (height, width), (rows, columns) = use.given.shape[-2:], use.made.shape[-2:]
        if height != width or rows != columns:
            raise ConfigError(
                f"{where} goes from maps of {height} x {width} to {rows} x {columns} pixels; analysis.group={self.group} acts on "
                "square ones."
            )
        if height != rows and self.group not in ANY_SIDES:
            raise ConfigError(
                f"{where} goes from maps of {height} x {height} to {rows} x {rows} pixels, on which analysis.group={self.group} "
                f"does not act alike; analysis.group={' or '.join(sorted(ANY_SIDES))} does."
            )
        if conv.padding_mode not in ("zeros", "circular"):
            raise ConfigError(
                f"{where} has padding_mode={conv.padding_mode}; the distance is known for zeros and circular."
            )
        deviation, norm = distance_matrices(self.group, stencil_of(conv, height, rows))

        def measure(weight: Tensor) -> tuple[float, float]:
            taps = weight.flatten(2).flatten(0, 1).T.contiguous()  # [T, C_out C_in]
            return float((deviation @ taps).norm()), float((norm @ taps).norm())

        return measure

    def _linear(self, trace: Trace, use: Use, where: str) -> LayerMeasure:
        carried = trace.carried(use) if use.given.ndim == 2 else None
        if carried is None:
            raise _unknown_input(where, "Linear")
        if carried == "vector":
            return lambda weight: (0.0, float(weight.norm()))
        maps = next(iter(trace.origins(use).values()))
        channels, height, width = maps.shape[1:]
        if height != width:
            raise ConfigError(
                f"{where} takes a map of {height} x {width} pixels; analysis.group={self.group} acts on square ones."
            )
        orbits = Orbits.of(point_codes(self.group, height).unsqueeze(0))

        def measure(weight: Tensor) -> tuple[float, float]:
            if carried == "channels first":
                weight = weight.unflatten(1, (channels, height * width)).transpose(1, 2)
            else:
                weight = weight.unflatten(1, (height * width, channels))
            rows = weight.unsqueeze(1).unsqueeze(
                1
            )  # [K, 1, 1, points, C]: an output is a map of one point and one channel
            return float((rows - orbits.mean(rows)).norm()), float(weight.norm())

        return measure


def stencil_of(conv: nn.Conv2d, side_in: int, side_out: int) -> Stencil:
    """The geometry of a convolution between maps of these sides."""
    if conv.padding == "same":
        padding = tuple(
            d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)
        )
    else:
        padding = (0, 0) if isinstance(conv.padding, str) else conv.padding
    circular = conv.padding_mode == "circular"
    return Stencil(
        side_in, side_out, conv.kernel_size, conv.stride, padding, conv.dilation, circular
    )


def owners(net: nn.Module) -> dict[str, nn.Module]:
    """The outermost modules that bring a measure of their own, `distance_to_equivariance(group) ->
    {layer: distance}`.
    """
    found: dict[str, nn.Module] = {}
    for name, module in net.named_modules():
        if hasattr(module, KEY) and not _inside(name, found):
            found[name] = module
    return found


def measurable(net: nn.Module) -> dict[str, nn.Module]:
    """The layers with weights that act on maps, by name; what describes a learned symmetry has
    none.

    Raises:
        ConfigError: the distance of one of them is not known.
    """
    own = owners(net)
    found: dict[str, nn.Module] = {}
    for name, module in net.named_modules():
        if (
            _inside(name, own)
            or isinstance(module, LearnedSymmetry)
            or not list(module.parameters(recurse=False))
        ):
            continue
        if not (isinstance(module, NORMALISATIONS) or _is_plain(module)):
            whole, kind = type(net).__name__, type(module).__name__
            layer = f"{name} of {whole} is a {kind}" if name else f"{whole} has weights of its own"
            raise ConfigError(
                f"analysis.{KEY}=true: {layer}; the distance is known for Conv2d, Linear and normalisation layers."
            )
        found[name] = module
    return found


def _inside(name: str, own: dict[str, nn.Module]) -> bool:
    return any(not owner or name == owner or name.startswith(f"{owner}.") for owner in own)


def _is_plain(module: nn.Module) -> bool:
    """Whether a module does with its weight what torch's layer does."""
    if isinstance(module, nn.Conv2d):
        return (
            type(module).forward is nn.Conv2d.forward
            and type(module)._conv_forward is nn.Conv2d._conv_forward
        )
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward


def _check_normalisation(module: nn.Module, trace: Trace, uses: list[Use], where: str) -> None:
    """Its affine map must be the same on all pixels."""
    for use in uses:
        per_channel = has_space(use.given) and not isinstance(module, nn.LayerNorm)
        if not per_channel and trace.carried(use) != "vector":
            raise ConfigError(
                f"{where} is a {type(module).__name__} with weights over space; the distance is known for Conv2d, Linear and "
                "normalisation layers with weights per channel."
            )


def _unknown_input(where: str, kind: str) -> ConfigError:
    return ConfigError(
        f"{where} is a {kind} on something else than a flattened map or numbers without space, and how the group acts on that is "
        "not known."
    )
