"""Pass what the layers of a network share in one forward pass."""

import inspect
from dataclasses import dataclass, field

from torch import Tensor, nn

from learnsym.utils.rng import BatchRows


@dataclass
class ForwardContext:
    """Hold what the layers of a network share in one forward pass.

    A network that takes it has a parameter `context` and hands it to its layers.

    Attributes:
        rows: which examples of a global batch the inputs are; None: all of them.
        offset: random offset [] of the sampled elements, where all layers share one.
        penalties: terms of the loss; in training each layer with a kernel decay appends its own.
    """

    rows: BatchRows | None = None
    offset: Tensor | None = None
    penalties: list[Tensor] = field(default_factory=list)


def takes_context(net: nn.Module) -> bool:
    """Return whether the network's forward has a parameter `context`."""
    return "context" in inspect.signature(net.forward).parameters


def call_network(net: nn.Module, inputs: Tensor, context: ForwardContext) -> Tensor:
    """Call a network with the context where it takes one, with the inputs alone where not."""
    return net(inputs, context) if takes_context(net) else net(inputs)


class TrainedNetwork(nn.Module):
    """Call a network in training; return its outputs and the penalties of its layers.

    A module of its own, since data parallelism and compilation wrap what is called. For penalties
    of the parameters alone see `learnsym.distributions.base.penalty`.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._takes_context = takes_context(net)

    def forward(self, inputs: Tensor, rows: BatchRows | None) -> tuple[Tensor, list[Tensor]]:
        """Map inputs to outputs and terms of the loss; `rows`: see `ForwardContext`."""
        context = ForwardContext(rows)
        outputs = self.net(inputs, context) if self._takes_context else self.net(inputs)
        return outputs, context.penalties


def rows_of(context: ForwardContext | None) -> BatchRows | None:
    """Return the rows of a context, None where there is no context."""
    return None if context is None else context.rows
