"""Networks of linear layers on channels x pixels (dynamics paper, v1).

Every layer is a dense matrix, whose projection onto equivariant ones is a mean over orbits
(`learnsym.groups.reynolds`).
"""

import copy
import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.dynamics.ensemble import EnsembleNet, Weights
from learnsym.groups.permutation import GroupName, PermutationGroup, group_name, named_group
from learnsym.layers.fast.batched_mlp import batched_mlp
from learnsym.layers.input_checks import check_images
from learnsym.schema import NonNegative, Size, Task

Activation = Literal["none", "leaky_relu", "tanh"]
"""The activation between the last of the layers and the layer norm."""


class ProjectedLinear(EnsembleNet):
    """Linear layers R^{c n n} -> R^{c' n n} with LeakyReLU between them, of dense weights.

    With `features`, an invariant map to so many features follows, then an activation, layer norm
    without parameters and fully connected layers (LeakyReLU between): a classifier. Two classes
    have one output z and the logits (0, z), whose cross-entropy is the binary one of sigmoid(z).
    Without, the last layer's channels are the outputs: images, through the activation and
    normalised over the channels of a pixel.

    Weights, of M members: `linear<l>` [M, n^2, c', n^2, c], `invariant` [M, n^2, c, features],
    `dense<l>` [M, c', c] and, where there are biases, `bias<l>` [M, c'], zero at the start. The
    layers start Gaussian with standard deviation 1 / (n sqrt(c)), projected onto E. A layer norm
    follows the invariant map: its gradient falls as its size grows, so that its first size decides
    which layer moves.

    Shape: [B, C, n, n] to [B, num_outputs], or to [B, num_outputs, n, n] for a segmentation.

    Args:
        group: finite, acting on n x n pixels; decides which weights are equivariant.
        channels: outputs of the equivariant layers (without `features`: of all but the last).
        features: of the invariant map; None where the output is an image.
        hidden: widths of the fully connected layers but the last.
        fans: "in": standard deviation 1 / (n sqrt(c)); "both": 1 / (n sqrt(c c')).
        symmetric_inputs: all images are symmetric matrices, so that the first layer costs half.
        before_norm: the activation before the layer norm, for all groups or for each by name.
        invariant_start: "projected": as the other layers; "constant": for every pair of channels
            one number for all pixels, of standard deviation 1 / sqrt(features).
        dense_start: standard deviation of the fully connected layers of c inputs. "fan_in":
            1 / sqrt(c); "side": n / c.
        softmax: end with a softmax, which bounds a cross-entropy from below.
        seed: of this member's weights; None: torch's global generator decides.
    """

    upper: Tensor
    """[K], the entries on and above the diagonal of symmetric images, K = n (n + 1) / 2."""
    index: Tensor
    """[n^2], where each entry, or its mirror image, stands among those."""

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
        self.check_arguments(
            task, group, channels, features, hidden, before_norm, invariant_start, softmax
        )
        super().__init__()
        self.in_channels, self.num_outputs, self.task = in_channels, num_outputs, task
        self.group, self.features, self.fans, self.slope = group, features, fans, slope
        self.before_norm, self.softmax = before_norm, softmax
        self.invariant_start = invariant_start
        self.dense_start, self.dense_bias = dense_start, dense_bias
        self.binary = task == "classification" and num_outputs == 2
        image_channels = [in_channels, *channels] + ([num_outputs] if features is None else [])
        widths = [] if features is None else [features, *hidden, 1 if self.binary else num_outputs]
        self.last_channels = image_channels[-1]
        self.linears = _numbered("linear", image_channels)
        self.denses = _numbered("dense", widths)
        self.layers = (*self.linears, *(() if features is None else ("invariant",)))
        self.symmetric_inputs = symmetric_inputs
        row, column = torch.triu_indices(group.side, group.side)
        index = torch.empty(group.side, group.side, dtype=torch.long)
        index[row, column] = index[column, row] = torch.arange(len(row))
        self.register_buffer("upper", row * group.side + column, persistent=False)
        self.register_buffer("index", index.flatten(), persistent=False)
        seed = int(torch.randint(2**62, ())) if seed is None else seed
        self.load_member(self.sample_equivariant(torch.Generator().manual_seed(seed)))

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
        """Check the arguments without drawing forty million weights."""
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
        if features is None and (hidden or invariant_start != "projected"):
            given = f"hidden={list(hidden)}" if hidden else f"invariant_start={invariant_start}"
            raise ValueError(f"{given} would have no effect with features=null")
        if features is not None and not channels:
            raise ValueError("channels is empty; the invariant map needs a layer before it")
        if softmax and task != "classification":
            raise ValueError(
                f"softmax=true goes with classes, and the task is a {task}. Try softmax=false"
            )
        _activation_of(group, before_norm)

    def sample_equivariant(self, generator: torch.Generator) -> Weights:
        """Draw equivariant layers, then the fully connected ones; see `EnsembleNet`."""
        points, weights = self.group.points, {}

        def draw(*shape: int) -> Tensor:
            return torch.randn(1, *shape, generator=generator)

        for name, (c, d) in self.linears.items():
            weights[name] = draw(points, d, points, c) * self._std(c, d)
        if self.features is not None:
            c, d = self.last_channels, self.features
            if self.invariant_start == "constant":
                weights["invariant"] = draw(1, c, d).expand(1, points, c, d) / d**0.5
            else:
                weights["invariant"] = draw(points, c, d) * self._std(c, d)
        weights = self.project(weights)
        for name, (c, d) in self.denses.items():
            std = c**-0.5 if self.dense_start == "fan_in" else self.group.side / c
            weights[name] = draw(d, c) * std
            if self.dense_bias:
                weights[name.replace("dense", "bias")] = torch.zeros(1, d)
        return weights

    def _std(self, c: int, d: int) -> float:
        return 1 / (self.group.side * (c * (d if self.fans == "both" else 1)) ** 0.5)

    def project(self, weights: Weights) -> Weights:
        """Project every layer onto E; the fully connected ones stay."""
        projected = dict(weights)
        for name in self.linears:
            projected[name] = self.group.project_equivariant(weights[name])
        if self.features is not None:
            invariant = weights["invariant"]
            mean = self.group.project_invariant(invariant.flatten(2))
            projected["invariant"] = mean.view(invariant.shape)
        return projected

    @torch.no_grad()
    def equivariant_dimension(self) -> int:
        """Count the coordinates of this module's weights."""
        return sum(numbers.numel() for numbers in self.coordinates(self.member_weights()).values())

    def with_group(self, group: PermutationGroup) -> "ProjectedLinear":
        """Return the same function with the same parameters, projected for another group."""
        if group.side != self.group.side:
            raise ValueError(f"{group} acts on other images than {self.group}")
        _activation_of(group, self.before_norm)
        net = copy.copy(self)
        net.group = group
        return net

    def distance_to_equivariance(self, group: GroupName) -> dict[str, float]:
        """Measure the distance of every layer from E of any group on these pixels."""
        projected = self.with_group(named_group(group, self.group.side))
        distance = projected.distance(self.member_weights())[0]
        return dict(zip(self.layers, distance.tolist(), strict=True))

    def coordinates(self, weights: Weights) -> Weights:
        """Compute the coordinates in an orthonormal basis of E (of the projection of others)."""
        result = dict(weights)
        for name in self.linears:
            result[name] = self.group.equivariant_coordinates(weights[name])
        if self.features is not None:
            result["invariant"] = self.group.invariant_coordinates(weights["invariant"].flatten(2))
        return result

    def from_coordinates(self, coordinates: Weights) -> Weights:
        """Compute the equivariant weights with these coordinates, inverse to `coordinates`."""
        result = dict(coordinates)
        for name in self.linears:
            result[name] = self.group.equivariant_weight(coordinates[name])
        if self.features is not None:
            weight = self.group.invariant_weight(coordinates["invariant"])
            result["invariant"] = weight.unflatten(2, (self.last_channels, self.features))
        return result

    def reduce(self, weights: Weights) -> Weights:
        """Put the invariant map's outputs first, [M, features, n^2, c]; fold the first layer."""
        reduced = dict(weights)
        if self.features is not None:
            reduced["invariant"] = weights["invariant"].permute(0, 3, 1, 2).contiguous()
        if self.symmetric_inputs:
            # Add up the weights of equal entries: [M, n^2, c', n^2, c] to [M, n^2, c', K, c], a
            # view of a tensor whose inputs come first. Its gradient is added up faster so.
            inputs_first = weights["linear0"].permute(0, 3, 4, 1, 2)  # [M, n^2, c, n^2, c']
            shape = (len(inputs_first), len(self.upper), *inputs_first.shape[2:])
            folded = inputs_first.new_zeros(shape).index_add(1, self.index, inputs_first)
            reduced["linear0"] = folded.permute(0, 3, 4, 1, 2)
        return reduced

    def forward_reduced(self, reduced: Weights, images: Tensor) -> Tensor:
        """Compute outputs [M, B, ...]; see `EnsembleNet`."""
        side = self.group.side
        check_images("ProjectedLinear", images[0], self.in_channels, side)
        if images.shape[-2:] != (side, side):
            raise ValueError(
                f"{self.group} acts on images {side} x {side}; got {list(images.shape[-2:])}"
            )
        x = images.flatten(3).transpose(2, 3)  # [M, B, n^2, C]
        x = (x.index_select(2, self.upper) if self.symmetric_inputs else x).flatten(2)
        x = batched_mlp(x, [reduced[name] for name in self.layers], self.slope)
        activation = _activation_of(self.group, self.before_norm)
        if activation != "none":
            x = torch.tanh(x) if activation == "tanh" else F.leaky_relu(x, self.slope)
        return self._head(reduced, x)

    def _head(self, reduced: Weights, x: Tensor) -> Tensor:
        """Classify features, or normalise [M, B, n^2 K] over the channels of each pixel."""
        if self.features is None:
            x = F.layer_norm(x.unflatten(2, (self.group.points, -1)), (self.num_outputs,))
            return x.transpose(2, 3).unflatten(3, (self.group.side, self.group.side))
        x = F.layer_norm(x, (self.features,))
        for index, name in enumerate(self.denses):
            x = F.leaky_relu(x, self.slope) if index else x
            x = torch.bmm(x, reduced[name].mT)
            if self.dense_bias:
                x = x.add_(reduced[name.replace("dense", "bias")].unsqueeze(1))
        x = torch.cat([torch.zeros_like(x), x], dim=-1) if self.binary else x
        return x.softmax(-1) if self.softmax else x


def _numbered(name: str, widths: list[int]) -> dict[str, tuple[int, int]]:
    """Name the layers between successive widths: linear0, linear1, ..."""
    return {f"{name}{index}": pair for index, pair in enumerate(itertools.pairwise(widths))}


def _activation_of(
    group: PermutationGroup, activations: Activation | dict[GroupName, Activation]
) -> Activation:
    """Select the activation of a group's network; refuse a group that has none."""
    if isinstance(activations, str):
        return activations
    name = group_name(group)
    for known, activation in activations.items():
        if known == name:
            return activation
    known_names = ", ".join(activations) or "no group"
    raise ValueError(f"before_norm names an activation for {known_names}, and none for {name}")
