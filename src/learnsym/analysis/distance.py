"""Measure how far layers are from commuting with a group of pixels.

It is ||A - Pi A|| of every layer's linear map A, with Pi the mean over the group (Reynolds): how
far a network that is free to leave the equivariant networks has gone (Flinth and Ohlsson 2023).
Maps [B, C, s, s] carry the group that permutes the pixels of s x s images, s their own side, and
numbers without space the trivial one (see `learnsym.analysis.feature_action`):

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
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from learnsym.analysis.feature_action import FeatureActions, LayerCall, has_space, single_call
from learnsym.distributions.base import LearnedSymmetry
from learnsym.errors import ConfigError
from learnsym.groups.conv_projection import ANY_SIDES, Stencil, distance_matrices
from learnsym.groups.permutation import GroupName, named_group

Measure = Callable[[nn.Module], dict[str, float]]
LayerMeasure = Callable[[Tensor], tuple[float, float]]
"""From a layer's weight in float64 to the distance and the norm of its map."""
KEY = "distance_to_equivariance"
_NORMALISATIONS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
_NORMALISATIONS += (nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm)


@runtime_checkable
class KnowsDistance(Protocol):
    """A module that measures the distance of its layers, such as `ProjectedLinear`."""

    def distance_to_equivariance(self, group: GroupName) -> dict[str, float]:
        """Measure each layer; raise a ValueError for a group without action."""


@dataclass(frozen=True)
class AnalysisSettings:
    """Measurements of a training besides its metrics.

    Attributes:
        distance_to_equivariance: of the layers, after every epoch.
        group: with respect to which group.
        equivariance_angles: for rotations by these angles in degrees, the equivariance error of
            output and layers before and after the training (see `learnsym.modes.equivariance`).
    """

    distance_to_equivariance: bool = False
    group: GroupName = "quarter_turns"
    equivariance_angles: tuple[float, ...] = ()

    def measure(self, net: nn.Module, example: Tensor) -> Measure | None:
        """Return the `Distance` to call after every epoch, None if nothing is measured."""
        return Distance(net, example, self.group) if self.distance_to_equivariance else None


class Distance:
    """Measure the distance in total, per layer, and relative to the norm.

    The network is on the CPU and stays as it is, the example [B, C, H, W]. A ConfigError says where
    the distance of a layer is not known.
    """

    def __init__(self, net: nn.Module, example: Tensor, group: GroupName) -> None:
        self.group = group
        self.owners = _owners(net)
        for owner in self.owners.values():
            try:
                owner.distance_to_equivariance(group)
            except ValueError as error:
                raise ConfigError(f"analysis.group={group}: {error}.") from error
        modules = measurable(net)
        self.layers = self._layer_measures(net, modules, example) if modules else {}

    def _layer_measures(
        self, net: nn.Module, modules: dict[str, nn.Module], example: Tensor
    ) -> dict[str, LayerMeasure]:
        norms = [name for name, module in modules.items() if isinstance(module, _NORMALISATIONS)]
        actions = FeatureActions(net, modules, norms, example)
        if actions.unflattened:
            raise ConfigError(
                f"analysis.{KEY}=true: {type(net).__name__} makes maps of what a layer gives "
                f"without space, and how {self.group} acts on those is not known."
            )
        measures: dict[str, LayerMeasure] = {}
        for name, module in modules.items():
            layer, calls = f"analysis.{KEY}=true: {name} of {type(net).__name__}", actions.calls
            if name in norms:
                _check_normalisation(module, calls[name], layer)
            elif isinstance(module, nn.Conv2d):
                measures[name] = self._convolution(module, single_call(calls[name], layer), layer)
            else:
                measures[name] = self._linear(single_call(calls[name], layer), layer)
        return measures

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> dict[str, float]:
        """Measure the distances as the weights are now."""
        norms: list[float] = []
        layers = {
            f"{name}.{layer}".removeprefix("."): float(value)
            for name, owner in _owners(net).items()
            for layer, value in owner.distance_to_equivariance(self.group).items()
        }
        for name, measure in self.layers.items():
            weight = net.get_parameter(f"{name}.weight".removeprefix("."))
            layers[name], norm = measure(weight.detach().cpu().double())
            norms.append(norm)
        total = math.hypot(*layers.values())
        row = {KEY: total} | {f"{KEY}/{name}": value for name, value in layers.items()}
        if not self.owners:  # whose norms are not known
            row[f"relative_{KEY}"] = total / (math.hypot(*norms) or 1.0)
        return row

    def _convolution(self, conv: nn.Conv2d, call: LayerCall, layer: str) -> LayerMeasure:
        if call.input.ndim != 4 or not (has_space(call.input) or call.action == "trivial"):
            raise _unknown_input(layer, "Conv2d")
        (height, width), (rows, columns) = call.input.shape[-2:], call.output.shape[-2:]
        sizes = f"{layer} goes from maps of {height} x {width} to {rows} x {columns} pixels"
        if height != width or rows != columns:
            raise ConfigError(f"{sizes}; analysis.group={self.group} acts on square ones.")
        if height != rows and self.group not in ANY_SIDES:
            raise ConfigError(
                f"{sizes}, on which analysis.group={self.group} does not act alike; "
                f"analysis.group={' or '.join(sorted(ANY_SIDES))} does."
            )
        if conv.padding_mode not in ("zeros", "circular"):
            raise ConfigError(
                f"{layer} has padding_mode={conv.padding_mode}; the distance is known for zeros "
                "and circular."
            )
        deviation, norm = distance_matrices(self.group, stencil_of(conv, height, rows))

        def measure(weight: Tensor) -> tuple[float, float]:
            taps = weight.flatten(2).flatten(0, 1).T.contiguous()  # [T, C_out C_in]
            return float((deviation @ taps).norm()), float((norm @ taps).norm())

        return measure

    def _linear(self, call: LayerCall, layer: str) -> LayerMeasure:
        if call.input.ndim != 2 or call.action is None:
            raise _unknown_input(layer, "Linear")
        if call.action == "trivial" or call.source is None:
            return lambda weight: (0.0, float(weight.norm()))
        channels_first = call.action == "channels first"
        channels, height, width = call.source.shape[1:]
        if height != width:
            raise ConfigError(
                f"{layer} takes a map of {height} x {width} pixels; analysis.group={self.group} "
                "acts on square ones."
            )
        group = named_group(self.group, height)

        def measure(weight: Tensor) -> tuple[float, float]:
            if channels_first:
                weight = weight.unflatten(1, (channels, height * width)).transpose(1, 2)
            else:
                weight = weight.unflatten(1, (height * width, channels))
            return float((weight - group.project_invariant(weight)).norm()), float(weight.norm())

        return measure


def stencil_of(conv: nn.Conv2d, side_in: int, side_out: int) -> Stencil:
    """Describe the geometry of a convolution between maps of these sides."""
    kernel, padding, dilation = conv.kernel_size, conv.padding, conv.dilation
    if isinstance(padding, str):
        reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        padding = tuple(n // 2 if padding == "same" else 0 for n in reach)
    circular = conv.padding_mode == "circular"
    return Stencil(side_in, side_out, kernel, conv.stride, padding, dilation, circular)


def _owners(net: nn.Module) -> dict[str, KnowsDistance]:
    """Find the outermost modules that know their distance."""
    owners: dict[str, KnowsDistance] = {}
    for name, module in net.named_modules():
        if isinstance(module, KnowsDistance) and not _is_inside(name, owners):
            owners[name] = module
    return owners


def measurable(net: nn.Module) -> dict[str, nn.Module]:
    """Find the layers with weights that act on maps, by name; ConfigError for unknown ones."""
    owners = _owners(net)
    layers: dict[str, nn.Module] = {}
    for name, module in net.named_modules():
        has_weights = any(True for _ in module.parameters(recurse=False))
        if not has_weights or isinstance(module, LearnedSymmetry) or _is_inside(name, owners):
            continue
        if not (isinstance(module, _NORMALISATIONS) or _is_plain(module)):
            whole, kind = type(net).__name__, type(module).__name__
            layer = f"{name} of {whole} is a {kind}" if name else f"{whole} has weights of its own"
            raise ConfigError(
                f"analysis.{KEY}=true: {layer}; the distance is known for Conv2d, Linear and "
                "normalisation layers."
            )
        layers[name] = module
    return layers


def _is_inside(name: str, owners: dict[str, KnowsDistance]) -> bool:
    return any(not owner or name == owner or name.startswith(f"{owner}.") for owner in owners)


def _is_plain(module: nn.Module) -> bool:
    """Tell whether a module does with its weight what torch's layer does."""
    cls = type(module)
    if isinstance(module, nn.Conv2d):
        plain = nn.Conv2d
        return (cls.forward, cls._conv_forward) == (plain.forward, plain._conv_forward)  # type: ignore[attr-defined]
    return isinstance(module, nn.Linear) and cls.forward is nn.Linear.forward


def _check_normalisation(module: nn.Module, calls: list[LayerCall], layer: str) -> None:
    """Refuse an affine map that differs between pixels."""
    for call in calls:
        per_channel = has_space(call.input) and not isinstance(module, nn.LayerNorm)
        if not per_channel and call.action != "trivial":
            raise ConfigError(
                f"{layer} is a {type(module).__name__} with weights over space; the distance is "
                "known for Conv2d, Linear and normalisation layers with weights per channel."
            )


def _unknown_input(layer: str, kind: str) -> ConfigError:
    return ConfigError(
        f"{layer} is a {kind} on something else than a flattened map or numbers without space, and "
        "how the group acts on that is not known."
    )
