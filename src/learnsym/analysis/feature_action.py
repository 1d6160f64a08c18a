"""How a group that permutes pixels acts on what the layers of a network take: found by watching one
pass of one example.

On maps [B, C, s, s] the group permutes pixels and leaves channels alone; on what a measured layer
gives without space, [B, F] or [B, F, 1, 1], it does nothing. What becomes of a map on its way to a
layer that takes no space (a pooling, a flattening, something else) is tried out: the operations in
between are done again for random maps and for the same maps with their pixels permuted.
"""

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from learnsym.errors import ConfigError

Carried = Literal["vector", "channels first", "pixels first"]
"""What a layer without space takes: numbers that the group leaves alone, or a flattened map [C, s,
s] or [s, s, C]."""
GRIDS = frozenset(
    {
        *(
            f"{kind}_pool2d"
            for kind in ("max", "avg", "lp", "adaptive_max", "adaptive_avg", "fractional_max")
        ),
        *(f"{kind}_pool2d_with_indices" for kind in ("max", "adaptive_max", "fractional_max")),
        *("interpolate", "upsample", "grid_sample"),
    }
)
"""Functions whose 4-dimensional result is a map [B, C, H, W] on pixels of its own. What others make
of a map is tried out."""


@dataclass(frozen=True)
class Use:
    """One call of a layer.

    Attributes:
        before: how many operations had been done.
        given, made: its input and output.
    """

    before: int
    given: Tensor
    made: Tensor


@dataclass(frozen=True)
class Operation:
    """One function of torch's, as it was called."""

    function: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    made: Any

    def again(self, values: Mapping[int, Tensor]) -> Any:
        """Its result with other values, by the id of the tensor that they stand for."""
        args, kwargs = tree_map(lambda x: values.get(id(x), x), (self.args, dict(self.kwargs)))
        return self.function(*args, **kwargs)


class Trace(TorchFunctionMode):
    """One pass: every operation in order, and every call of the layers to be measured."""

    def __init__(self, net: nn.Module, layers: Collection[str], example: Tensor) -> None:
        """Args:
        net: left as it is; a copy in evaluation and float64 makes the pass.
        layers: names of the modules to watch.
        example: an input.
        """
        super().__init__()
        self.operations: list[Operation] = []
        self.uses: dict[str, list[Use]] = {name: [] for name in layers}
        self._makers: dict[int, list[int]] = {}
        self._ends: set[int] = set()
        self._grids: set[int] = set()
        twin = copy.deepcopy(net).double().eval()
        for name in layers:
            self._watch(name, twin.get_submodule(name))
        with torch.no_grad(), torch.random.fork_rng(devices=[]), self:
            twin(example.double())

    def _watch(self, name: str, module: nn.Module) -> None:
        started: list[int] = []
        module.register_forward_pre_hook(lambda *_: started.append(len(self.operations)))
        module.register_forward_hook(
            lambda _m, given, made: self.uses[name].append(Use(started.pop(), given[0], made))
        )

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves(made) if isinstance(x, Tensor)]
        for tensor in tensors:  # all stay alive in the list of operations: an id means one tensor
            self._makers.setdefault(id(tensor), []).append(len(self.operations))
        if tensors:
            self.operations.append(Operation(function, args, kwargs or {}, made))
        return made

    def end_at(self, layers: Collection[str]) -> None:
        """What these layers give, maps or numbers that the group leaves alone, is not traced
        further back.
        """
        made = [use.made for name in layers for use in self.uses[name]]
        self._ends = {id(x) for x in made if not has_space(x)}
        self._grids = {id(x) for x in made if has_space(x)}

    def carried(self, use: Use) -> Carried | None:
        """How the group acts on the input [B, F, ...] of a layer without space; None: in no way
        known here.
        """
        maps, path = self._origin(use.given, use.before)
        draw = torch.Generator().manual_seed(0)
        random = {
            key: torch.randn(x.shape, generator=draw, dtype=x.dtype) for key, x in maps.items()
        }
        before = self._again(path, random, use.given).flatten(1)
        ways: list[Carried | None] = []
        for permute in (_cycle, _exchange):  # together they generate all permutations of the pixels
            orders = {key: permute(x.shape[-2:].numel()) for key, x in maps.items()}
            moved = {
                key: x.flatten(-2)[..., orders[key]].view(x.shape) for key, x in random.items()
            }
            after = self._again(path, moved, use.given).flatten(1)
            ways.append(
                _way(before, after, [x.shape[1] for x in maps.values()], list(orders.values()))
            )
        return ways[0] if ways[0] == ways[1] else None

    def origins(self, use: Use) -> dict[int, Tensor]:
        """The maps that the input of a layer without space was made of."""
        return self._origin(use.given, use.before)[0]

    def unfolded(self) -> bool:
        """Whether a map was made of what a layer gave without space: on it the group would have to
        do something after all.
        """
        for place, operation in enumerate(self.operations):
            made = [
                x for x in tree_leaves(operation.made) if isinstance(x, Tensor) and has_space(x)
            ]
            given = list(_tensors(operation))
            if made and not any(has_space(x) for x in given):
                origins = [self._origin(x, place) for x in given]
                if any(id(x) in self._ends for x in given) or any(
                    self._reaches_an_end(path) for _, path in origins
                ):
                    return True
        return False

    def _reaches_an_end(self, path: list[int]) -> bool:
        return any(id(x) in self._ends for place in path for x in _tensors(self.operations[place]))

    def _origin(self, tensor: Tensor, before: int) -> tuple[dict[int, Tensor], list[int]]:
        """The maps that a tensor was made of, by their ids, and the operations in between in their
        order.
        """
        maps: dict[int, Tensor] = {}
        path: set[int] = set()
        open_ = [(tensor, before)]
        while open_:
            x, limit = open_.pop()
            if id(x) in self._ends:
                continue
            place = max((m for m in self._makers.get(id(x), ()) if m < limit), default=None)
            if has_space(x) and (
                place is None or id(x) in self._grids or _name(self.operations[place]) in GRIDS
            ):
                maps[id(x)] = x
            elif place is not None and place not in path:
                path.add(place)
                open_ += [(given, place) for given in _tensors(self.operations[place])]
        return maps, sorted(path)

    def _again(self, path: list[int], maps: Mapping[int, Tensor], wanted: Tensor) -> Tensor:
        """A tensor as it comes out for other maps."""
        values = {key: x.clone() for key, x in maps.items()}
        with torch.no_grad():
            for place in path:
                operation = self.operations[place]
                old, new = tree_leaves(operation.made), tree_leaves(operation.again(values))
                values |= {id(a): b for a, b in zip(old, new, strict=True) if isinstance(a, Tensor)}
        return values.get(id(wanted), wanted)


def has_space(x: Tensor) -> bool:
    """Whether a tensor is a map: [B, C, H, W] with more than one pixel."""
    return x.ndim == 4 and x.shape[-2:].numel() > 1


def _tensors(operation: Operation) -> Iterator[Tensor]:
    """What an operation was given."""
    return (
        x for x in tree_leaves((operation.args, dict(operation.kwargs))) if isinstance(x, Tensor)
    )


def _name(operation: Operation) -> str:
    return getattr(operation.function, "__name__", "")


def _cycle(points: int) -> Tensor:
    """A permutation that moves every pixel."""
    return torch.arange(points).roll(1)


def _exchange(points: int) -> Tensor:
    """The permutation of the first two pixels."""
    return torch.tensor([1, 0, *range(2, points)])


def _way(
    before: Tensor, after: Tensor, channels: list[int], orders: list[Tensor]
) -> Carried | None:
    """What numbers [B, F] have become when the pixels of the maps that they were made of were put
    in these orders.
    """
    if _same(before, after):
        return "vector"
    if len(orders) != 1 or before.shape[1] != channels[0] * len(orders[0]):
        return None
    if _same(before.unflatten(1, (channels[0], -1))[:, :, orders[0]].flatten(1), after):
        return "channels first"
    if _same(before.unflatten(1, (-1, channels[0]))[:, orders[0]].flatten(1), after):
        return "pixels first"
    return None


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-9, atol=1e-9)


def one_use(uses: list[Use], where: str) -> Use:
    """The call of a layer; of several on maps of one size the first.

    Raises:
        ConfigError: there is none, or the maps differ in size.
    """
    if not uses:
        raise ConfigError(
            f"{where} takes no part in a forward pass as a module, so the maps that it acts on are not known."
        )
    if len({(use.given.shape[1:], use.made.shape[1:]) for use in uses}) > 1:
        raise ConfigError(
            f"{where} is used on maps of different sizes; the distance is known for layers with one."
        )
    return uses[0]
