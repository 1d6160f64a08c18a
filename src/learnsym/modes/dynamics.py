"""`mode=dynamics`: nominal, equivariant and augmented gradient descent (dynamics paper, version 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from learnsym.config.build import build
from learnsym.data.base import Split
from learnsym.dynamics.ensemble_checkpoint import EnsembleCheckpoint
from learnsym.dynamics.gradient_flows import ARMS, EquivariantArm, GradientFlows
from learnsym.dynamics.group_augmentation import GroupAugmentation
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.dynamics.records import Records, metric_name
from learnsym.dynamics.risk import member_metrics
from learnsym.errors import ConfigError
from learnsym.figures.dynamics import draw_flows
from learnsym.groups.permutation import MOST_ELEMENTS, GroupName, PermutationGroup, named_group
from learnsym.modes.ensemble_mode import (
    EnsembleMode,
    check_descent,
    check_finite,
    prepared_split,
    progress_lines,
    write_rows,
)
from learnsym.run.context import RunContext
from learnsym.run.mode import Outcome
from learnsym.utils.files import write_atomically


@dataclass
class Dynamics(EnsembleMode):
    """Train repetitions of a network in three arms from one equivariant start.

    Loss, change and distance from the equivariant weights are recorded. `train.epochs` steps of
    full-batch gradient descent with the learning rate of `train.optimizer`, `train.batch_size`
    examples at a time; `augmentation.passes` for the augmented arm.

    Attributes:
        equivariant: the equivariant arm steps along the projected gradient, or trains the free
            numbers directly.
        groups: the same experiment for several groups, one after the other; empty: for
            `base_group` alone.
        convention: of the figure. "true": norms; "published": squared distances, and the nominal
            arm drawn at the change of the augmented one, as the paper's figures were made.
    """

    uses_augmentation = ("passes",)

    equivariant: EquivariantArm = "projected_gradient"
    groups: tuple[GroupName, ...] = ()
    convention: Literal["true", "published"] = "true"

    @classmethod
    def check_config(cls, cfg: DictConfig) -> None:
        """Check network, recipe and activations before anything is built."""
        check_descent(cfg, "dynamics", ProjectedLinear, "projected_linear")
        activations = OmegaConf.select(cfg, "net.before_norm")
        if isinstance(activations, Mapping):
            for name in cfg.mode.groups:
                if name not in activations:
                    raise ConfigError(
                        f"net.before_norm names no activation for {name}, one of mode.groups."
                    )

    def __call__(self, context: RunContext) -> Outcome:
        """Train, and write records and figures.

        The metrics are final_loss_<arm>, change_<arm> and distance_to_equivariance_<arm>: medians,
        the last two of all layers and, named after it, of each.
        """
        net, folder = context.net, context.directory
        assert isinstance(net, ProjectedLinear)
        metrics: dict[str, float] = {}
        figures: list[str] = []
        rows: list[dict[str, float | str]] = []
        names: tuple[GroupName | None, ...] = self.groups or (None,)
        for name in names:
            member = net.with_group(named_group(name, net.group.side)) if name else net
            records = self._train(context, member, name)
            suffix, slash = (f"_{name}", f"/{name}") if name else ("", "")
            write_atomically(folder.path / f"records{suffix}.npz", records.to_npz())
            metrics |= {f"{key}{slash}": value for key, value in _final_medians(records).items()}
            figure = folder.figures / f"dynamics{suffix}.png"
            draw_flows(figure, records, str(member.group), self.convention)
            figures.append(str(figure.relative_to(folder.path)))
            group = {"group": name} if name else {}
            rows += [row | group for row in records.rows(len(rows))]
        write_rows(folder.path, rows)
        return Outcome(metrics, figures)

    def _train(self, context: RunContext, net: ProjectedLinear, name: GroupName | None) -> Records:
        """Train all repetitions, chunk by chunk, from where an interrupted run was."""
        training, steps = context.training, context.training.epochs
        split, test = prepared_split(context, "train"), prepared_split(context, "test")
        augmentation = _augmentation(context, net.group)
        records = Records(ARMS, self.count(context), steps, net.layers)
        file = f"dynamics{f'_{name}' if name else ''}.pt"
        checkpoint = EnsembleCheckpoint(context.directory.checkpoints / file)
        first, step, weights = checkpoint.load(records)
        for members in self.chunks(first, records.members):
            flows = GradientFlows(
                net.to(context.fabric.device),
                training.task.per_example,
                split,
                augmentation,
                float(context.cfg.train.optimizer.lr),
                training.settings.batch_size,
                context.cfg.seed,
                members,
                self.equivariant,
            )
            if weights is not None:
                flows.restore(weights, step)
            weights = None
            self._train_chunk(context, flows, test, records, checkpoint, name)
            checkpoint.save(records, members.stop)
        return records

    def _train_chunk(
        self,
        context: RunContext,
        flows: GradientFlows,
        test: Split,
        records: Records,
        checkpoint: EnsembleCheckpoint,
        name: GroupName | None,
    ) -> None:
        members, steps = flows.members, records.steps
        lines = progress_lines(members, records, steps, f", {name}" if name else "")
        with context.training.recorder.progress(members.stop, records.members, steps) as tick:
            while True:
                _measure(context, flows, test, records)
                if flows.step_number == steps:
                    break
                checkpoint.save(records, members.start, flows.step_number, flows.weights)
                losses, step = flows.step().view(2, -1), flows.step_number
                chunk = slice(members.start, members.stop)
                records.record("loss", slice(0, 2), chunk, step - 1, losses)
                tick()
                lines(step)


def _measure(context: RunContext, flows: GradientFlows, test: Split, records: Records) -> None:
    """Record distances, test metrics, and the losses that the next step does not compute."""
    net, step = flows.net, flows.step_number
    members = slice(flows.members.start, flows.members.stop)
    for index, arm in enumerate(ARMS):
        weights = flows.arm(arm)
        values = {
            "change": net.change(weights, flows.start),
            "distance": net.distance(weights),
            "norm": net.norms(net.linear_maps(weights)),
        }
        if step == records.steps or arm == "augmented":
            values["loss"] = flows.risks(arm)
        metrics = member_metrics(net, context.training.task, weights, test, flows.batch_size)
        values |= {f"test_{metric}": value for metric, value in metrics.items()}
        for name, value in values.items():
            records.record(name, slice(index, index + 1), members, step, value[None])
    if step:
        check_finite(records, members, step - 1, "train.optimizer.lr")


def _augmentation(context: RunContext, group: PermutationGroup) -> GroupAugmentation:
    """Build the augmentation.

    Raises:
        ConfigError: exact averages over a group with too many elements.
    """
    passes = build(context.cfg, "augmentation").passes
    if passes == "exact" and group.order > MOST_ELEMENTS:
        raise ConfigError(
            f"augmentation.passes=exact: {group} has {group.order} elements; at most "
            f"{MOST_ELEMENTS} can be averaged over. Try a number of random passes."
        )
    return GroupAugmentation(group, passes)


def _final_medians(records: Records) -> dict[str, float]:
    """Name the medians at the end, per arm."""
    metrics: dict[str, float] = {}
    last = {name: records.median(name)[:, -1] for name in records.series}
    ratio = (records.total("distance") / records.total("norm")).quantile(0.5, dim=1)[:, -1]
    for index, arm in enumerate(records.arms):

        def add(name: str, value: Tensor) -> None:
            metrics[name] = float(value)

        add(f"final_loss_{arm}", last["loss"][index])
        add(f"change_{arm}", last["change"][index])
        add(f"distance_to_equivariance_{arm}", last["distance"][index])
        add(f"relative_distance_to_equivariance_{arm}", ratio[index])
        for name in ("change", "distance"):
            medians = records.series[name][index, :, -1].quantile(0.5, dim=0)
            for layer, value in zip(records.layers, medians, strict=True):
                add(f"{metric_name(name)}_{arm}/{layer}", value)
        for name in last:
            if name.startswith("test_"):
                add(f"{name}_{arm}", last[name][index])
    return metrics
