"""Share checks, loop and records between mode=dynamics and mode=drift."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from learnsym.config.allowed_classes import get_class
from learnsym.data.base import Split
from learnsym.dynamics.ensemble import EnsembleNet, Weights
from learnsym.dynamics.gradient_flows import GradientFlows
from learnsym.dynamics.records import EnsembleCheckpoint, ProgressLines, Records
from learnsym.dynamics.risk import split_batches
from learnsym.dynamics.sgd import MiniBatchSGD
from learnsym.errors import ConfigError, RunError
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode
from learnsym.schema import Size
from learnsym.utils.files import to_json, write_atomically

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
Descent = GradientFlows | MiniBatchSGD


@dataclass
class EnsembleRun:
    """The records of one run, and the checkpoint that it goes on from."""

    context: RunContext
    test: Split
    records: Records
    checkpoint: EnsembleCheckpoint

    def chunks(self, size: int) -> Iterator[tuple[range, int, Weights | None]]:
        """Yield members to train together, with step and weights if begun."""
        first, step, weights = self.checkpoint.load(self.records)
        for start in range(first, self.records.members, size):
            members = range(start, min(start + size, self.records.members))
            yield members, step, weights
            step, weights = 0, None
            self.checkpoint.save(self.records, members.stop)

    def train(
        self,
        descent: Descent,
        steps: int,
        title: str = "",
        measure: Callable[[], None] | None = None,
        steps_before: int = 0,
    ) -> None:
        """Train a chunk from its present step to the last; every recorded loss has to be finite.

        `measure` is called before every step and after the last; without it nothing is recorded.
        For the checkpoint, `steps_before` were those of an earlier training of this chunk.
        """
        members, records = descent.members, self.records
        title = f"repetitions {members.start + 1}-{members.stop} of {records.members}{title}"
        lines = ProgressLines(title, steps)
        with self.context.training.recorder.progress(members.stop, records.members, steps) as tick:
            while True:
                step = descent.step_number
                if measure is not None:
                    measure()
                    self._check_finite(members, step - 1)
                if step >= steps:
                    return
                losses = descent.step().view(-1, len(members))
                if measure is not None:
                    records.record("loss", slice(len(losses)), members, step, losses)
                done = steps_before + step + 1
                self.checkpoint.save(records, members.start, done, descent.weights)
                tick()
                lines(step + 1)

    def _check_finite(self, members: range, step: int) -> None:
        losses = self.records.series.get("loss")
        if step < 0 or losses is None or losses[:, members, step].isfinite().all():
            return
        raise RunError(
            f"the loss of step {step} is not finite: the training has diverged (try a smaller "
            "train.optimizer.lr)."
        )

    def record(self, descent: Descent, arm: int, values: Mapping[str, Tensor]) -> None:
        """Record values [M] or [M, layers] of one arm at the present step."""
        for name, value in values.items():
            arms, step = slice(arm, arm + 1), descent.step_number
            self.records.record(name, arms, descent.members, step, value[None])

    @torch.no_grad()
    def evaluate(self, descent: Descent, weights: Weights, batch_size: int) -> dict[str, Tensor]:
        """Compute the norms of the layers, and the metrics on the test split."""
        net, task, sums = descent.net, self.context.training.task, []
        reduced = net.reduce(weights)
        for images, targets, _ in split_batches(self.test, batch_size):
            outputs = net.forward_reduced(reduced, images)
            sums.append(torch.stack([task.sums(member, targets[0]) for member in outputs]))
        metrics = [task.metrics(member.tolist()) for member in torch.stack(sums).sum(0)]
        values = {"norm": net.norms(net.linear_maps(weights))}
        for key in (key for key in metrics[0] if key != "loss"):
            values[f"test_{key}"] = torch.tensor([m[key] for m in metrics], dtype=torch.float64)
        return values


@dataclass
class EnsembleMode(Mode):
    """Base of the modes that train members (repetitions) of one network by gradient descent."""

    images_only = True
    trains_by_epochs = False

    repetitions: Size = 30
    ensemble_chunk: Size = 2

    def open(
        self, context: RunContext, net: EnsembleNet, arms: Sequence[str], steps: int, name: str
    ) -> EnsembleRun:
        """Open a run, whose checkpoint has this name; of two members at most with debug=true."""
        count = min(self.repetitions, 2) if context.debug else self.repetitions
        records = Records(arms, count, steps, net.layers)
        checkpoint = EnsembleCheckpoint(context.directory.checkpoints / f"{name}.pt")
        return EnsembleRun(context, self.prepared_split(context, "test"), records, checkpoint)

    def prepared_split(self, context: RunContext, name: str) -> Split:
        """Prepare a split for the network; a few examples with debug=true."""
        split, device = context.data.splits[name], context.fabric.device
        count = min(len(split), 64) if context.debug else len(split)
        inputs = context.data.prepare(split.inputs[torch.arange(count)].to(device))
        return Split(inputs.to(context.training.dtype), split.targets[:count].to(device))

    def write_rows(self, context: RunContext, rows: Sequence[Mapping[str, object]]) -> None:
        """Write metrics.jsonl."""
        lines = "".join(to_json(row) + "\n" for row in rows)
        write_atomically(context.directory.path / "metrics.jsonl", lines)


def check_descent(cfg: DictConfig, mode: str, net: type, choice: str) -> None:
    """Refuse a network or a recipe that the optimisation dynamics is not about."""
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
    check_one_process(cfg, mode)


def check_one_process(cfg: DictConfig, mode: str) -> None:
    """Refuse several devices or machines."""
    for key in ("devices", "nodes"):
        if (count := cfg.trainer[key]) > 1:
            raise ConfigError(f"trainer.{key}={count}: mode={mode} works in one process. Try 1.")
