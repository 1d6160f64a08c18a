"""The zoo: every network that the property suite (test_properties.py) runs over. A new network is
one entry in ZOO."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnsym.analysis.transforms import mirror_images, quarter_turns
from learnsym.distributions.sampling import FullSampling, PartialSampling
from learnsym.dynamics.c4_conv import C4Conv
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.groups.permutation import (
    CyclicShifts2d,
    PermutationGroup,
    QuarterTurns,
    ShiftsAndQuarterTurns,
    SymmetricGroup,
)
from learnsym.groups.planar import E2, SE2, Translation2
from learnsym.groups.point_groups import DiscreteIsometries, SemidirectProduct
from learnsym.kernels.siren import SIREN
from learnsym.nets.augerino_partial import PartialAugerino
from learnsym.nets.ckresnet import CKResNet
from learnsym.nets.e2_steerable import E2Steerable
from learnsym.nets.gcnn import GCNN
from learnsym.nets.lieconv import LieConvNet
from learnsym.nets.plain_cnn import Conv5, Conv13, SimpleConv


@dataclass(frozen=True)
class Case:
    """A small network and what it promises.

    Attributes:
        build: makes it; called with torch's seed set.
        image: (C, H, W) of an input, or (N, 3 + C) of a point cloud.
        outputs: length of an output.
        invariant_under: transformations of inputs [B, C, H, W] that must leave the output as it is.
        surrogate: endings of names of parameters that decide about presence: they have a gradient
            in training only, and not that of the output (a straight-through estimate,
            tests/distributions/test_elements.py).
    """

    build: Callable[[], nn.Module]
    image: tuple[int, ...]
    outputs: int
    invariant_under: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    surrogate: tuple[str, ...] = ()

    def inputs(self, count: int) -> Tensor:
        drawn = torch.randn(count, *self.image, generator=torch.Generator().manual_seed(1))
        if (
            len(self.image) == 2
        ):  # clouds of N, N - 1, N - 2, N, ... points: rows of zeros are padding
            for place in range(count):
                drawn[place, self.image[0] - place % 3 :] = 0
        return drawn


HALF_TURN = {"180 degrees": quarter_turns()["180 degrees"]}
DIHEDRAL = quarter_turns() | mirror_images()
SMALL = {"fields": 3, "hidden": 8}
PUBLISHED = {"invariant_start": "constant", "dense_start": "side", "dense_bias": False}
FULL = FullSampling()
PARTIAL_PER_IMAGE = PartialSampling(samples=4, sample_sets="image", initial_arc=0.7)


def resnet(group: SemidirectProduct, conv: FullSampling, **settings: Any) -> CKResNet:
    """A CKResNet of 3 and 6 channels on kernels of side 5: 16 pixels, 8 after block 1, 4 without
    padding."""
    settings = {"channels": 3, "kernel_size": 5, "pool_blocks": (1,), "dropout": 0.2} | settings
    return CKResNet(2, 3, group, conv, SIREN(hidden=8), **settings)


def thirteen(group: SemidirectProduct, conv: FullSampling) -> GCNN:
    """A GCNN of 3 and 6 channels."""
    return GCNN(
        2,
        3,
        group,
        conv,
        SIREN(hidden=4),
        channels=3,
        block_width_factors=(1, 1, 2, 2),
        pool_blocks=(1,),
        dropout_blocks=(2,),
    )


def turned(group: SemidirectProduct, conv: FullSampling) -> PartialAugerino:
    """A small CNN averaged over elements of the group."""
    return PartialAugerino(SimpleConv(2, 3, width=4), group, conv)


def linear(classes: int, group: PermutationGroup, **settings: Any) -> ProjectedLinear:
    """A classifier of 3 and 4 channels and 5 features."""
    return ProjectedLinear(
        2, classes, "classification", group, channels=(3, 4), features=5, **settings
    )


def shifts(*moves: tuple[int, int]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Cyclic shifts (along y, along x)."""
    return {f"shift by {move}": lambda x, move=move: x.roll(move, (-2, -1)) for move in moves}


def renumberings(*orders: list[int]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Rows and columns in another order."""
    return {
        f"nodes {order}": lambda x, order=order: x[..., order, :][..., order] for order in orders
    }


def lieconv(group: str, **settings: Any) -> LieConvNet:
    """Two blocks of 8 channels on clouds of two features."""
    return LieConvNet(
        2, 3, "regression", group, width=8, blocks=2, mixing=3, weight_widths=(4,), **settings
    )


def moved(shift: list[float]) -> Callable[[Tensor], Tensor]:
    """Point clouds elsewhere; padding stays zero."""
    return lambda x: (
        x + (x != 0).any(-1, keepdim=True) * torch.tensor([*shift, 0, 0], dtype=x.dtype)
    )


SHIFTED = {"translation": moved([0.7, -1.1, 0.4])}
REORDERED = {"points in another order": lambda x: x[:, [3, 1, 4, 0, 2]]}


ZOO = {
    "simple_conv": Case(lambda: SimpleConv(3, 4, width=4), (3, 16, 16), 4),
    "simple_conv_8x8": Case(lambda: SimpleConv(1, 1, width=4), (1, 8, 8), 1),
    "conv5": Case(lambda: Conv5(1, 10, width=4), (1, 13, 13), 10),
    "conv13": Case(lambda: Conv13(3, 10, width=4), (3, 12, 12), 10),
    "e2_c4_even": Case(
        lambda: E2Steerable(3, 4, "CN", 4, **SMALL), (3, 14, 14), 4, quarter_turns()
    ),
    "e2_c4_odd": Case(lambda: E2Steerable(1, 1, "CN", 4, **SMALL), (1, 11, 11), 1, quarter_turns()),
    "e2_c4_wide": Case(lambda: E2Steerable(1, 2, "CN", 4, **SMALL), (1, 9, 14), 2, quarter_turns()),
    "e2_c8": Case(lambda: E2Steerable(1, 3, "CN", 8, **SMALL), (1, 10, 10), 3, quarter_turns()),
    "e2_c10": Case(lambda: E2Steerable(1, 10, "CN", 10, **SMALL), (1, 10, 10), 10, HALF_TURN),
    "e2_d4": Case(lambda: E2Steerable(2, 3, "DN", 4, **SMALL), (2, 10, 10), 3, DIHEDRAL),
    "e2_so2": Case(
        lambda: E2Steerable(2, 3, "SO2", None, 2, **SMALL), (2, 11, 11), 3, quarter_turns()
    ),
    "e2_o2": Case(lambda: E2Steerable(2, 3, "O2", None, 2, **SMALL), (2, 10, 10), 3, DIHEDRAL),
    "e2_published": Case(
        lambda: E2Steerable(2, 3, "CN", 4, share_hidden=True, padding=0, pool_stride=3, **SMALL),
        (2, 14, 14),
        3,
        quarter_turns(),
    ),
    "ckresnet_t2": Case(lambda: resnet(Translation2(), FULL), (2, 16, 16), 3),
    "ckresnet_se2_full": Case(
        lambda: resnet(SE2(), FullSampling(samples=4)), (2, 16, 16), 3, quarter_turns()
    ),
    "ckresnet_se2_shared": Case(
        lambda: resnet(SE2(), FullSampling(8, "random", "network")), (2, 16, 16), 3, quarter_turns()
    ),
    "ckresnet_se2_partial": Case(
        lambda: resnet(SE2(), PartialSampling(initial_arc=0.7)), (2, 16, 16), 3
    ),
    "ckresnet_se2_images": Case(lambda: resnet(SE2(), PARTIAL_PER_IMAGE), (2, 16, 16), 3),
    "ckresnet_e2_full": Case(lambda: resnet(E2(), FULL), (2, 16, 16), 3, DIHEDRAL),
    "ckresnet_e2_partial": Case(
        lambda: resnet(E2(), PartialSampling(initial_arc=0.7)),
        (2, 16, 16),
        3,
        surrogate=("logits",),
    ),
    "ckresnet_c4": Case(
        lambda: resnet(DiscreteIsometries(4), FULL), (2, 16, 16), 3, quarter_turns()
    ),
    "ckresnet_d4": Case(
        lambda: resnet(DiscreteIsometries(4, True), FULL), (2, 16, 16), 3, DIHEDRAL
    ),
    "ckresnet_c5_partial": Case(
        lambda: resnet(DiscreteIsometries(5), PartialSampling()),
        (2, 16, 16),
        3,
        surrogate=("logits",),
    ),
    "ckresnet_last_t2": Case(lambda: resnet(SE2(), FULL, last_conv_t2=True), (2, 16, 16), 3),
    "ckresnet_pooling": Case(
        lambda: resnet(SE2(), FULL, learnable_final_pooling=True, final_spatial_dim=4),
        (2, 16, 16),
        3,
    ),
    "ckresnet_layer_norm": Case(
        lambda: resnet(SE2(), FullSampling(samples=4), norm="layer"),
        (2, 16, 16),
        3,
        quarter_turns(),
    ),
    "ckresnet_e2_layer_norm": Case(
        lambda: resnet(E2(), PartialSampling(initial_arc=0.7), norm="layer"),
        (2, 16, 16),
        3,
        surrogate=("logits",),
    ),
    "augerino_partial": Case(
        lambda: turned(SE2(), PartialSampling(samples=4, initial_arc=0.7)), (2, 16, 16), 3
    ),
    "augerino_partial_e2": Case(
        lambda: turned(E2(), PartialSampling(samples=4, initial_arc=0.7)),
        (2, 16, 16),
        3,
        surrogate=("logits",),
    ),
    "augerino_partial_images": Case(lambda: turned(SE2(), PARTIAL_PER_IMAGE), (2, 16, 16), 3),
    "augerino_full": Case(lambda: turned(E2(), FullSampling(samples=8)), (2, 16, 16), 3, DIHEDRAL),
    "gcnn_t2": Case(lambda: thirteen(Translation2(), FULL), (2, 12, 12), 3),
    "gcnn_se2_full": Case(lambda: thirteen(SE2(), FULL), (2, 12, 12), 3, quarter_turns()),
    "gcnn_se2_partial": Case(
        lambda: thirteen(SE2(), PartialSampling(initial_arc=0.7)), (2, 12, 12), 3
    ),
    "gcnn_e2_partial": Case(
        lambda: thirteen(E2(), PartialSampling(initial_arc=0.7)),
        (2, 12, 12),
        3,
        surrogate=("logits",),
    ),
    # Their inputs are no symmetric matrices: with symmetric_inputs=True they would not see the
    # entries below the diagonal.
    "linear_turns": Case(
        lambda: linear(3, QuarterTurns(5), hidden=(4,)), (2, 5, 5), 3, quarter_turns()
    ),
    "linear_shifts": Case(
        lambda: linear(3, CyclicShifts2d(4)), (2, 4, 4), 3, shifts((0, 1), (3, 2))
    ),
    "linear_motions": Case(
        lambda: linear(3, ShiftsAndQuarterTurns(4)), (2, 4, 4), 3, shifts((1, 2)) | quarter_turns()
    ),
    "linear_graphs": Case(
        lambda: linear(2, SymmetricGroup(6), hidden=(4,)),
        (2, 6, 6),
        2,
        renumberings([1, 2, 3, 4, 5, 0], [0, 3, 2, 1, 5, 4]),
    ),
    "linear_published": Case(
        lambda: linear(
            3,
            CyclicShifts2d(4),
            hidden=(4,),
            before_norm="tanh",
            invariant_start="constant",
            dense_start="side",
            dense_bias=False,
            softmax=True,
        ),
        (2, 4, 4),
        3,
        shifts((0, 1), (3, 2)),
    ),
    # They start equivariant; in a random basis, up to the rounding of coefficients that may be
    # large.
    "c4_cross": Case(lambda: C4Conv(2, 3, 12, (3, 4, 4)), (2, 12, 12), 3, quarter_turns()),
    "c4_skew": Case(lambda: C4Conv(2, 3, 12, (3, 4, 4), "skew"), (2, 12, 12), 3, quarter_turns()),
    "c4_published": Case(
        lambda: C4Conv(2, 3, 12, (3, 4, 4), order="pool_tanh"), (2, 12, 12), 3, quarter_turns()
    ),
    "lieconv_trivial3": Case(lambda: lieconv("trivial3"), (5, 5), 3, REORDERED),
    "lieconv_t3": Case(lambda: lieconv("t3"), (5, 5), 3, REORDERED | SHIFTED),
    "lieconv_t3_nearest": Case(
        lambda: lieconv("t3", fill=0.6, max_neighbours=2), (5, 5), 3, REORDERED | SHIFTED
    ),
    "lieconv_so3": Case(lambda: lieconv("so3"), (5, 5), 3),
    "lieconv_se3": Case(
        lambda: lieconv("se3", lift_samples=2, max_neighbours=6), (5, 5), 3, SHIFTED
    ),
    "c4_random_basis": Case(lambda: C4Conv(2, 3, 12, (3, 4, 4), basis="random"), (2, 12, 12), 3),
}


def trained_a_little(case: Case) -> nn.Module:
    """The network after a few passes in training mode, so that its running statistics are not all
    zeros and ones."""
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
