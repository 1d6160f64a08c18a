"""What mode=dynamics and mode=drift share: checks of the recipe, chunks of members, files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from learnsym.config.allowed_classes import get_class
from learnsym.data.base import Split
from learnsym.dynamics.ensemble_checkpoint import ProgressLines
from learnsym.dynamics.records import Records
from learnsym.errors import ConfigError, RunError
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode
from learnsym.schema import Size
from learnsym.utils.files import write_atomically

_WITHOUT_EFFECT: dict[str, tuple[object, ...]] = {
    "train.max_steps": (None,),
    "train.clip_norm": (None,),
    "train.symmetry_lr": (None,),
    "train.omega0_lr": (None,),
    "trainer.compile": (False,),
    "trainer.channels_last": (False,),
    "trainer.precision": ("32-true", "64-true"),
}
"""Keys, and the values that plain gradient descent in one process goes with."""


@dataclass
class EnsembleMode(Mode):
    """Base of the modes that train members of one network by gradient descent.

    Attributes:
        repetitions: members, each with a start and draws of its own.
        ensemble_chunk: members at a time; bounds the memory and changes nothing but rounding.
    """

    images_only = True
    trains_by_epochs = False

    repetitions: Size = 30
    ensemble_chunk: Size = 2

    def count(self, context: RunContext) -> int:
        """Return the number of repetitions, two at most with debug=true."""
        return min(self.repetitions, 2) if context.debug else self.repetitions

    def chunks(self, first: int, count: int) -> Iterator[range]:
        """Yield the numbers of the members that are trained together, from the first on."""
        for start in range(first, count, self.ensemble_chunk):
            yield range(start, min(start + self.ensemble_chunk, count))


def check_descent(cfg: DictConfig, mode: str, net: type, choice: str) -> None:
    """Refuse a network or a recipe that the optimisation dynamics is not about.

    Raises:
        ConfigError: another network; not plain gradient descent of a constant step; several
            processes.
    """
    if not issubclass(get_class("net", cfg.net._target_), net):
        name = cfg.net._target_.rpartition(".")[2]
        raise ConfigError(f"mode={mode} is of net={choice}; {name} is not made for it.")
    optimizer, schedule = cfg.train.optimizer, cfg.train.schedule
    keys = ("momentum", "weight_decay", "nesterov", "dampening")
    extras = [f"{key}={optimizer[key]}" for key in keys if optimizer.get(key)]
    if optimizer._target_ != "torch.optim.SGD" or extras:
        extra = extras[0] if extras else optimizer._target_.rpartition(".")[2]
        raise ConfigError(
            f"train.optimizer: mode={mode} is plain gradient descent, without {extra}. Try "
            "train/optimizer=sgd train.optimizer.momentum=0 train.optimizer.nesterov=false."
        )
    if not schedule._target_.endswith(".Constant") or schedule.get("warmup_epochs"):
        raise ConfigError(
            f"train.schedule: mode={mode} has a constant step size. Try train/schedule=constant."
        )
    for key, valid in _WITHOUT_EFFECT.items():
        if (value := OmegaConf.select(cfg, key)) not in valid:
            names = " or ".join("null" if v is None else str(v).lower() for v in valid)
            raise ConfigError(f"{key}={value} would have no effect with mode={mode}. Try {names}.")
    for key in ("devices", "nodes"):
        if cfg.trainer[key] > 1:
            raise ConfigError(
                f"trainer.{key}={cfg.trainer[key]}: mode={mode} trains its ensemble in one "
                "process. Try 1."
            )


def prepared_split(context: RunContext, name: str) -> Split:
    """Prepare a split for the network, on its device; with debug=true a few examples of it."""
    split, device = context.data.splits[name], context.fabric.device
    count = min(len(split), 64) if context.debug else len(split)
    inputs = context.data.prepare(split.inputs[torch.arange(count)].to(device))
    return Split(inputs.to(context.training.dtype), split.targets[:count].to(device))


def progress_lines(members: range, records: Records, steps: int, suffix: str) -> ProgressLines:
    """Title the progress of a chunk of members."""
    first, last = members.start + 1, members.stop
    return ProgressLines(f"repetitions {first}-{last} of {records.members}{suffix}", steps)


def check_finite(records: Records, members: slice, step: int, advice: str) -> None:
    """Refuse to go on from a loss that is not finite.

    Raises:
        RunError: the training has diverged.
    """
    if not records.series["loss"][:, members, step].isfinite().all():
        raise RunError(
            f"the loss of step {step} is not finite: the training has diverged (try a smaller "
            f"{advice})."
        )


def write_rows(folder: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write metrics.jsonl."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(folder / "metrics.jsonl", lines)
