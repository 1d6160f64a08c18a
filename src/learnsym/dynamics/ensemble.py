"""What the optimisation dynamics asks of a network: a function of its weights, for many members at
once (dynamics paper).

Members are repetitions of one network with weights of their own. They are kept as one dictionary of
tensors [M, ...] with the member first, so that a step of all of them is a step of batched matrix
products.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from learnsym.groups.permutation import GroupName

Weights = dict[str, Tensor]
"""Weights of M members by name, each [M, ...]."""


class EnsembleNet(nn.Module, ABC):
    """A network as a function of weights [M, ...], with a projection onto the equivariant ones.

    As a module it is one member, whose parameters have the same names (and no leading axis).

    Attributes:
        layers: names of the weights whose equivariance is in question, in the order of the layers.
            The other weights (fully connected layers after an invariant map, biases) act where the
            group acts trivially: any value is equivariant.
        fixed: names of the weights that are not trained.
    """

    layers: tuple[str, ...]
    fixed: tuple[str, ...] = ()

    @abstractmethod
    def draw(self, generator: torch.Generator) -> Weights:
        """Weights of one member ([1, ...], float32, on the CPU), equivariant; the same for the same
        generator state.
        """

    def respond(self, weights: Weights, images: Tensor) -> Tensor:
        """Outputs [M, B, ...] of M members on images [M, B, C, H, W], or [1, B, C, H, W] if all see
        the same.
        """
        return self.evaluate(self.compact(weights), images)

    @abstractmethod
    def evaluate(self, compact: Weights, images: Tensor) -> Tensor:
        """`respond` from compact weights: what a gradient over many batches is taken of."""

    def compact(self, weights: Weights) -> Weights:
        """What `evaluate` needs of the weights, where that is less than all; linear."""
        return weights

    def compact_adjoint(self, gradient: Weights, weights: Weights) -> Weights:
        """The gradient with respect to the (trained) weights from that with respect to the compact
        ones.
        """
        return gradient

    @abstractmethod
    def project(self, weights: Weights) -> Weights:
        """The orthogonal projection onto the equivariant ones among the weights that the network
        can have, or of a gradient.
        """

    @abstractmethod
    def equivariant_dimension(self) -> int:
        """The dimension of what `project` projects one member's (trained) weights onto: of E, and
        of all other weights.
        """

    @abstractmethod
    def linear_maps(self, weights: Weights) -> Weights:
        """The layers as linear maps [M, ...] in a basis that is orthonormal: where norms are those
        of the theory.
        """

    @abstractmethod
    def outside(self, maps: Weights) -> Weights:
        """The part A - Pi_E A of linear maps that is not equivariant."""

    def distance(self, weights: Weights) -> Tensor:
        """The norm of A - Pi_E A, the distance from E: [M, layers], float64."""
        return self.norms(self.outside(self.linear_maps(weights)))

    def change(self, weights: Weights, start: Weights) -> Tensor:
        """The norm of A - A_0: [M, layers], float64."""
        now, before = self.linear_maps(weights), self.linear_maps(start)
        return self.norms({name: now[name] - before[name] for name in self.layers})

    def norms(self, maps: Weights) -> Tensor:
        """Frobenius norms [M, layers], float64."""
        return torch.stack([norm(maps[name]) for name in self.layers], dim=1)

    def become(self, weights: Weights) -> None:
        """Take one member's weights [1, ...] as this module's parameters."""
        for name, value in weights.items():
            if name in self.fixed:
                self.register_buffer(name, value[0].clone())
            else:
                self.register_parameter(name, nn.Parameter(value[0].clone()))

    def own_weights(self) -> Weights:
        """This member's weights, [1, ...]."""
        own = dict(self.named_parameters()) | {name: self.get_buffer(name) for name in self.fixed}
        return {name: value.unsqueeze(0) for name, value in own.items()}

    @abstractmethod
    def distance_to_equivariance(self, group: GroupName) -> dict[str, float]:
        """The distance of each of this member's layers from E of a group.

        Raises:
            ValueError: the group does not act on the layers.
        """

    def forward(self, images: Tensor) -> Tensor:
        """Outputs [B, ...] of this member on images [B, C, H, W]."""
        return self.respond(self.own_weights(), images.unsqueeze(0))[0]


def norm(tensor: Tensor) -> Tensor:
    """Frobenius norm of every member of [M, ...]: [M], float64. Chunks keep the copy in float64
    small.
    """
    parts = tensor.detach().flatten(1).split(1 << 18, dim=1)
    return torch.linalg.vector_norm(
        torch.stack([torch.linalg.vector_norm(p, dim=1, dtype=torch.float64) for p in parts]), dim=0
    )
