"""Groups of the plane, of space and of permutations, and how they act."""

from learnsym.groups.actions import act_on_images, act_on_points, rotate_images, warp
from learnsym.groups.base import AffineGroup, Group, LieGroup, homogeneous
from learnsym.groups.matrix_exp import matrix_exp
from learnsym.groups.permutation import (
    CyclicShifts1d,
    CyclicShifts2d,
    PermutationGroup,
    QuarterTurns,
    ShiftsAndQuarterTurns,
    SymmetricGroup,
    named_group,
)
from learnsym.groups.planar import E2, SE2, Affine2, Rotation2, Translation2
from learnsym.groups.point_groups import (
    O2,
    SO2,
    Cyclic,
    Dihedral,
    DiscreteIsometries,
    Elements,
    SemidirectProduct,
    Stabiliser,
    Trivial,
)
from learnsym.groups.reynolds import Orbits
from learnsym.groups.rotations import motion_exp, motion_log, rotation_exp, rotation_log
from learnsym.groups.spatial import SE3, SO3, T3, Affine3, Trivial3

__all__ = [
    "E2",
    "O2",
    "SE2",
    "SE3",
    "SO2",
    "SO3",
    "T3",
    "Affine2",
    "Affine3",
    "AffineGroup",
    "Cyclic",
    "CyclicShifts1d",
    "CyclicShifts2d",
    "Dihedral",
    "DiscreteIsometries",
    "Elements",
    "Group",
    "LieGroup",
    "Orbits",
    "PermutationGroup",
    "QuarterTurns",
    "Rotation2",
    "SemidirectProduct",
    "ShiftsAndQuarterTurns",
    "Stabiliser",
    "SymmetricGroup",
    "Translation2",
    "Trivial",
    "Trivial3",
    "act_on_images",
    "act_on_points",
    "homogeneous",
    "matrix_exp",
    "motion_exp",
    "motion_log",
    "named_group",
    "rotate_images",
    "rotation_exp",
    "rotation_log",
    "warp",
]
