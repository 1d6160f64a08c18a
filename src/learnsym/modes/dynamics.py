"""`mode=dynamics`: nominal, equivariant and augmented gradient descent (dynamics paper, v1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from learnsym.dynamics.gradient_flows import ARMS, EquivariantArm, GradientFlows
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.dynamics.records import Records, metric_name
from learnsym.dynamics.risk import GroupAugmentation
from learnsym.errors import ConfigError
from learnsym.figures.dynamics import draw_flows
from learnsym.groups.permutation import MOST_ELEMENTS, GroupName, named_group
from learnsym.modes.ensemble_mode import EnsembleMode, EnsembleRun, check_descent
from learnsym.run.context import RunContext
from learnsym.run.mode import Outcome


@dataclass
class Dynamics(EnsembleMode):
    """Train repetitions of a network in three arms from one equivariant start.

    Loss, change and distance from the equivariant weights are recorded. An epoch is one step of
    full-batch gradient descent.
    """

    uses_augmentation = ("passes",)

    equivariant: EquivariantArm = "projected_gradient"
    groups: tuple[GroupName, ...] = ()
    convention: Literal["true", "published"] = "true"

    @classmethod
    def check_config(cls, cfg: DictConfig) -> None:
        """Check network, recipe and activations before anything is built."""
        check_descent(cfg, "dynamics", ProjectedLinear, "projected_linear")
        known = OmegaConf.select(cfg, "net.before_norm")
        for name in cfg.mode.groups if isinstance(known, Mapping) else ():
            if name not in known:
                raise ConfigError(
                    f"net.before_norm names no activation for {name}, one of mode.groups."
                )

    def __call__(self, context: RunContext) -> Outcome:
        """Write records and figures; return medians, of all layers and of each, for every arm."""
        net, folder = context.net, context.directory
        assert isinstance(net, ProjectedLinear)
        outcome = Outcome({})
        rows: list[dict[str, float | str]] = []
        names: tuple[GroupName | None, ...] = self.groups or (None,)
        for name in names:
            member = net.with_group(named_group(name, net.group.side)) if name else net
            records = self._train(context, member, name)
            suffix, slash = (f"_{name}", f"/{name}") if name else ("", "")
            records.save(folder.path / f"records{suffix}.npz")
            for key, value in _final_medians(records).items():
                outcome.metrics[f"{key}{slash}"] = float(value)
            figure = folder.figures / f"dynamics{suffix}.png"
            draw_flows(figure, records, str(member.group), self.convention)
            outcome.figures.append(str(figure.relative_to(folder.path)))
            group = {"group": name} if name else {}
            rows += [{**row, **group} for row in records.rows(len(rows))]
        self.write_rows(context, rows)
        return outcome

    def _train(self, context: RunContext, net: ProjectedLinear, name: GroupName | None) -> Records:
        """Train all repetitions, chunk by chunk, from where an interrupted run was."""
        training, split = context.training, self.prepared_split(context, "train")
        group, passes = net.group, context.cfg.augmentation.passes
        if passes == "exact" and group.order > MOST_ELEMENTS:
            raise ConfigError(
                f"augmentation.passes=exact: {group} has {group.order} elements; at most "
                f"{MOST_ELEMENTS} can be averaged over. Try a number of random passes."
            )
        net, loss = net.to(context.fabric.device), training.task.per_example
        augmentation, seed = GroupAugmentation(group, passes), context.cfg.seed
        lr, size = float(context.cfg.train.optimizer.lr), training.settings.batch_size
        start = partial(GradientFlows, net, loss, split, augmentation, lr, size, seed)
        file, title = (f"dynamics_{name}", f", {name}") if name else ("dynamics", "")
        run = self.open(context, net, ARMS, training.epochs, file)
        for members, step, weights in run.chunks(self.ensemble_chunk):
            flows = start(members, self.equivariant)
            if weights is not None:
                flows.restore(weights, step)
            run.train(flows, training.epochs, title, partial(_measure, run, flows))
        return run.records


def _measure(run: EnsembleRun, flows: GradientFlows) -> None:
    """Record distances, test metrics, and the losses that the next step does not compute."""
    net, last = flows.net, flows.step_number == run.records.steps
    for index, arm in enumerate(ARMS):
        weights = flows.arm(arm)
        values = {"change": net.change(weights, flows.start), "distance": net.distance(weights)}
        if last or arm == "augmented":
            values["loss"] = flows.risks(arm)
        run.record(flows, index, values | run.evaluate(flows, weights, flows.batch_size))


def _final_medians(records: Records) -> dict[str, Tensor]:
    """Name the medians at the end, per arm."""
    last = {name: records.median(name)[:, -1] for name in records.series}
    relative = (records.total("distance") / records.total("norm")).quantile(0.5, dim=1)[:, -1]
    metrics: dict[str, Tensor] = {}
    for index, arm in enumerate(records.arms):
        metrics[f"final_loss_{arm}"] = last["loss"][index]
        metrics[f"change_{arm}"] = last["change"][index]
        metrics[f"distance_to_equivariance_{arm}"] = last["distance"][index]
        metrics[f"relative_distance_to_equivariance_{arm}"] = relative[index]
        for name in ("change", "distance"):
            medians = records.series[name][index, :, -1].quantile(0.5, dim=0)
            for layer, value in zip(records.layers, medians, strict=True):
                metrics[f"{metric_name(name)}_{arm}/{layer}"] = value
        metrics |= {f"{k}_{arm}": v[index] for k, v in last.items() if k.startswith("test_")}
    return metrics
