"""The E(2)-steerable baseline of Augerino (Benton et al. 2020), after Weiler and Cesa (2019)."""

from typing import TYPE_CHECKING, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.layers.input_checks import check_images
from learnsym.layers.steerable import NormPool, NormReLU, RegularPool, RegularReLU, SteerableConv
from learnsym.schema import Size

if TYPE_CHECKING:
    from learnsym.nets.e2cnn_compat import Representation, gspaces

PlanarGroup = Literal["CN", "DN", "SO2", "O2"]


class E2Steerable(nn.Module):
    """Classify images invariantly under a group of rotations (and mirror images).

    Bases of kernels come from e2cnn. Three steerable convolutions 3 x 3 to `fields` fields, each
    with batch normalisation and ReLU; a fourth to `last_fields`; average over 3 x 3 pixels; pooling
    over the group; mean over space; linear to `hidden`, ELU, linear to the outputs.

    * CN, DN: regular fields (N or 2 N components that the group permutes), pooled by their maximum,
      as in the paper.
    * SO2, O2 (not in the paper): a field is the direct sum of the irreps of frequency 0 (even,
      under O2) to `max_frequency`; ReLU acts on norms, and pooling takes norms.

    Quarter turns (where the group has them) and, for DN and O2, mirror images are exact up to
    rounding on images of any size: every step commutes with the symmetries of the pixel grid. So
    the average pool has stride 1 here; with stride 3 and 32 pixels it would leave out the last two
    rows, and with them the symmetry. Other angles are approximate, as the grid is
    (tests/nets/test_e2_steerable.py holds the tolerances). The published baseline is another
    network: share_hidden=True, padding=0, pool_stride=3.

    Args:
        group: CN (rotations by 2 pi / N), DN (and mirror images), SO2 (all rotations), O2 (and
            mirror images).
        order: N, at least 2, for CN and DN; None for SO2 and O2.
        max_frequency: of the irreps in a field, for SO2 and O2; None for CN and DN.
        share_hidden: apply one hidden convolution with its normalisation twice, instead of two with
            weights of their own.
        padding: 0 shrinks a map by two pixels with every convolution.

    Shape: [B, in_channels, H, W] to [B, num_outputs], with H, W >= 3, or >= 11 without padding.
    """

    # A map of a layer is no scalar field: analyses that move maps like images leave it alone.
    mixes_channels = True

    def __init__(
        self,
        in_channels: Size,
        num_outputs: Size,
        group: PlanarGroup = "CN",
        order: Size | None = 4,
        max_frequency: Size | None = None,
        fields: Size = 8,
        last_fields: Size = 2,
        hidden: Size = 64,
        share_hidden: bool = False,
        padding: Literal[0, 1] = 1,
        pool_stride: Size = 1,
    ) -> None:
        super().__init__()
        self.check_arguments(group, order, max_frequency)
        self.pool_stride = pool_stride
        # The average pool, and four convolutions before it.
        self.smallest_side = 3 if padding else 11
        self.in_channels = in_channels
        self.group, self.order, self.max_frequency = group, order, max_frequency
        space, field = _fields_of(group, order, max_frequency)
        sizes = tuple(space.irreps[name].size for name in field.irreps)
        trivial = tuple(space.irreps[name].is_trivial() for name in field.irreps)

        def block(before: "Representation", count: int) -> list[nn.Module]:
            conv = _steerable_conv(space, before, count, field, fields, padding)
            return [conv, RegularReLU(fields) if order else NormReLU(fields, sizes, trivial)]

        layers, hidden_block = block(space.trivial_repr, in_channels), block(field, fields)
        layers += [*hidden_block, *(hidden_block if share_hidden else block(field, fields))]
        layers.append(_steerable_conv(space, field, fields, field, last_fields, padding))
        self.features = nn.Sequential(*layers)
        norms = NormPool(last_fields, sizes, trivial)
        self.group_pool = RegularPool(last_fields) if order else norms
        invariants = nn.Linear(last_fields if order else last_fields * len(sizes), hidden)
        self.head = nn.Sequential(invariants, nn.ELU(), nn.Linear(hidden, num_outputs))

    @staticmethod
    def check_arguments(
        group: PlanarGroup, order: int | None, max_frequency: int | None, **others: object
    ) -> None:
        """Check what the constructor does, without the seconds that e2cnn takes to build.

        A finite group has an order and no largest frequency, a continuous one the reverse.
        """
        if group not in ("CN", "DN", "SO2", "O2"):
            raise ValueError(f"group is {group!r}; choose CN, DN, SO2 or O2")
        values = {"order": order, "max_frequency": max_frequency}
        kind, needed, least, other = "continuous", "max_frequency", 1, "order"
        if group in ("CN", "DN"):
            kind, needed, least, other = "finite", "order", 2, "max_frequency"
        if (values[needed] or 0) < least:
            raise ValueError(
                f"{needed} is {values[needed]} for the group {group}, which needs at least {least}"
            )
        if values[other] is not None:
            raise ValueError(
                f"{other} is {values[other]}, but the group {group} is {kind}: leave it null"
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, num_outputs]."""
        check_images("E2Steerable", images, self.in_channels, self.smallest_side)
        x = F.avg_pool2d(self.features(images), 3, stride=self.pool_stride)
        return self.head(self.group_pool(x).mean((-2, -1)))

    def extra_repr(self) -> str:
        """Show the group in print(network)."""
        return f"group={self.group}, order={self.order}, max_frequency={self.max_frequency}"


def _fields_of(
    group: PlanarGroup, order: int | None, max_frequency: int | None
) -> "tuple[gspaces.GeneralOnR2, Representation]":
    """Return the group's action on the plane and the type of a field."""
    from learnsym.nets.e2cnn_compat import building, directsum, gspaces

    build = gspaces.Rot2dOnR2 if group in ("CN", "SO2") else gspaces.FlipRot2dOnR2
    with building():
        if order:
            space = build(order)
            return space, space.regular_repr
        assert max_frequency is not None
        space = build(-1, maximum_frequency=max_frequency)
        if group == "SO2":
            irreps = [space.irrep(k) for k in range(max_frequency + 1)]
        else:
            # Without the odd scalar: nothing equivariant leads to it from the channels of an image.
            irreps = [space.irrep(0, 0), *(space.irrep(1, k) for k in range(1, max_frequency + 1))]
        return space, directsum(irreps, name=f"irreps up to {max_frequency}")


def _steerable_conv(
    space: "gspaces.GeneralOnR2",
    in_repr: "Representation",
    in_fields: int,
    out_repr: "Representation",
    out_fields: int,
    padding: int,
) -> SteerableConv:
    """Build a 3 x 3 convolution with the basis and the initial weights of e2cnn."""
    from learnsym.nets.e2cnn_compat import building, enn

    with building():
        in_type = enn.FieldType(space, [in_repr] * in_fields)
        out_type = enn.FieldType(space, [out_repr] * out_fields)
        # recompute: a basis of our own, not the one that e2cnn shares between all networks of the
        # process.
        conv: enn.R2Conv = enn.R2Conv(in_type, out_type, 3, padding=1, recompute=True)
    (block,) = conv.basisexpansion.children()  # one pair of field types, hence one block
    basis = block.sampled_basis.unflatten(-1, (3, 3))
    weights = conv.weights.detach().view(out_fields, in_fields, len(basis))
    return SteerableConv(basis, weights, conv.bias_expansion[: out_repr.size, 0], padding)
