"""Find how a group of pixels acts on the inputs of layers.

On maps [B, C, s, s] the group permutes pixels and leaves channels alone; on what a measured layer
gives without space, [B, F] or [B, F, 1, 1], it does nothing. What becomes of a map on its way to a
layer that takes no space (a pooling, a flattening, something else) is tried out in one pass: the
example, and the output of every layer, is replaced by a batch of three, a random map and the same
map with its pixels permuted in two ways.
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from learnsym.errors import ConfigError
from learnsym.schema import PlainDict
from learnsym.utils.double_backward import graph_nodes

Action = Literal["trivial", "channels first", "pixels first"]
"""On numbers [B, F]: none, or that on a flattened map [C, s, s] or [s, s, C]."""
_POOLINGS = ("max", "avg", "lp", "adaptive_max", "adaptive_avg", "fractional_max")
_RESAMPLING = {
    *(f"{name}_pool2d{suffix}" for name in _POOLINGS for suffix in ("", "_with_indices")),
    *("interpolate", "upsample", "grid_sample"),
}
"""Functions whose maps have pixels of their own, which the group permutes."""


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer, and the action on an input made of the map `source`; None: unknown."""

    input: Tensor
    output: Tensor
    action: Action | None
    source: Tensor | None


class FeatureActions(TorchFunctionMode):
    """One pass, of a copy in float64, that finds the action on the inputs of layers.

    It records the `calls` of layers; the action passes through those that are `normalisations`.
    A map may have been made of a layer's output without space: then something was `unflattened`.
    """

    def __init__(
        self,
        net: nn.Module,
        layers: Collection[str],
        normalisations: Collection[str],
        example: Tensor,
    ) -> None:
        super().__init__()
        self.calls: dict[str, list[LayerCall]] = {name: [] for name in layers}
        self.unflattened = False
        self._draws = torch.Generator().manual_seed(0)
        self._sources: list[Tensor] = []  # random maps, and numbers without space
        self._inside_layer = False
        net, example = copy.deepcopy(net).double().eval(), example.double()
        for name in layers:
            self._watch(name, net.get_submodule(name), name in normalisations)
        with torch.enable_grad(), torch.random.fork_rng(devices=[]), self:
            net(self._replaced(torch.cat([example] * 3)))

    def _watch(self, name: str, module: nn.Module, normalises: bool) -> None:
        actions: list[tuple[Action | None, Tensor | None]] = []

        def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            actions.append(self._action(inputs[0]))
            self._inside_layer = not normalises

        def after(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            self._inside_layer = False
            self.calls[name].append(LayerCall(inputs[0], output, *actions.pop()))
            constant = len(output) % 3 > 0  # an embedding, say, of a batch of one
            return output if normalises or constant else self._replaced(output)

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    def _replaced(self, x: Tensor) -> Tensor:
        """Return a random map and two permutations of it; numbers without space three times."""
        one = x.detach()[: len(x) // 3]
        variants = [one, one, one]
        if has_space(x):
            random = torch.randn(one.shape, generator=self._draws, dtype=x.dtype)
            orders = _permutations(x.shape[-2:].numel())
            variants = [random, *(random.flatten(-2)[..., o].view(one.shape) for o in orders)]
        self._sources.append(torch.cat(variants).requires_grad_())
        return self._sources[-1].clone()  # which may change in place

    def _sources_of(self, x: Tensor) -> list[Tensor]:
        """Find in the graph of a tensor what it was made of."""
        leaves = {id(getattr(node, "variable", None)) for node in graph_nodes([x])}
        return [source for source in self._sources if id(source) in leaves]

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: PlainDict | None = None
    ) -> Any:
        """Call a function of torch's; maps that it has resampled have pixels of their own."""
        result = function(*args, **(kwargs or {}))
        maps = [x for x in tree_leaves(result) if isinstance(x, Tensor) and has_space(x)]
        sources = [] if self._inside_layer else [s for x in maps for s in self._sources_of(x)]
        if sources and getattr(function, "__name__", "") in _RESAMPLING:
            return tree_map(lambda x: self._replaced(x) if isinstance(x, Tensor) else x, result)
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if not all(map(has_space, sources)) and not any(map(has_space, inputs)):
            self.unflattened = True
        return result

    def _action(self, x: Tensor) -> tuple[Action | None, Tensor | None]:
        """Find the action on a layer's input, and its flattened map."""
        if x.ndim < 2:
            return None, None
        random, *permuted = x.detach().flatten(1).chunk(3)
        if all(_same(random, value) for value in permuted):
            return "trivial", None
        maps = [source for source in self._sources_of(x) if has_space(source)]
        return (_flattening(random, permuted, maps[0]), maps[0]) if len(maps) == 1 else (None, None)


def _flattening(before: Tensor, after: Sequence[Tensor], source: Tensor) -> Action | None:
    """Find the order in which [B, F] holds the pixels and channels of a map."""
    channels, pixels = source.shape[1], source.shape[-2:].numel()
    if before.shape[1] != channels * pixels:
        return None
    pairs = list(zip(_permutations(pixels), after, strict=True))
    maps = before.unflatten(1, (channels, pixels))
    if all(_same(maps[:, :, order].flatten(1), x) for order, x in pairs):
        return "channels first"
    maps = before.unflatten(1, (pixels, channels))
    return "pixels first" if all(_same(maps[:, o].flatten(1), x) for o, x in pairs) else None


def _permutations(points: int) -> tuple[Tensor, Tensor]:
    """Return a cycle of all points and the exchange of the first two."""
    return torch.arange(points).roll(1), torch.tensor([1, 0, *range(2, points)])


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-9, atol=1e-9)


def has_space(x: Tensor) -> bool:
    """Tell whether a tensor is a map, [B, C, H, W] with more than one pixel."""
    return x.ndim == 4 and x.shape[-2:].numel() > 1


def single_call(calls: list[LayerCall], layer: str) -> LayerCall:
    """Select the first call of a layer; ConfigError if there is none or its maps differ in size."""
    if not calls:
        raise ConfigError(
            f"{layer} takes no part in a forward pass as a module, so the maps that it acts on are "
            "not known."
        )
    if len({(call.input.shape[1:], call.output.shape[1:]) for call in calls}) > 1:
        raise ConfigError(
            f"{layer} is used on maps of different sizes; the distance is known for layers with "
            "one."
        )
    return calls[0]
