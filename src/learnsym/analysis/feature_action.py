"""Find how a group of pixels acts on the inputs of layers.

On maps [B, C, s, s] the group permutes pixels and leaves channels alone; on what a measured layer
gives without space, [B, F] or [B, F, 1, 1], it does nothing. What becomes of a map on its way to a
layer that takes no space (a pooling, a flattening, something else) is tried out in one pass of one
example: every operation is done on random maps as well, and on the same maps with their pixels
permuted.
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


@dataclass(frozen=True)
class _Variants:
    """Values of a tensor made of `maps` (by id), for random ones and permutations of their pixels.

    It was made of a layer's output without space too, if `from_layer`.
    """

    values: tuple[Tensor, ...]
    maps: dict[int, Tensor]
    from_layer: bool = False


class FeatureActions(TorchFunctionMode):
    """One pass, of a copy in float64, that finds the action on the inputs of layers.

    It watches modules by name; the action passes through those that are `normalisations`.

    Attributes:
        calls: the calls of every layer.
        unflattened: whether a map was made of a layer's output without space.
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
        self._variants: dict[int, _Variants] = {}
        self._alive: list[Tensor] = []  # so that an id means one tensor
        self._inside_layer = False
        net, example = copy.deepcopy(net).double().eval(), example.double()
        for name in layers:
            self._watch(name, net.get_submodule(name), name in normalisations)
        self._set(example, self._fresh(example))
        with torch.no_grad(), torch.random.fork_rng(devices=[]), self:
            net(example)

    def _watch(self, name: str, module: nn.Module, normalises: bool) -> None:
        actions: list[tuple[Action | None, Tensor | None]] = []

        def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            actions.append(self._action(inputs[0]))
            self._inside_layer = not normalises

        def after(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._inside_layer = False
            self.calls[name].append(LayerCall(inputs[0], output, *actions.pop()))
            if not normalises:
                fresh = _Variants((output.clone(), output.clone(), output.clone()), {}, True)
                self._set(output, self._fresh(output) if has_space(output) else fresh)

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    def _fresh(self, x: Tensor) -> _Variants:
        """Draw a random map, and permute its pixels."""
        random = torch.randn(x.shape, generator=self._draws, dtype=x.dtype)
        orders = _permutations(x.shape[-2:].numel())
        permuted = [random.flatten(-2)[..., order].view(x.shape) for order in orders]
        return _Variants((random, *permuted), {id(x): x})

    def _set(self, x: Tensor, variants: _Variants) -> None:
        self._alive.append(x)
        self._variants[id(x)] = variants

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: PlainDict | None = None
    ) -> Any:
        """Call a function of torch's, also on the variants of its inputs."""
        call = (args, kwargs or {})
        inputs = [x for x in tree_leaves(call) if isinstance(x, Tensor)]
        variants = [self._variants[id(x)] for x in inputs if id(x) in self._variants]
        if self._inside_layer or not variants:
            return function(*args, **call[1])
        others = [self._call_on_variant(function, call, index) for index in range(3)]
        result = function(*args, **call[1])
        maps = {key: x for v in variants for key, x in v.maps.items()}
        from_layer = any(v.from_layer for v in variants)
        for x, *values in zip(tree_leaves(result), *map(tree_leaves, others), strict=True):
            if not isinstance(x, Tensor):
                continue
            if has_space(x) and getattr(function, "__name__", "") in _RESAMPLING:
                self._set(x, self._fresh(x))
                continue
            self._set(x, _Variants(tuple(values), maps, from_layer))
            if has_space(x) and from_layer and not any(map(has_space, inputs)):
                self.unflattened = True
        return result

    def _call_on_variant(self, function: Any, call: Any, index: int) -> Any:
        def swap(x: object) -> object:
            if id(x) in self._variants:
                return self._variants[id(x)].values[index]
            # A function in place must not change what all variants share.
            return x.clone() if isinstance(x, Tensor) else x

        args, kwargs = tree_map(swap, call)
        return function(*args, **kwargs)

    def _action(self, x: Tensor) -> tuple[Action | None, Tensor | None]:
        """Find the action on a layer's input, and its flattened map."""
        variants = self._variants.get(id(x))
        if variants is None:
            return "trivial", None
        if x.ndim < 2:
            return None, None
        random, *permuted = (value.flatten(1) for value in variants.values)
        if all(_same(random, value) for value in permuted):
            return "trivial", None
        if len(variants.maps) != 1:
            return None, None
        (source,) = variants.maps.values()
        return _flattening(random, permuted, source), source


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
