"""Report learned distributions on a group in one form, and train them, whatever the method.

Training takes `parameter_groups` for the optimiser, `penalty` in every loss, and `symmetry_step`.
"""

from dataclasses import asdict, dataclass

from torch import Tensor, nn

from learnsym.schema import PlainDict


@dataclass(frozen=True)
class LearnedRange:
    """How far a distribution reaches along one generator (or component) of a group.

    The value is a width in the unit "rad" or "" (a coefficient of the Lie algebra), or, with the
    unit "fraction", a fraction of the group.
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
        """Return the range along every generator; it reads values from the device."""
        raise NotImplementedError(f"{type(self).__name__} must report its ranges")

    def anneal(self, fraction: float) -> None:
        """Set temperatures for the next step, at this fraction of the training in [0, 1]."""

    def project(self) -> None:
        """Put parameters back into their range, which a step may have left."""


def symmetry_parameters(net: nn.Module) -> list[nn.Parameter]:
    """Return all parameters of a network that describe a symmetry."""
    owners = [m for m in net.modules() if isinstance(m, LearnedSymmetry)]
    return [p for m in owners for p in m.parameters(recurse=False)]


def parameter_groups(
    net: nn.Module, symmetry_lr: float | None = None, omega0_lr: float | None = None
) -> list[PlainDict]:
    """Split parameters into groups for an optimiser: the weights, then what there is of others.

    What describes a symmetry (widths of Augerino, theta and probabilities of a partial group
    convolution), and the frequencies omega0 of SIREN kernels where they are learned, have learning
    rates to themselves (None: that of the weights) and no weight decay, which would pull them
    towards values without meaning.
    """
    omega0 = [p for name, p in net.named_parameters() if name.rpartition(".")[2] == "omega0"]
    special = [(symmetry_parameters(net), symmetry_lr), (omega0, omega0_lr)]
    grouped = {id(p) for params, _ in special for p in params}
    groups: list[PlainDict] = [{"params": [p for p in net.parameters() if id(p) not in grouped]}]
    for params, lr in special:
        if params:
            rate = {} if lr is None else {"lr": lr}
            groups.append({"params": params, "weight_decay": 0.0} | rate)
    return groups


def penalty(net: nn.Module) -> Tensor | float:
    """Return the sum of all modules' `penalty()`, to be added to the loss of every training step.

    It is -lambda R(w) for Augerino; 0.0 where no module has such a method.
    """
    # A runtime-checkable protocol would cost a millisecond a step.
    methods = [getattr(m, "penalty", None) for m in net.modules()]
    return sum((method() for method in methods if callable(method)), 0.0)


def symmetry_step(net: nn.Module, fraction: float) -> None:
    """Keep every learned symmetry in its range, set its temperature at a fraction of the training.

    Call it once before the first training step and after every step of the optimiser.
    """
    for module in net.modules():
        if isinstance(module, LearnedSymmetry):
            module.project()
            module.anneal(fraction)


def learned_symmetry(net: nn.Module) -> dict[str, dict[str, dict[str, float | str | bool]]]:
    """Return the learned range by layer (module path, "input" for the network) and generator.

    For example {"augmentation": {"rotation": {"value": 1.57, "unit": "rad", ...}}}.
    """
    return {
        name or "input": {r.generator: asdict(r) | {"metric": r.metric_name} for r in m.ranges()}
        for name, m in net.named_modules()
        if isinstance(m, LearnedSymmetry)
    }


def range_metrics(net: nn.Module) -> dict[str, float]:
    """Return the learned ranges as metrics, with the layer's name where several have some."""
    reported = {layer: ranges for layer, ranges in learned_symmetry(net).items() if ranges}
    return {
        f"{learned['metric']}{'' if len(reported) == 1 else f'/{layer}'}": float(learned["value"])
        for layer, ranges in reported.items()
        for learned in ranges.values()
    }
