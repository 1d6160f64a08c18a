"""Passes that measure a network: in evaluation mode, repeatable, leaving no trace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from learnsym.nets.augerino import Augerino

_SEED = 0
"""Every pass sees the same draws of a network's augmentation: outputs differ by the input alone."""


@contextmanager
def evaluating(net: nn.Module, copies: Callable[[Augerino], int] | None = None) -> Iterator[None]:
    """Put a network into evaluation mode, and back.

    Args:
        net: batch norm takes running statistics, dropout is off.
        copies: transforms of an input that an Augerino network averages; None: its setting.
    """
    training = net.training
    before = [(m, m.test_copies) for m in net.modules() if isinstance(m, Augerino)]
    net.eval()
    try:
        for module, _ in before:
            module.test_copies = copies(module) if copies else module.test_copies
        yield
    finally:
        net.train(training)
        for module, test_copies in before:
            module.test_copies = test_copies


def seeded_forward(net: nn.Module, inputs: Tensor) -> Tensor:
    """Compute outputs with the same draws in every call."""
    with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
        torch.manual_seed(_SEED)
        return net(inputs)


def dtype_of(net: nn.Module) -> torch.dtype:
    """Return the dtype of a network's parameters, float32 if it has none."""
    return next((p.dtype for p in net.parameters()), torch.float32)
