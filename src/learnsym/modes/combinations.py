"""Check combinations of network, convolution, group, data set and recipe in one process.

Hydra composes every choice and every network once; configurations are put together from them, and
go through the checks of `learnsym.run`, once for all that a check cannot tell apart: before there
is an example, data sets differ by kind, task and channels; what fits a network depends on shape and
classes of an example, not on the network's width, so that a narrow one is tried first.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product, zip_longest
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from learnsym.config.allowed_classes import get_class
from learnsym.config.build import dummy_data_spec
from learnsym.config.search_path import choices_of
from learnsym.config.validate import check
from learnsym.data.base import Data, ExampleSpec
from learnsym.data.synthetic import synthetic_like
from learnsym.errors import ConfigError, LearnSymError
from learnsym.run.checks import Request, check_combination, check_effect
from learnsym.run.context import build_network, dry_forward

AXES = ("conv", "base_group")
"""What a network may be made of; each network takes some of them."""
Check = Callable[..., object]
_RECIPE = ("train/optimizer", "train/schedule")


@dataclass(frozen=True)
class Combination:
    """Choices as typed, None: not typed; `net` has its backbone after a slash if it takes one."""

    net: str
    dataset: str
    conv: str | None = None
    base_group: str | None = None
    optimizer: str | None = None
    schedule: str | None = None

    @property
    def choices(self) -> dict[str, str]:
        """Return the choice of every config group that is typed."""
        net, _, backbone = self.net.partition("/")
        choices = {"net": net, "net/backbone": backbone, "conv": self.conv}
        choices |= {"base_group": self.base_group, "dataset": self.dataset}
        choices |= {"train/optimizer": self.optimizer, "train/schedule": self.schedule}
        return {group: choice for group, choice in choices.items() if choice}

    @property
    def overrides(self) -> list[str]:
        """Return the words of the command line, but for the file of a user's own data."""
        return [f"{group}={choice}" for group, choice in self.choices.items()]


class Combinations:
    """All combinations, and the messages that refuse them. Hydra has to be initialised.

    Networks are tried with `narrow`: settings -> their size (of lists: of every element).

    Attributes:
        nets, datasets: all names.
        axes: network -> which of `AXES` it takes.
        recipes: all pairs of optimiser and schedule.
        classes: data set -> its class.
        from_files: data sets whose examples are what a user's file has.
    """

    def __init__(self, narrow: Mapping[str, int]) -> None:
        self._narrow = narrow
        self._choices = {group: choices_of(group) for group in ("dataset", *AXES, *_RECIPE)}
        self._messages: dict[object, str | None] = {}
        self._nodes: dict[tuple[str, str], DictConfig] = {}
        self._kinds: dict[str, str] = {}
        self._specs: dict[str, object] = {}
        self._compose_choices()
        self._networks = dict(self._compose_networks())
        self.axes = {
            net: [axis for axis in AXES if f"${{{axis}}}" in str(cfg.net)]
            for (net, _), cfg in self._networks.items()
        }
        self.nets, self.datasets = list(self.axes), self._choices["dataset"]
        self.recipes = list(product(*(self._choices[group] for group in _RECIPE)))
        self.classes: dict[str, type[Data]] = {
            dataset: get_class("dataset", self._nodes["dataset", dataset]["_target_"])
            for dataset in self.datasets
        }
        self._forms = {d: (self._kinds[d], cls.spec) for d, cls in self.classes.items()}
        self.from_files = [d for d, (_, form) in self._forms.items() if form is None]

    def _compose_choices(self) -> None:
        """Compose every choice of every group but `net`, several at a time."""
        for row in zip_longest(*self._choices.values()):
            choices = {g: c for g, c in zip(self._choices, row, strict=True) if c}
            overrides = [f"{group}={choice}" for group, choice in choices.items()]
            cfg = compose("config", overrides=overrides, return_hydra_config=True)
            for group, choice in choices.items():
                self._nodes[group, choice] = OmegaConf.select(cfg, group.replace("/", "."))
            if dataset := choices.get("dataset"):
                self._kinds[dataset] = kind = cfg.hydra.runtime.choices["kind"]
                self._specs[dataset] = (kind, dummy_data_spec(cfg))
                for key in OmegaConf.missing_keys(cfg.dataset):
                    OmegaConf.update(cfg, key, "FILE")

    def _compose_networks(self) -> Iterator[tuple[tuple[str, str], DictConfig]]:
        """Compose a whole configuration of every network for every kind of data."""
        for net, kind in product(choices_of("net"), sorted(set(self._kinds.values()))):
            dataset = next(d for d in self._kinds if self._kinds[d] == kind)
            overrides = Combination(net, dataset).overrides
            cfg = compose("config", overrides=overrides, return_hydra_config=True)
            inside = "net/backbone" in cfg.hydra.runtime.choices
            backbones = choices_of("net/backbone") if inside else []
            for name in [f"{net}/{backbone}" for backbone in backbones] or [net]:
                overrides = Combination(name, dataset).overrides
                yield (name, kind), compose("config", overrides=overrides)

    def __iter__(self) -> Iterator[Combination]:
        """Yield all without recipes; an axis that a network does not take is typed or not."""
        for net in self.nets:
            options = [self._choices[a] + [None] * (a not in self.axes[net]) for a in AXES]
            for (conv, group), dataset in product(product(*options), self.datasets):
                yield Combination(net, dataset, conv, group)

    def stripped(self, combination: Combination) -> Combination:
        """Return the combination without what its network does not take."""
        axes = self.axes[combination.net]
        idle: dict[str, Any] = {axis: None for axis in AXES if axis not in axes}
        return replace(combination, **idle)

    def config(self, combination: Combination) -> DictConfig:
        """Return the configuration that Hydra would compose."""
        kind = self._kinds[combination.dataset]
        cfg = copy.deepcopy(self._networks[combination.net, kind])
        for group, choice in combination.choices.items():
            if (group, choice) in self._nodes:
                node = self._nodes[group, choice]
                OmegaConf.update(cfg, group.replace("/", "."), node, merge=False)
        return cfg

    def refusal(self, combination: Combination) -> str | None:
        """Return the message with which `main.py` would refuse the combination, if it would."""
        taken = self.stripped(combination)
        kind, form = self._forms[combination.dataset]
        refused = (
            self._once(_check_settings, taken, self._kinds)
            or self._once(check_effect, combination, dict.fromkeys(self.datasets))
            or self._once(check_combination, taken, self._specs)
        )
        if refused:
            return refused
        # A user's file has examples of a known shape, in two classes.
        known = [f for k, f in self._forms.values() if f and k == kind]
        forms = [form] if form else [replace(f, task="classification", outputs=2) for f in known]
        messages = [self._once(self._check_example, taken, self._forms, form) for form in forms]
        return None if None in messages else messages[0]

    def _once(
        self, check: Check, combination: Combination, known: Mapping[str, Any], *forms: ExampleSpec
    ) -> str | None:
        """Return the message of a check, made once for data sets of which it knows the same."""
        dataset = combination.dataset
        stand_in = next(d for d in self.datasets if known[d] == known[dataset])
        alike = replace(combination, dataset=stand_in)
        key = (check, alike, *forms)
        if key not in self._messages:
            choices = {"mode": "train", "dataset": stand_in}
            request = Request(self.config(alike), alike.overrides, choices)
            self._messages[key] = message_of(check, request, *forms)
        message = self._messages[key]
        if message is None or dataset == stand_in:
            return message
        message = message.replace(f"dataset={stand_in}", f"dataset={dataset}", 1)
        names = [self.classes[d].__name__ for d in (stand_in, dataset)]
        return re.sub(rf"\b{names[0]}\b", names[1], message)

    def _check_example(self, request: Request, form: ExampleSpec) -> None:
        """Put an example through the network, whose own width is slow."""
        data, messages = synthetic_like(form, request.choices["dataset"]), []
        for factor in (1, 2):
            narrow = copy.deepcopy(request.cfg)
            narrow_down(narrow, {key: factor * size for key, size in self._narrow.items()})
            messages.append(message_of(_fit, narrow, data))
            if messages[-1] is None:
                return
        if messages[0] == messages[1]:
            raise ConfigError(messages[0])
        _fit(request.cfg, data)  # the message names sizes


def _fit(cfg: DictConfig, data: Data) -> None:
    dry_forward(build_network(cfg, data), data)


def _check_settings(request: Request) -> None:
    check(request.cfg)


def message_of(check: Check, *arguments: object) -> str | None:
    """Return the message with which a check refuses its arguments; None if it does not."""
    try:
        check(*arguments)
    except LearnSymError as error:
        return str(error)
    return None


def narrow_down(cfg: DictConfig, sizes: Mapping[str, int]) -> None:
    """Set those sizes of the network, of its backbone and of its kernels that they have."""
    for path in ("net", "net.backbone", "kernel"):
        node = OmegaConf.select(cfg, path)
        for key, size in sizes.items() if isinstance(node, DictConfig) else ():
            if key in node and node[key] is not None:
                node[key] = [size] * len(node[key]) if OmegaConf.is_list(node[key]) else size
