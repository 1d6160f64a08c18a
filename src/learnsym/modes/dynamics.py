"""`mode=dynamics`: nominal, equivariant and augmented gradient descent from one equivariant start
(dynamics paper, version 1).
"""

import json
from typing import Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from learnsym.config.allowed_classes import get_class
from learnsym.config.build import build
from learnsym.data.base import Split
from learnsym.dynamics.ensemble import EnsembleNet, Weights
from learnsym.dynamics.ensemble_checkpoint import Lines, Saved
from learnsym.dynamics.gradient_flows import (
    ARMS,
    Augmentation,
    EquivariantArm,
    GradientFlows,
    plain,
)
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.dynamics.records import Records, named
from learnsym.errors import ConfigError, RunError
from learnsym.figures.dynamics import draw_flows
from learnsym.groups.permutation import MOST_ELEMENTS, GroupName, PermutationGroup, named_group
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Size
from learnsym.utils.files import write_atomically


class Dynamics(Mode):
    """Train repetitions of a network in three arms and record loss, change and distance from the
    equivariant weights.

    `train.epochs` steps of full-batch gradient descent with the learning rate of `train.optimizer`,
    `train.batch_size` examples at a time; `augmentation.passes` for the augmented arm. Repetitions
    are trained `ensemble_chunk` at a time.
    """

    images_only = True
    uses_augmentation = ("passes",)
    trains_by_epochs = False

    @classmethod
    def check_config(cls, cfg: DictConfig) -> None:
        """Refuse what does not go together, before anything is built."""
        check_descent(cfg, "dynamics", ProjectedLinear, "projected_linear")
        activations = OmegaConf.to_container(cfg).get("net", {}).get("before_norm")
        missing = [
            name
            for name in cfg.mode.groups
            if isinstance(activations, dict) and name not in activations
        ]
        if missing:
            raise ConfigError(
                f"net.before_norm names no activation for {missing[0]}, one of mode.groups."
            )

    def __init__(
        self,
        repetitions: Size = 30,
        ensemble_chunk: Size = 2,
        equivariant: EquivariantArm = "projected_gradient",
        groups: tuple[GroupName, ...] = (),
        convention: Literal["true", "published"] = "true",
    ) -> None:
        """Args:
        repetitions: members, each with a start and draws of its own.
        ensemble_chunk: so many at a time; bounds the memory and changes nothing else but
            rounding.
        equivariant: the equivariant arm steps along the projected gradient, or trains the free
            numbers directly.
        groups: the same experiment for several groups, one after the other; empty: for
            `base_group` alone.
        convention: of the figure. "true": norms; "published": squared distances, and the
            nominal arm drawn at the change of the augmented one, as the paper's figures were
            made.
        """
        self.repetitions, self.ensemble_chunk, self.equivariant = (
            repetitions,
            ensemble_chunk,
            equivariant,
        )
        self.groups, self.convention = groups, convention

    def __call__(self, context: RunContext) -> Outcome:
        """Metrics final_loss_<arm>, change_<arm>, distance_to_equivariance_<arm> (medians; the last
        two of all layers and, named after it, of each), records and figures.
        """
        net = context.net
        assert isinstance(net, ProjectedLinear)
        lr = float(context.cfg.train.optimizer.lr)
        metrics: dict[str, float] = {}
        figures, rows = [], []
        names: tuple[str, ...] = self.groups or ("",)
        for name in names:
            member = net.with_group(named_group(name, net.group.side)) if name else net
            records = self.flow(context, member, lr, name)
            suffix = f"_{name}" if name else ""
            write_atomically(context.directory.path / f"records{suffix}.npz", records.packed())
            metrics |= {f"{k}{'/' if name else ''}{name}": v for k, v in summary(records).items()}
            figure = context.directory.figures / f"dynamics{suffix}.png"
            draw_flows(figure, records, str(member.group), self.convention)
            figures.append(str(figure.relative_to(context.directory.path)))
            rows += [row | ({"group": name} if name else {}) for row in records.rows(len(rows))]
        write_atomically(
            context.directory.path / "metrics.jsonl",
            "".join(json.dumps(row) + "\n" for row in rows),
        )
        return Outcome(metrics, figures)

    def flow(self, context: RunContext, net: ProjectedLinear, lr: float, name: str) -> Records:
        """All repetitions, chunk by chunk, from where an interrupted run was."""
        training, device = context.training, context.fabric.device
        split = seen_by_network(context, "train")
        test = seen_by_network(context, "test")
        steps, rows = training.epochs, training.settings.batch_size
        repetitions = min(self.repetitions, 2) if context.debug else self.repetitions
        augmentation = augmentation_of(context, net.group)
        saved = Saved(context.directory.checkpoints / f"dynamics{'_' if name else ''}{name}.pt")
        records = Records(ARMS, repetitions, steps, net.layers)
        first, step, weights = saved.resume(records)
        for start in range(first, repetitions, self.ensemble_chunk):
            members = range(start, min(start + self.ensemble_chunk, repetitions))
            flows = GradientFlows(
                net.to(device),
                training.task.per_example,
                split,
                augmentation,
                lr,
                rows,
                context.cfg.seed,
                members,
                self.equivariant,
            )
            if weights is not None:
                flows.restore(weights, step)
            title = f"{name + ': ' if name else ''}repetitions {members.start + 1}-{members.stop} of {repetitions}"
            line = Lines(title, steps)
            with context.training.recorder.progress(members.stop, repetitions, steps) as tick:
                while True:
                    self.measure(flows, training.task, test, rows, records)
                    if flows.step_number == steps:
                        break
                    saved.keep(records, members.start, flows.step_number, flows.weights)
                    losses = flows.step()
                    place = slice(members.start, members.stop)
                    records.put(
                        "loss", slice(0, 2), place, flows.step_number - 1, losses.view(2, -1)
                    )
                    tick()
                    line(flows.step_number)
            weights = None
            saved.keep(records, members.stop)
        return records

    def measure(
        self, flows: GradientFlows, task: Any, test: Split, rows: int, records: Records
    ) -> None:
        """Losses (those that the next step does not find anyway), distances and test metrics of one
        chunk at its step.
        """
        step, members = flows.step_number, slice(flows.members.start, flows.members.stop)
        last = step == records.steps
        for place, arm in enumerate(ARMS):
            here, weights = slice(place, place + 1), flows.arm(arm)
            if last or arm == "augmented":
                records.put("loss", here, members, step, flows.risks(arm)[None])
            records.put("change", here, members, step, flows.net.change(weights, flows.start)[None])
            records.put("distance", here, members, step, flows.net.distance(weights)[None])
            records.put(
                "norm", here, members, step, flows.net.norms(flows.net.linear_maps(weights))[None]
            )
            for metric, values in member_metrics(flows.net, task, weights, test, rows).items():
                records.put(f"test_{metric}", here, members, step, values[None])
        if step and not records.series["loss"][:, members, step - 1].isfinite().all():
            raise RunError(
                f"the loss of step {step - 1} is not finite: the training has diverged (try a smaller train.optimizer.lr)."
            )


def augmentation_of(context: RunContext, group: PermutationGroup) -> Augmentation:
    """As configured.

    Raises:
        ConfigError: exact averages over a group with too many elements.
    """
    passes = build(context.cfg, "augmentation").passes
    if passes == "exact" and group.order > MOST_ELEMENTS:
        raise ConfigError(
            f"augmentation.passes=exact: {group} has {group.order} elements; at most {MOST_ELEMENTS} can be averaged over, and a "
            "number of random passes would be right."
        )
    return Augmentation(group, passes)


def check_descent(cfg: DictConfig, mode: str, net: type, choice: str) -> None:
    """Refuse a network or a recipe that the dynamics is not about.

    Raises:
        ConfigError: another network; not plain gradient descent of a constant step; several
            processes.
    """
    found = cfg.net._target_.rpartition(".")[2]
    if not issubclass(get_class("net", cfg.net._target_), net):
        raise ConfigError(f"mode={mode} is of net={choice}; {found} is not made for it.")
    optimizer = cfg.train.optimizer
    extras = [
        key for key in ("momentum", "weight_decay", "nesterov", "dampening") if optimizer.get(key)
    ]
    if optimizer._target_ != "torch.optim.SGD" or extras:
        what = (
            f"{extras[0]}={optimizer[extras[0]]}"
            if extras
            else optimizer._target_.rpartition(".")[2]
        )
        raise ConfigError(
            f"train.optimizer: mode={mode} is plain gradient descent, without {what}; train/optimizer=sgd "
            "train.optimizer.momentum=0 train.optimizer.nesterov=false would be right."
        )
    if not cfg.train.schedule._target_.endswith(".Constant") or cfg.train.schedule.get(
        "warmup_epochs"
    ):
        raise ConfigError(
            f"train.schedule: mode={mode} has a constant step size; train/schedule=constant would be right."
        )
    for key in ("train.max_steps", "train.clip_norm", "train.symmetry_lr", "train.omega0_lr"):
        if (value := OmegaConf.select(cfg, key)) is not None:
            raise ConfigError(
                f"{key}={value} would have no effect with mode={mode}; null would be right."
            )
    only = {
        "trainer.compile": (False,),
        "trainer.channels_last": (False,),
        "trainer.precision": ("32-true", "64-true"),
    }
    for key, right in only.items():
        if (value := OmegaConf.select(cfg, key)) not in right:
            raise ConfigError(
                f"{key}={value} would have no effect with mode={mode}; {' or '.join(map(str, right)).lower()} would be right."
            )
    for key in ("devices", "nodes"):
        if cfg.trainer[key] > 1:
            raise ConfigError(
                f"trainer.{key}={cfg.trainer[key]}: mode={mode} trains its ensemble in one process; 1 would be right."
            )


def seen_by_network(context: RunContext, name: str) -> Split:
    """A split on the device as the network sees it, in the network's precision; with debug=true a
    few examples of it.
    """
    split, device = context.data.splits[name], context.fabric.device
    count = min(len(split), 64) if context.debug else len(split)
    inputs = context.data.prepare(split.inputs[torch.arange(count)].to(device)).to(
        context.training.dtype
    )
    return Split(inputs, split.targets[:count].to(device))


@torch.no_grad()
def member_metrics(
    net: EnsembleNet, task: Any, weights: Weights, split: Split, rows: int
) -> dict[str, Tensor]:
    """Metrics of every member on a split, each [M]; not the loss."""
    compact, sums = net.compact(weights), []
    for images, targets, _ in plain(split, rows):
        sums.append(
            torch.stack(
                [task.sums(outputs, targets[0]) for outputs in net.evaluate(compact, images)]
            )
        )
    found = [task.metrics(member.tolist()) for member in torch.stack(sums).sum(0)]
    return {
        key: torch.tensor([f[key] for f in found], dtype=torch.float64)
        for key in found[0]
        if key != "loss"
    }


def summary(records: Records) -> dict[str, float]:
    """The medians at the end, per arm."""
    found: dict[str, float] = {}
    for place, arm in enumerate(records.arms):
        end = {name: float(records.median(name)[place, -1]) for name in records.series}
        ratio = records.total("distance") / records.total("norm")
        found |= {
            f"final_loss_{arm}": end["loss"],
            f"change_{arm}": end["change"],
            f"distance_to_equivariance_{arm}": end["distance"],
            f"relative_distance_to_equivariance_{arm}": float(
                ratio.quantile(0.5, dim=1)[place, -1]
            ),
        }
        for name in ("change", "distance"):
            layers = records.series[name][place, :, -1].quantile(0.5, dim=0).tolist()
            found |= {
                f"{named(name)}_{arm}/{layer}": value
                for layer, value in zip(records.layers, layers, strict=True)
            }
        found |= {f"{name}_{arm}": value for name, value in end.items() if name.startswith("test_")}
    return found
