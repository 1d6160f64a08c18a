"""What every learned (or fixed) distribution on a group tells of itself, in one form for all three
papers.
"""

from dataclasses import asdict, dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class LearnedRange:
    """How far a distribution reaches along one generator (or over one part) of a group.

    Attributes:
        generator: field's name of the direction: rotation, translation_x, reflection...
        value: a width in `unit`, or a fraction of the group if the unit is "fraction".
        unit: "rad", "fraction", or "" for a dimensionless coefficient of the Lie algebra.
        learned: whether training moves it.
    """

    generator: str
    value: float
    unit: str
    learned: bool

    @property
    def metric_name(self) -> str:
        """Name in result.json: learned_rotation_width_rad, learned_stretch_width,
        learned_rotation_fraction.
        """
        suffix = (
            "_fraction"
            if self.unit == "fraction"
            else "_width" + (f"_{self.unit}" if self.unit else "")
        )
        return f"learned_{self.generator}{suffix}"


class LearnedSymmetry(nn.Module):
    """A module whose own (direct) parameters say how much of a group is respected.

    They are trained without weight decay and with a learning rate of their own.
    """

    def extents(self) -> list[LearnedRange]:
        """The extents along every generator, in the group's order. Reads values from the device:
        not for the hot path.
        """
        raise NotImplementedError(f"{type(self).__name__} must report its extents")

    def anneal(self, fraction: float) -> None:
        """Called before every training step with the fraction of the training that is done; for
        temperatures.
        """

    def project(self) -> None:
        """Called after every training step, to put parameters back into their range."""


def symmetry_parameters(net: nn.Module) -> list[nn.Parameter]:
    """All parameters of a network that describe a symmetry."""
    owners = [m for m in net.modules() if isinstance(m, LearnedSymmetry)]
    return [p for m in owners for p in m.parameters(recurse=False)]


def learned_symmetry(net: nn.Module) -> dict[str, dict[str, dict[str, float | str | bool]]]:
    """Per layer (module path) and generator, the extent: {"augmentation": {"rotation": {"value":
    1.57, "unit": "rad", ...}}}.
    """
    found = ((name, m) for name, m in net.named_modules() if isinstance(m, LearnedSymmetry))
    return {
        name or "input": {e.generator: asdict(e) | {"metric": e.metric_name} for e in m.extents()}
        for name, m in found
    }


def penalty(net: nn.Module) -> Tensor | float:
    """Sum of the penalties that the modules of a network add to the loss (Augerino's -lambda R(w);
    0.0 where there is none).
    """
    return sum((m.penalty() for m in net.modules() if hasattr(m, "penalty")), 0.0)
