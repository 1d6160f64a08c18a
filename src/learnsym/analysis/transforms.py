"""What moves an input, and with it the maps inside a network: turns and mirror images, and groups
that permute pixels.

A motion acts on images (as (g f)(y) = f(g^-1 y)), on clouds of points in space, and on the elements
of a network's group.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from learnsym.errors import ConfigError
from learnsym.groups.actions import act_on_points, rotate_images
from learnsym.groups.base import homogeneous
from learnsym.groups.permutation import GroupName, PermutationGroup, named_group
from learnsym.groups.point_groups import ANGLE_TOLERANCE, Elements, wrap_angle
from learnsym.groups.rotations import rotation_exp

RulerName = Literal["rotation", GroupName]
"""The groups that an equivariance error can be measured against: rotations by given angles, or a
group that permutes pixels."""
DRAWS = 0
"""Seed of axes and elements: every network is measured against the same ones."""


class Move(Protocol):
    """One motion, or one drawn for each example."""

    @property
    def name(self) -> str:
        """As in the names of metrics."""

    @property
    def exact(self) -> bool:
        """Whether pixels go to pixels."""

    def acts_on(self, maps: Tensor) -> bool:
        """Whether it is known how maps [..., H, W] move."""

    def on_images(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""

    def on_clouds(self, clouds: Tensor) -> Tensor:
        """[B, N, 3 + C] to the same."""

    def places(self, elements: Elements) -> Tensor:
        """For each element h the index of g^-1 h in the same set, or -1 where it is not in it,
        [n].
        """


@dataclass(frozen=True)
class Motion:
    """A turn of images counter-clockwise as seen on the screen, after a mirror image (left and
    right exchanged) if `mirror`.

    Of clouds a turn about the origin, each about an axis of its own, drawn uniformly, after x -> -x
    if `mirror`.
    """

    degrees: float
    mirror: bool = False

    @property
    def name(self) -> str:
        """90deg, mirror, mirror_90deg."""
        return "_".join(
            [
                *(["mirror"] if self.mirror else []),
                *([f"{self.degrees:g}deg"] if self.degrees or not self.mirror else []),
            ]
        )

    @property
    def exact(self) -> bool:
        """Whether pixels go to pixels."""
        return self.degrees % 90 == 0

    def acts_on(self, maps: Tensor) -> bool:
        """On all."""
        return True

    def on_images(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        images = images.flip(-1) if self.mirror else images
        if self.exact:
            return torch.rot90(images, int(self.degrees // 90), (-2, -1))
        return rotate_images(
            images,
            torch.full((len(images),), math.radians(self.degrees), dtype=images.dtype).to(
                images.device
            ),
        )

    def on_clouds(self, clouds: Tensor) -> Tensor:
        """[B, N, 3 + C] to the same; padding, zeros, stays where it is."""
        axes = torch.randn(
            len(clouds), 3, generator=torch.Generator().manual_seed(DRAWS), dtype=torch.float64
        )
        turns = rotation_exp(math.radians(self.degrees) * axes / axes.norm(dim=1, keepdim=True))
        if self.mirror:
            turns = turns * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
        elements = homogeneous(turns).to(clouds.device, clouds.dtype)
        return torch.cat([act_on_points(elements, clouds[..., :3]), clouds[..., 3:]], -1)

    def places(self, elements: Elements) -> Tensor:
        """For each element h the index of g^-1 h in the same set, or -1 where it is not in it,
        [n].
        """
        # y runs down, so that counter-clockwise on the screen is the angle -r.
        one = torch.ones(1, dtype=elements.angle.dtype, device=elements.angle.device)
        motion = Elements(-math.radians(self.degrees) * one, -one if self.mirror else one)
        wanted = motion.inverse().product(elements)
        apart = wrap_angle(wanted.angle[:, None] - elements.angle).abs()
        same = (apart < 10 * ANGLE_TOLERANCE) & (wanted.sign[:, None] == elements.sign)
        return torch.where(same.any(1), same.to(torch.int8).argmax(1), -1)


@dataclass(frozen=True)
class Permuted:
    """Elements of a group that permutes the pixels of side x side images, one drawn for each image;
    exact, shifts are cyclic.
    """

    group: PermutationGroup
    name: str
    exact: bool = field(default=True, init=False)

    def acts_on(self, maps: Tensor) -> bool:
        """On maps of the images' own side."""
        return maps.shape[-2:] == (self.group.side, self.group.side)

    def on_images(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        tables = self.group.sample(len(images), torch.Generator().manual_seed(DRAWS))
        return self.group.act(tables[:, None], images.flatten(2)).view_as(images)

    def on_clouds(self, clouds: Tensor) -> Tensor:
        """A cloud has no pixels."""
        raise ValueError(f"{self.group} acts on images, not on clouds of points")

    def places(self, elements: Elements) -> Tensor:
        """A shift leaves the element as it is; of other groups this is not looked into, and the
        maximum is compared.
        """
        index = torch.arange(len(elements), device=elements.angle.device)
        return index if self.name in ("shift_x", "shift_xy") else torch.full_like(index, -1)


def moves(
    group: RulerName, angles: Sequence[float], mirror: bool, input_shape: Sequence[int]
) -> list[Move]:
    """The motions to measure against.

    Args:
        group: rotations by `angles` (and the mirror image if `mirror`), the three quarter turns, or
            a permuting group.
        angles: in degrees.
        mirror: for rotations alone.
        input_shape: of an image [C, H, W], of a cloud [A, 4].

    Raises:
        ConfigError: the group does not act on such inputs.
    """
    if group not in get_args(RulerName) and group not in get_args(GroupName):
        raise ConfigError(
            f"group={group}: there is no such group; valid: rotation, {', '.join(get_args(GroupName))}."
        )
    if group in ("rotation", "quarter_turns"):
        degrees = angles if group == "rotation" else (90.0, 180.0, 270.0)
        return [*map(Motion, degrees), *([Motion(0.0, mirror=True)] if mirror else [])]
    if len(input_shape) != 3:
        raise ConfigError(
            f"group={group} acts on images, and these are clouds of points; group=rotation would be right."
        )
    side = input_shape[-1]
    if input_shape[-2] != side:
        raise ConfigError(
            f"group={group} acts on square images, and these have {input_shape[-2]} x {side} pixels."
        )
    return [Permuted(named_group(group, side), group)]
