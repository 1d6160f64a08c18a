"""The zoo: every network that the property suite (test_properties.py) runs over. A new network is one entry in ZOO."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from learnsym.analysis.equivariance import mirror_images, quarter_turns
from learnsym.nets.conv5 import Conv5
from learnsym.nets.conv13 import Conv13
from learnsym.nets.e2_steerable import E2Steerable
from learnsym.nets.simple_conv import SimpleConv


@dataclass(frozen=True)
class Case:
    """A small network and what it promises.

    Attributes:
        build: makes it; called with torch's seed set.
        image: (C, H, W) of an input.
        outputs: length of an output.
        invariant_under: transformations of inputs [B, C, H, W] that must leave the output as it is.
    """

    build: Callable[[], nn.Module]
    image: tuple[int, int, int]
    outputs: int
    invariant_under: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)

    def inputs(self, count: int) -> Tensor:
        return torch.randn(count, *self.image, generator=torch.Generator().manual_seed(1))


HALF_TURN = {"180 degrees": quarter_turns()["180 degrees"]}
DIHEDRAL = quarter_turns() | mirror_images()
SMALL = {"fields": 3, "hidden": 8}

ZOO = {
    "simple_conv": Case(lambda: SimpleConv(3, 4, width=4), (3, 16, 16), 4),
    "simple_conv_8x8": Case(lambda: SimpleConv(1, 1, width=4), (1, 8, 8), 1),
    "conv5": Case(lambda: Conv5(1, 10, width=4), (1, 13, 13), 10),
    "conv13": Case(lambda: Conv13(3, 10, width=4), (3, 12, 12), 10),
    "e2_c4_even": Case(lambda: E2Steerable(3, 4, "CN", 4, **SMALL), (3, 14, 14), 4, quarter_turns()),
    "e2_c4_odd": Case(lambda: E2Steerable(1, 1, "CN", 4, **SMALL), (1, 11, 11), 1, quarter_turns()),
    "e2_c4_wide": Case(lambda: E2Steerable(1, 2, "CN", 4, **SMALL), (1, 9, 14), 2, quarter_turns()),
    "e2_c8": Case(lambda: E2Steerable(1, 3, "CN", 8, **SMALL), (1, 10, 10), 3, quarter_turns()),
    "e2_c10": Case(lambda: E2Steerable(1, 10, "CN", 10, **SMALL), (1, 10, 10), 10, HALF_TURN),
    "e2_d4": Case(lambda: E2Steerable(2, 3, "DN", 4, **SMALL), (2, 10, 10), 3, DIHEDRAL),
    "e2_so2": Case(lambda: E2Steerable(2, 3, "SO2", None, 2, **SMALL), (2, 11, 11), 3, quarter_turns()),
    "e2_o2": Case(lambda: E2Steerable(2, 3, "O2", None, 2, **SMALL), (2, 10, 10), 3, DIHEDRAL),
}


def trained_a_little(case: Case) -> nn.Module:
    """The network after a few passes in training mode, so that its running statistics are not all zeros and ones."""
    torch.manual_seed(0)
    net = case.build()
    with torch.no_grad():
        for _ in range(10):
            net(case.inputs(8))
    return net


@pytest.fixture(params=list(ZOO))
def case(request) -> Case:
    return ZOO[request.param]


@pytest.fixture(params=[name for name, entry in ZOO.items() if entry.invariant_under])
def symmetric_case(request) -> Case:
    return ZOO[request.param]


@pytest.fixture
def net(case) -> nn.Module:
    return trained_a_little(case)


@pytest.fixture
def symmetric_net(symmetric_case) -> nn.Module:
    return trained_a_little(symmetric_case)
