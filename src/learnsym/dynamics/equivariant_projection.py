"""Orthogonal projections onto E, the equivariant weights, and onto its complement.

Every `EnsembleNet` brings Pi_E in closed form (`EnsembleNet.project`): means over the orbits of its
group, which `learnsym.groups.reynolds` computes. Here it acts on modules and on flat vectors.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from learnsym.dynamics.ensemble import EnsembleNet
from learnsym.errors import ConfigError

Restriction = Literal["none", "equivariant", "complement"]
"""Weights that are considered: all, those in E, or those in its orthogonal complement."""


@torch.no_grad()
def project_module(net: EnsembleNet) -> None:
    """Replace the parameters of a module by their projection onto E."""
    for name, weight in net.project(net.member_weights()).items():
        net.get_parameter(name).copy_(weight[0])


def check_projection(net: type, basis: str | None, setting: str) -> None:
    """Refuse a setting that needs Pi_E for a class of networks that has none."""
    if not issubclass(net, EnsembleNet):
        raise ConfigError(
            f"{setting}: {net.__name__} knows no projection onto equivariant weights. Try "
            "net=projected_linear or net=c4_conv."
        )
    if basis == "random":
        raise ConfigError(
            f"{setting}: in the coordinates of net.basis=random E has no orthogonal projection. "
            "Try net.basis=orthonormal."
        )


class EquivariantSubspace:
    """Project vectors of a network's parameters onto E, or onto its orthogonal complement.

    E holds the equivariant weights of an `EnsembleNet`, and all on which the group acts trivially.
    A ConfigError refuses networks without orthogonal projection, and spaces of `dimension` 0.
    """

    def __init__(self, net: nn.Module, restriction: Literal["equivariant", "complement"]) -> None:
        basis = "random" if getattr(net, "fixed", ()) else None
        check_projection(type(net), basis, f"mode.restrict={restriction}")
        assert isinstance(net, EnsembleNet)
        self.net, self.complement = net, restriction == "complement"
        self.shapes = {name: p.shape for name, p in net.named_parameters() if p.requires_grad}
        inside, total = net.equivariant_dimension(), sum(s.numel() for s in self.shapes.values())
        self.dimension = total - inside if self.complement else inside
        if not self.dimension:
            raise ConfigError(
                f"mode.restrict={restriction}: no weights of this network lie there. Try none."
            )

    @torch.no_grad()
    def __call__(self, vector: Tensor) -> Tensor:
        """Project a vector [P], in float64."""
        chunks = vector.split([shape.numel() for shape in self.shapes.values()])
        pairs = zip(self.shapes.items(), chunks, strict=True)
        projected = self.net.project({name: c.view(1, *shape) for (name, shape), c in pairs})
        inside = torch.cat([projected[name].flatten() for name in self.shapes])
        return vector - inside if self.complement else inside
