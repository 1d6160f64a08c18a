"""Networks as functions of the weights of many members at once (dynamics paper).

Members are repetitions of one network with different weights. Their weights are one dictionary of
tensors [M, ...], member first, so that a step of all members is a step of batched matrix products.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from learnsym.groups.permutation import GroupName
from learnsym.utils.rng import generator

Weights = dict[str, Tensor]
"""Weights of M members by name, each [M, ...]."""


class EnsembleNet(nn.Module, ABC):
    """A network as a function of weights [M, ...], with a projection.

    E is the space of equivariant weights. As a module the network is one member, whose parameters
    have the same names and no leading axis.

    Attributes:
        layers: names of the weights whose equivariance is measured. The group acts trivially on all
            others (fully connected layers after an invariant map, biases).
        fixed: names of the weights that are not trained.
    """

    layers: tuple[str, ...]
    fixed: tuple[str, ...] = ()

    @abstractmethod
    def sample_equivariant(self, generator: torch.Generator) -> Weights:
        """Draw equivariant weights of one member, [1, ...], float32 on the CPU."""

    @abstractmethod
    def project(self, weights: Weights) -> Weights:
        """Project weights, or a gradient, orthogonally onto E."""

    @abstractmethod
    def equivariant_dimension(self) -> int:
        """Count the dimensions of E, for one member."""

    @abstractmethod
    def distance_to_equivariance(self, group: GroupName) -> dict[str, float]:
        """Measure each layer; raise a ValueError for a group without action."""

    def reduce(self, weights: Weights) -> Weights:
        """Map the weights linearly to the smaller ones that the function depends on."""
        return weights

    @abstractmethod
    def forward_reduced(self, reduced: Weights, images: Tensor) -> Tensor:
        """Compute the outputs from reduced weights, see `reduce` and `forward_members`."""

    def forward_members(self, weights: Weights, images: Tensor) -> Tensor:
        """Compute outputs [M, B, ...] on images [M or 1, B, C, H, W]."""
        return self.forward_reduced(self.reduce(weights), images)

    def forward(self, images: Tensor) -> Tensor:
        """Compute outputs [B, ...] of this module on images [B, C, H, W]."""
        return self.forward_members(self.member_weights(), images.unsqueeze(0))[0]

    def linear_maps(self, weights: Weights) -> Weights:
        """Express the layers as linear maps [M, ...] in an orthonormal basis."""
        return {name: weights[name] for name in self.layers}

    def residual(self, maps: Weights) -> Weights:
        """Compute A - Pi_E A of linear maps A."""
        projected = self.project(maps)
        return {name: maps[name] - projected[name] for name in self.layers}

    def distance(self, weights: Weights) -> Tensor:
        """Compute the distance from E, ||A - Pi_E A||: [M, layers], float64."""
        return self.norms(self.residual(self.linear_maps(weights)))

    def change(self, weights: Weights, start: Weights) -> Tensor:
        """Compute ||A - A_0||: [M, layers], float64."""
        maps, start_maps = self.linear_maps(weights), self.linear_maps(start)
        return self.norms({name: maps[name] - start_maps[name] for name in self.layers})

    def norms(self, maps: Weights) -> Tensor:
        """Compute Frobenius norms [M, layers], float64."""
        return torch.stack([_frobenius_norm(maps[name]) for name in self.layers], dim=1)

    def load_member(self, weights: Weights) -> None:
        """Take the weights [1, ...] of one member as parameters of this module."""
        for name, value in weights.items():
            if name in self.fixed:
                self.register_buffer(name, value[0].clone())
            else:
                self.register_parameter(name, nn.Parameter(value[0].clone()))

    def member_weights(self) -> Weights:
        """Return the parameters of this module as weights [1, ...]."""
        named = dict(self.named_parameters()) | {name: self.get_buffer(name) for name in self.fixed}
        return {name: value.unsqueeze(0) for name, value in named.items()}


def _frobenius_norm(tensor: Tensor) -> Tensor:
    """Compute the norm of each member, [M, ...] to [M], float64."""
    chunks = tensor.detach().flatten(1).split(1 << 18, dim=1)
    norms = [torch.linalg.vector_norm(chunk, dim=1, dtype=torch.float64) for chunk in chunks]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)


def slice_members(weights: Weights, start: int, stop: int) -> Weights:
    """Return views of the members start:stop."""
    return {name: weight[start:stop] for name, weight in weights.items()}


def concat_members(ensembles: Sequence[Weights]) -> Weights:
    """Concatenate ensembles along the axis of members."""
    return {name: torch.cat([weights[name] for weights in ensembles]) for name in ensembles[0]}


def weights_like(weights: Weights, reference: Tensor) -> Weights:
    """Move weights to the device and dtype of a tensor."""
    return {name: w.to(reference.device, reference.dtype) for name, w in weights.items()}


def member_generators(seed: int, members: range, purpose: str) -> list[torch.Generator]:
    """Seed a generator for each member by number and purpose."""
    return [generator(seed, f"member {m}/{purpose}") for m in members]
