"""Networks of fully linear layers on channels x pixels, their equivariant weights known in closed
form (dynamics paper, v1).
"""

import copy
import itertools
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.dynamics.ensemble import EnsembleNet, Weights
from learnsym.dynamics.symmetric_inputs import SymmetricInputs
from learnsym.groups.permutation import GroupName, PermutationGroup, group_name, named_group
from learnsym.layers.fast.batched_mlp import Spare, dense_chain
from learnsym.layers.input_checks import check_images
from learnsym.schema import NonNegative, Size, Task

Activation = Literal["none", "leaky_relu", "tanh"]
"""What stands between the last of the layers and the layer norm."""


class ProjectedLinear(EnsembleNet):
    """Linear layers R^{c n n} -> R^{c' n n} with LeakyReLU between them, as a function of dense
    weights.

    With `features`, an invariant map to so many features follows, then an activation, layer norm
    without parameters and fully connected layers (LeakyReLU between): a classifier; two classes
    have one output z and the logits (0, z), whose cross-entropy is the binary one of sigmoid(z).
    Without, the last layer's channels are the outputs: images, through the activation and
    normalised over the channels of a pixel.

    Weights, of M members: `linear<l>` [M, n^2, c', n^2, c], `invariant` [M, n^2, c, features],
    `dense<l>` [M, c', c] and, where there are biases, `bias<l>` [M, c'], zero at the start. The
    layers start Gaussian with standard deviation 1 / (n sqrt(c)), projected onto the equivariant
    ones; the invariant map and the fully connected layers as the arguments say. How large the
    invariant map starts decides which layer moves, for a layer norm follows: its gradient falls as
    its size grows.

    Shape: [B, C, n, n] to [B, num_outputs], or to [B, num_outputs, n, n] for a segmentation.
    """

    def __init__(
        self,
        in_channels: Size,
        num_outputs: Size,
        task: Task,
        group: PermutationGroup,
        channels: tuple[Size, ...] = (32, 32),
        features: Size | None = 32,
        hidden: tuple[Size, ...] = (),
        fans: Literal["in", "both"] = "in",
        symmetric_inputs: bool = False,
        slope: NonNegative = 0.01,
        before_norm: Activation | dict[GroupName, Activation] = "none",
        invariant_start: Literal["projected", "constant"] = "projected",
        dense_start: Literal["fan_in", "side"] = "fan_in",
        dense_bias: bool = True,
        softmax: bool = False,
        seed: int | None = None,
    ) -> None:
        """Args:
            in_channels, num_outputs, task: of the data.
            group: finite, acting on n x n pixels; decides which weights are equivariant.
            channels: outputs of the equivariant layers (without `features`: of all but the last).
            features: of the invariant map; None where the output is an image.
            hidden: widths of the fully connected layers but the last.
            fans: "in": standard deviation 1 / (n sqrt(c)); "both": 1 / (n sqrt(c c')), as in the
                permutation experiment.
            symmetric_inputs: all images are symmetric matrices, such as adjacency matrices: weights
                of the first layer at (i, j) and (j, i) are then added up before they are
                multiplied, which saves almost half.
            slope: of LeakyReLU below zero.
            before_norm: the activation before the layer norm, one for all groups or one for each by
                name.
            invariant_start: of the invariant map. "projected": as the other layers; "constant": for
                every pair of channels one number, the same for all pixels, of standard deviation 1
                / sqrt(features).
            dense_start: standard deviation of the fully connected layers of c inputs. "fan_in": 1 /
                sqrt(c); "side": n / c.
            dense_bias: whether the fully connected layers have biases.
            softmax: end with a softmax, so that a cross-entropy is taken of it: bounded from below
                by log(e + K - 1) - 1.
            seed: of this member's own weights; None: torch's global generator decides.

        Raises:
            ValueError: `features` does not fit the task.
        """
        self.check_arguments(
            task, group, channels, features, hidden, before_norm, invariant_start, softmax
        )
        super().__init__()
        self.in_channels, self.num_outputs, self.group = in_channels, num_outputs, group
        self.slope, self.fans, self.task = slope, fans, task
        self.before_norm, self.invariant_start, self.softmax = before_norm, invariant_start, softmax
        self.dense_start, self.dense_bias = dense_start, dense_bias
        images = [in_channels, *channels] + ([num_outputs] if features is None else [])
        self.linears = {
            f"linear{place}": pair for place, pair in enumerate(itertools.pairwise(images))
        }
        self.features = features
        widths = [] if features is None else [features, *hidden, 1 if self.binary else num_outputs]
        self.denses = {
            f"dense{place}": pair for place, pair in enumerate(itertools.pairwise(widths))
        }
        self.layers = (*self.linears, *(() if features is None else ("invariant",)))
        self.last_channels = images[-1]
        self.fold = SymmetricInputs(group.side) if symmetric_inputs else None
        self.spare = Spare()
        draws = torch.Generator().manual_seed(
            int(torch.randint(2**62, ())) if seed is None else seed
        )
        self.become(self.draw(draws))

    @staticmethod
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
        """What a rehearsal calls instead of drawing forty million weights."""
        if not isinstance(group, PermutationGroup):
            raise ValueError(
                f"group: {type(group).__name__} does not permute pixels; choose base_group=quarter_turns or another"
            )
        if (features is None) != (task == "segmentation"):
            raise ValueError(
                f"features={'null' if features is None else features} does not go with a {task}: images have features=null, "
                "classes have an invariant map to some features"
            )
        if features is None and hidden:
            raise ValueError(f"hidden={list(hidden)} would have no effect with features=null")
        if features is not None and not channels:
            raise ValueError(
                "channels is empty; at least one equivariant layer must come before the invariant map"
            )
        if features is None and invariant_start != "projected":
            raise ValueError(
                f"invariant_start={invariant_start} would have no effect with features=null"
            )
        if softmax and task != "classification":
            raise ValueError(
                f"softmax=true goes with classes, and the task is a {task}; softmax=false would be right"
            )
        activation_for(group, before_norm)

    @property
    def binary(self) -> bool:
        """Whether one output says it all."""
        return self.task == "classification" and self.num_outputs == 2

    # --- weights

    def draw(self, generator: torch.Generator) -> Weights:
        points, weights = self.group.points, {}
        for name, (c, d) in self.linears.items():
            weights[name] = torch.randn(1, points, d, points, c, generator=generator) * self._std(
                c, d
            )
        if self.features is not None:
            c, d = self.last_channels, self.features
            if self.invariant_start == "constant":
                weights["invariant"] = (
                    torch.randn(1, 1, c, d, generator=generator).expand(1, points, c, d) / d**0.5
                )
            else:
                weights["invariant"] = torch.randn(
                    1, points, c, d, generator=generator
                ) * self._std(c, d)
        weights = self.project(weights)
        for name, (c, d) in self.denses.items():
            std = c**-0.5 if self.dense_start == "fan_in" else self.group.side / c
            weights[name] = torch.randn(1, d, c, generator=generator) * std
            if self.dense_bias:
                weights[bias_of(name)] = torch.zeros(1, d)
        return weights

    def _std(self, c: int, d: int) -> float:
        return 1 / (self.group.side * (c * (d if self.fans == "both" else 1)) ** 0.5)

    def project(self, weights: Weights) -> Weights:
        projected = dict(weights)
        for name in self.layers:
            weight = weights[name]
            if name == "invariant":
                projected[name] = self.group.project_invariant(weight.flatten(2)).view(weight.shape)
            else:
                projected[name] = self.group.project_equivariant(weight)
        return projected

    def equivariant_dimension(self) -> int:
        with torch.no_grad():
            return sum(numbers.numel() for numbers in self.coordinates(self.own_weights()).values())

    def linear_maps(self, weights: Weights) -> Weights:
        return {name: weights[name] for name in self.layers}

    def outside(self, maps: Weights) -> Weights:
        projected = self.project(maps)
        return {name: maps[name] - projected[name] for name in self.layers}

    def with_group(self, group: PermutationGroup) -> "ProjectedLinear":
        """The same function, whose weights are projected for another group; shares this one's
        parameters.

        Raises:
            ValueError: it acts on images of another side, or `before_norm` names no activation for
                it.
        """
        if group.side != self.group.side:
            raise ValueError(f"{group} acts on other images than {self.group}")
        activation_for(group, self.before_norm)
        other = copy.copy(self)
        other.group = group
        return other

    def distance_to_equivariance(self, group: GroupName) -> dict[str, float]:
        of_group = self.with_group(named_group(group, self.group.side))
        return dict(
            zip(self.layers, of_group.distance(self.own_weights())[0].tolist(), strict=True)
        )

    def coordinates(self, weights: Weights) -> Weights:
        """The free numbers of equivariant weights, in an orthonormal basis (of others: of their
        projection).
        """
        found = dict(weights)
        for name in self.linears:
            found[name] = self.group.equivariant_coordinates(weights[name])
        if self.features is not None:
            found["invariant"] = self.group.invariant_coordinates(weights["invariant"].flatten(2))
        return found

    def from_coordinates(self, numbers: Weights) -> Weights:
        """The equivariant weights with these free numbers."""
        found = dict(numbers)
        for name in self.linears:
            found[name] = self.group.equivariant_weight(numbers[name])
        if self.features is not None:
            weight = self.group.invariant_weight(numbers["invariant"])
            found["invariant"] = weight.unflatten(2, (self.last_channels, self.features))
        return found

    # --- the function

    def compact(self, weights: Weights) -> Weights:
        """The invariant map with its outputs first, [M, features, n^2, c], as all others; the first
        layer folded.
        """
        found = dict(weights)
        if self.features is not None:
            found["invariant"] = weights["invariant"].permute(0, 3, 1, 2).contiguous()
        if self.fold is not None:
            found["linear0"] = self.fold.weight(weights["linear0"])
        return found

    def compact_adjoint(self, gradient: Weights, weights: Weights) -> Weights:
        found = dict(gradient)
        if self.features is not None:
            found["invariant"] = gradient["invariant"].permute(0, 2, 3, 1)
        if self.fold is not None:
            found["linear0"] = self.fold.adjoint(gradient["linear0"])
        return found

    def evaluate(self, compact: Weights, images: Tensor) -> Tensor:
        check_images("ProjectedLinear", images[0], self.in_channels, self.group.side)
        if images.shape[-2:] != (self.group.side, self.group.side):
            raise ValueError(
                f"{self.group} acts on images {self.group.side} x {self.group.side}; got {list(images.shape[-2:])}"
            )
        x = images.flatten(3).transpose(2, 3)  # [M, B, n^2, C]
        x = (x if self.fold is None else x.index_select(2, self.fold.kept)).flatten(2)
        maps = [compact[name] for name in self.linears]
        if self.features is None:
            return self._as_images(dense_chain(x, maps, self.slope, self.spare))
        x = self._bent(dense_chain(x, [*maps, compact["invariant"]], self.slope, self.spare))
        x = F.layer_norm(x, (self.features,))
        for place, name in enumerate(self.denses):
            x = F.leaky_relu(x, self.slope) if place else x
            x = torch.bmm(x, compact[name].mT)
            x = x.add_(compact[bias_of(name)].unsqueeze(1)) if self.dense_bias else x
        x = torch.cat([torch.zeros_like(x), x], dim=-1) if self.binary else x
        return x.softmax(-1) if self.softmax else x

    def _as_images(self, x: Tensor) -> Tensor:
        """[M, B, n^2 K] to [M, B, K, n, n], normalised over the K channels of each pixel."""
        x = F.layer_norm(
            self._bent(x).unflatten(2, (self.group.points, self.num_outputs)), (self.num_outputs,)
        )
        return x.transpose(2, 3).unflatten(3, (self.group.side, self.group.side))

    def _bent(self, x: Tensor) -> Tensor:
        """The activation before the layer norm."""
        functions: dict[Activation, Callable[[Tensor], Tensor]] = {
            "none": lambda x: x,
            "leaky_relu": lambda x: F.leaky_relu(x, self.slope),
            "tanh": torch.tanh,
        }
        return functions[activation_for(self.group, self.before_norm)](x)


def activation_for(
    group: PermutationGroup, chosen: Activation | dict[GroupName, Activation]
) -> Activation:
    """The activation of a group's network, of one for all or one for each by name.

    Raises:
        ValueError: there is none for this group.
    """
    if isinstance(chosen, str):
        return chosen
    name = group_name(group)
    if name not in chosen:
        raise ValueError(
            f"before_norm names an activation for {', '.join(chosen) or 'no group'}, and none for {name}"
        )
    return chosen[name]


def bias_of(dense: str) -> str:
    """dense0 -> bias0."""
    return dense.replace("dense", "bias")
