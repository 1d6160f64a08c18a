"""Report learned distributions on a group in one form, and train them.

A training loop does three things for a learned symmetry, whatever the method:

    groups = parameter_groups(net, symmetry_lr=0.01)      # for the optimiser
    loss = task_loss + penalty(net)
    symmetry_step(net, fraction)                          # after every step of the optimiser
"""

from dataclasses import asdict, dataclass
from typing import TypedDict

from torch import Tensor, nn


@dataclass(frozen=True)
class LearnedRange:
    """How far a distribution reaches along one generator (or component) of a group.

    Attributes:
        generator: field's name of the direction: rotation, translation_x, reflection...
        value: a width in `unit`, or a fraction of the group if the unit is "fraction".
        unit: "rad", "fraction", or "" for a dimensionless coefficient of the Lie algebra.
        learned: whether training changes it.
    """

    generator: str
    value: float
    unit: str
    learned: bool

    @property
    def metric_name(self) -> str:
        """Name in result.json: learned_rotation_width_rad, learned_rotation_fraction...

        >>> LearnedRange("stretch", 0.2, "", learned=True).metric_name
        'learned_stretch_width'
        """
        suffix = "fraction" if self.unit == "fraction" else f"width_{self.unit}".rstrip("_")
        return f"learned_{self.generator}_{suffix}"


class LearnedSymmetry(nn.Module):
    """A module whose direct parameters say how much of a group is respected.

    Subclasses report `ranges`, and override `anneal` and `project` where they have to.
    """

    def ranges(self) -> list[LearnedRange]:
        """Return the range along every generator, in the group's order.

        Reads values from the device: not for the hot path.
        """
        raise NotImplementedError(f"{type(self).__name__} must report its ranges")

    def anneal(self, fraction: float) -> None:
        """Set temperatures for the next step, at this fraction of the training in [0, 1]."""

    def project(self) -> None:
        """Put parameters back into their range, which a step may have left."""


class ParameterGroup(TypedDict, total=False):
    """One of the groups that an optimiser of torch takes."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float


def symmetry_parameters(net: nn.Module) -> list[nn.Parameter]:
    """Return all parameters of a network that describe a symmetry."""
    owners = [m for m in net.modules() if isinstance(m, LearnedSymmetry)]
    return [p for m in owners for p in m.parameters(recurse=False)]


def parameter_groups(
    net: nn.Module, symmetry_lr: float | None = None, omega0_lr: float | None = None
) -> list[ParameterGroup]:
    """Split the parameters of a network into groups for an optimiser.

    What describes a symmetry (widths of Augerino, theta and probabilities of a partial group
    convolution), and the frequencies omega0 of SIREN kernels where they are learned, have learning
    rates to themselves and no weight decay, which would pull them towards values without meaning.

    Args:
        net: the network.
        symmetry_lr: learning rate of a symmetry; None: that of the weights.
        omega0_lr: learning rate of omega0; None: that of the weights.

    Returns:
        The weights, then the groups that are not empty.
    """
    omega0 = [p for name, p in net.named_parameters() if name.rpartition(".")[2] == "omega0"]
    special = [(symmetry_parameters(net), symmetry_lr), (omega0, omega0_lr)]
    grouped = {id(p) for params, _ in special for p in params}
    groups = [ParameterGroup(params=[p for p in net.parameters() if id(p) not in grouped])]
    for params, lr in special:
        if params:
            group = ParameterGroup(params=params, weight_decay=0.0)
            if lr is not None:
                group["lr"] = lr
            groups.append(group)
    return groups


def penalty(net: nn.Module) -> Tensor | float:
    """Return the sum of all terms that the modules of a network add to the loss.

    Add it to the loss of every training step: it is -lambda R(w) for Augerino, and may be a decay
    of continuous kernels.

    Returns:
        A differentiable scalar; 0.0 where no module has a `penalty` method.
    """
    # A runtime-checkable protocol would cost a millisecond a step.
    methods = [getattr(m, "penalty", None) for m in net.modules()]
    return sum((method() for method in methods if callable(method)), 0.0)


def symmetry_step(net: nn.Module, fraction: float) -> None:
    """Keep every learned symmetry in its range and set its temperature.

    Call it once before the first training step and after every step of the optimiser.

    Args:
        net: the network.
        fraction: of the training that is done, in [0, 1].
    """
    for module in net.modules():
        if isinstance(module, LearnedSymmetry):
            module.project()
            module.anneal(fraction)


def learned_symmetry(net: nn.Module) -> dict[str, dict[str, dict[str, float | str | bool]]]:
    """Return the learned range by layer (module path, "input" for the network) and generator.

    For example {"augmentation": {"rotation": {"value": 1.57, "unit": "rad", ...}}}.
    """
    modules = [(name, m) for name, m in net.named_modules() if isinstance(m, LearnedSymmetry)]
    return {
        name or "input": {r.generator: asdict(r) | {"metric": r.metric_name} for r in m.ranges()}
        for name, m in modules
    }


def range_metrics(net: nn.Module) -> dict[str, float]:
    """Return the learned ranges of a network as metrics.

    A layer's name is added where several layers report ranges.
    """
    reported = {layer: ranges for layer, ranges in learned_symmetry(net).items() if ranges}
    metrics: dict[str, float] = {}
    for layer, ranges in reported.items():
        suffix = "" if len(reported) == 1 else f"/{layer}"
        for learned in ranges.values():
            metrics[f"{learned['metric']}{suffix}"] = float(learned["value"])
    return metrics
