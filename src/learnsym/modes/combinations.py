"""What the command line says of combinations of network, convolution, group, data set and recipe,
without its start-up for each.

The choices are the files in cfg/. Hydra composes every part once; configurations of combinations
are put together from parts, and go through the checks of `learnsym.run.run`. A check is made once
for all combinations that it cannot tell apart:

* a convolution or group that the network does not take changes nothing but that it is refused;
* before data are read, data sets differ by kind, task and channels alone, and by their names in
  what is said;
* what fits a network depends on the shape and number of classes of the examples, and not on how
  wide it is: networks are made narrow for that, and have their own width where they are refused
  with a sentence that depends on it;
* of one's own data only the file can tell what fits: what fits examples of the shape of some data
  set is valid;
* a recipe (optimiser and schedule) is checked once: it goes with all or with none.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product, zip_longest
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from learnsym.config.allowed_classes import get_class
from learnsym.config.build import build
from learnsym.config.search_path import CONFIG_DIR, choices_of
from learnsym.config.validate import check
from learnsym.data.base import Data, Form
from learnsym.data.synthetic import twin
from learnsym.errors import LearnSymError
from learnsym.run.checks import Request, check_combination, check_effect
from learnsym.run.context import dry_forward

AXES = ("conv", "base_group")
"""What a network may be made of; each network takes some of them."""
TRAIN = {"mode": "train"}


@dataclass(frozen=True)
class Cell:
    """One combination, as typed; what is None is not typed.

    Attributes:
        net: a choice of `net`, with one of `net/backbone` after a slash where it takes one.
        conv, base_group, dataset, optimizer, schedule: choices of these groups.
    """

    net: str
    dataset: str
    conv: str | None = None
    base_group: str | None = None
    optimizer: str | None = None
    schedule: str | None = None

    @property
    def overrides(self) -> list[str]:
        """The words of the command line, but for the file of one's own data."""
        net, _, backbone = self.net.partition("/")
        typed = {
            "net": net,
            "net/backbone": backbone,
            "conv": self.conv,
            "base_group": self.base_group,
            "dataset": self.dataset,
        }
        typed |= {"train/optimizer": self.optimizer, "train/schedule": self.schedule}
        return [f"{group}={choice}" for group, choice in typed.items() if choice]


@contextmanager
def composing() -> Iterator[None]:
    """Within, Hydra composes from cfg/; what it was doing before, such as running `main.py`, is put
    back.
    """
    instance = GlobalHydra.instance()
    before = instance.hydra
    instance.clear()
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            yield
    finally:
        instance.hydra = before


def sentence_of(check_it: Callable[[], Any]) -> str | None:
    """What a check refuses with; None if it does not."""
    try:
        check_it()
    except LearnSymError as error:
        return str(error)
    return None


class Combinations:
    """All combinations and their verdicts."""

    def __init__(self, narrow: Mapping[str, int]) -> None:
        """Args:
        narrow: settings of networks -> the size with which they are tried (lists: for every
            element).
        """
        self.narrow = narrow
        self.datasets, self.groups, self.convs = (
            choices_of(g) for g in ("dataset", "base_group", "conv")
        )
        self.optimizers, self.schedules = (
            choices_of("train/optimizer"),
            choices_of("train/schedule"),
        )
        self.parts: dict[tuple[str, str], Any] = {}
        self.kinds: dict[str, str] = {}
        self.missing: dict[str, list[str]] = {}
        with composing():
            self._compose_parts()
            self.wholes = dict(self._compose_networks())
        self.nets = list(dict.fromkeys(net for net, _ in self.wholes))
        self._names, self._effect, self._parts = (
            cache(self._names_of),
            cache(self._effect_of),
            cache(self._parts_of),
        )
        self._fit, self.recipe, self.takes = (
            cache(self._fit_of),
            cache(self._recipe_of),
            cache(self._takes),
        )
        self._plain = cache(lambda net, dataset: self.config(Cell(net, dataset)))

    def _compose_parts(self) -> None:
        """Every choice of every group but the networks, several at a time."""
        groups = ("dataset", "base_group", "conv", "train/optimizer", "train/schedule")
        lists = (self.datasets, self.groups, self.convs, self.optimizers, self.schedules)
        for chosen in zip_longest(*lists):
            typed = {group: choice for group, choice in zip(groups, chosen, strict=True) if choice}
            cfg = compose(
                "config", overrides=[f"{g}={c}" for g, c in typed.items()], return_hydra_config=True
            )
            for group, choice in typed.items():
                node = OmegaConf.select(cfg, group.replace("/", "."))
                self.parts[group, choice] = OmegaConf.to_container(node, resolve=False)
            if "dataset" in typed:
                self.kinds[typed["dataset"]] = cfg.hydra.runtime.choices["kind"]
                self._fill_in(typed["dataset"])

    def _fill_in(self, dataset: str) -> None:
        """The file of one's own data has a name, but is not there."""
        node = self.parts["dataset", dataset]
        self.missing[dataset] = [key for key, value in node.items() if value == "???"]
        node |= dict.fromkeys(self.missing[dataset], "FILE")

    def _compose_networks(self) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
        """A whole configuration of every network for every kind of data."""
        for net, kind in product(choices_of("net"), sorted(set(self.kinds.values()))):
            data = next(d for d in self.datasets if self.kinds[d] == kind)
            first = compose(
                "config", overrides=[f"net={net}", f"dataset={data}"], return_hydra_config=True
            )
            inner = (
                choices_of("net/backbone")
                if "net/backbone" in first.hydra.runtime.choices
                else [""]
            )
            for backbone in inner:
                name = f"{net}/{backbone}" if backbone else net
                cfg = compose("config", overrides=Cell(name, data).overrides)
                plain = OmegaConf.to_container(cfg, resolve=False)
                assert isinstance(plain, dict)
                yield (name, kind), plain

    # --- cells

    def cells(self) -> Iterator[Cell]:
        """All of them without recipes: what a network takes is typed, what it does not take is
        typed or not.
        """
        for net in self.nets:
            options = [
                [*choices, *([] if axis in self.takes(net) else [None])]
                for axis, choices in zip(AXES, (self.convs, self.groups), strict=True)
            ]
            for conv, group, dataset in product(*options, self.datasets):
                yield Cell(net, dataset, conv, group)

    def recipes(self) -> Iterator[tuple[str, str]]:
        """All recipes."""
        yield from product(self.optimizers, self.schedules)

    def _takes(self, net: str) -> tuple[str, ...]:
        """Which of the axes a network takes."""
        plain = next(whole["net"] for (name, _), whole in self.wholes.items() if name == net)
        found = set(re.findall(r"\$\{([\w.]+)\}", str(plain)))
        return tuple(axis for axis in AXES if axis in found)

    def stripped(self, cell: Cell) -> Cell:
        """Without what the network does not take."""
        return replace(cell, **{axis: None for axis in AXES if axis not in self.takes(cell.net)})

    def config(self, cell: Cell) -> DictConfig:
        """As Hydra would compose it."""
        whole = dict(self.wholes[cell.net, self.kinds[cell.dataset]])
        typed = {"dataset": cell.dataset, "base_group": cell.base_group, "conv": cell.conv}
        whole |= {group: self.parts[group, choice] for group, choice in typed.items() if choice}
        recipe = {"optimizer": cell.optimizer, "schedule": cell.schedule}
        whole["train"] = whole["train"] | {
            k: self.parts[f"train/{k}", choice] for k, choice in recipe.items() if choice
        }
        return OmegaConf.create(whole)

    # --- verdicts

    def refusal(self, cell: Cell) -> str | None:
        """The sentence with which `main.py` would refuse the combination; None where it is
        valid.
        """
        untrained = replace(cell, optimizer=None, schedule=None)
        plain = self.stripped(untrained)
        kind = next(d for d in self.datasets if self.kinds[d] == self.kinds[cell.dataset])
        refused = self._names(replace(plain, dataset=kind)) or self._effect(
            replace(untrained, dataset=kind)
        )
        if refused:
            return refused
        like = next(d for d in self.datasets if self._signature(d) == self._signature(cell.dataset))
        if refused := self._parts(replace(plain, dataset=like)):
            return re.sub(
                rf"\b{self._data_class(like).__name__}\b",
                self._data_class(cell.dataset).__name__,
                refused,
            )
        if (cell.optimizer or cell.schedule) and (
            refused := self.recipe(cell.optimizer, cell.schedule)
        ):
            return refused
        form = self._data_class(cell.dataset).form
        if form is None:
            said = [self._fit(plain, one) for one in self.own_forms[self.kinds[cell.dataset]]]
            return None if None in said else said[0]
        like = next(d for d in self.datasets if self._data_class(d).form == form)
        refused = self._fit(replace(plain, dataset=like), form)
        return refused and refused.replace(f"dataset={like}", f"dataset={cell.dataset}", 1)

    def _data_class(self, dataset: str) -> type[Data]:
        return get_class("dataset", self.parts["dataset", dataset]["_target_"])

    def _signature(self, dataset: str) -> tuple[Any, ...]:
        """What the checks before the data are read know of a data set."""
        cls = self._data_class(dataset)
        points = cls.kind == "points"
        return cls.kind, cls.in_channels if points else None, getattr(cls, "task", "classification")

    def _names_of(self, cell: Cell) -> str | None:
        return sentence_of(lambda: check(self.config(cell)))

    def _effect_of(self, cell: Cell) -> str | None:
        return sentence_of(
            lambda: check_effect(
                Request(self._plain(cell.net, cell.dataset), cell.overrides, TRAIN)
            )
        )

    def _parts_of(self, cell: Cell) -> str | None:
        return sentence_of(lambda: check_combination(Request(self.config(cell), [], TRAIN)))

    def _recipe_of(self, optimizer: str | None, schedule: str | None) -> str | None:
        cell = Cell(self.nets[0], self.datasets[0], optimizer=optimizer, schedule=schedule)
        return self._names(cell) or self._parts(cell)

    def _fit_of(self, cell: Cell, form: Form) -> str | None:
        """An example goes through the network, and comes out as its task needs it."""
        data, said = twin(form, cell.dataset), []
        for factor in (1, 2):
            narrow = self.config(cell)
            narrow_down(narrow, {key: factor * size for key, size in self.narrow.items()})
            said.append(sentence_of(lambda cfg=narrow: dry_forward(network(cfg, data, form), data)))
            if said[0] is None:
                return None
        if said[0] == said[1]:  # so that it does not speak of sizes
            return said[0]
        return sentence_of(lambda: dry_forward(network(self.config(cell), data, form), data))

    @cached_property
    def own_forms(self) -> dict[str, list[Form]]:
        """For each kind of data, what one's own may be: examples in classes, of the shape of some
        data set.
        """
        known = [(self.kinds[d], self._data_class(d).form) for d in self.datasets]
        forms = {
            (kind, replace(form, task="classification", outputs=2)): None
            for kind, form in known
            if form
        }
        return {kind: [form for k, form in forms if k == kind] for kind in set(self.kinds.values())}

    @cached_property
    def own(self) -> list[str]:
        """Data sets whose examples are what one's file has."""
        return [d for d in self.datasets if self._data_class(d).form is None]


def network(cfg: DictConfig, data: Data, form: Form) -> Any:
    """The network for a data set, as `build_context` builds it."""
    return build(cfg, "net", in_channels=data.in_channels, num_outputs=form.outputs, task=form.task)


def narrow_down(cfg: DictConfig, sizes: Mapping[str, int]) -> None:
    """Set sizes of the network, of what it is around and of its kernels, where they have such
    settings.
    """
    for path in ("net", "net.backbone", "kernel"):
        node = OmegaConf.select(cfg, path)
        for key, size in sizes.items() if isinstance(node, DictConfig) else ():
            if key in node and node[key] is not None:
                node[key] = [size] * len(node[key]) if OmegaConf.is_list(node[key]) else size
