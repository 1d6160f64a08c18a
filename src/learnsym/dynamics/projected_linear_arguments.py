"""Check the arguments of `ProjectedLinear`, and select the activation of a group."""

from typing import Literal

from learnsym.groups.permutation import GroupName, PermutationGroup, group_name
from learnsym.schema import Size, Task

Activation = Literal["none", "leaky_relu", "tanh"]
"""The activation between the last of the layers and the layer norm."""


def check_arguments(
    task: Task,
    group: PermutationGroup,
    channels: tuple[Size, ...] = (32, 32),
    features: Size | None = 32,
    hidden: tuple[Size, ...] = (),
    before_norm: Activation | dict[GroupName, Activation] = "none",
    invariant_start: str = "projected",
    softmax: bool = False,
    **_: object,
) -> None:
    """Check the arguments without drawing forty million weights.

    Raises:
        ValueError: they do not go together.
    """
    if not isinstance(group, PermutationGroup):
        raise ValueError(
            f"group: {type(group).__name__} does not permute pixels; choose "
            "base_group=quarter_turns or another"
        )
    if (features is None) != (task == "segmentation"):
        raise ValueError(
            f"features={'null' if features is None else features} does not go with a {task}: "
            "images have features=null, classes have an invariant map to some features"
        )
    if features is None:
        given = f"hidden={list(hidden)}" if hidden else f"invariant_start={invariant_start}"
        if hidden or invariant_start != "projected":
            raise ValueError(f"{given} would have no effect with features=null")
    elif not channels:
        raise ValueError(
            "channels is empty; the invariant map needs an equivariant layer before it"
        )
    if softmax and task != "classification":
        raise ValueError(
            f"softmax=true goes with classes, and the task is a {task}. Try softmax=false"
        )
    activation_of(group, before_norm)


def activation_of(
    group: PermutationGroup, activations: Activation | dict[GroupName, Activation]
) -> Activation:
    """Select the activation of a group's network.

    Raises:
        ValueError: there is none for this group.
    """
    if isinstance(activations, str):
        return activations
    name = group_name(group)
    for known, activation in activations.items():
        if known == name:
            return activation
    known_names = ", ".join(activations) or "no group"
    raise ValueError(f"before_norm names an activation for {known_names}, and none for {name}")
