"""Groups of the plane, of space and of permutations, and how they act."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "base": "AffineGroup Group LieGroup homogeneous",
        "planar": "Affine2 E2 Rotation2 SE2 Translation2",
        "spatial": "Affine3 SE3 SO3 T3 Trivial3",
        "point_groups": "Cyclic Dihedral DiscreteIsometries Elements O2 SO2 SemidirectProduct "
        "Stabiliser Trivial",
        "permutation": "CyclicShifts1d CyclicShifts2d PermutationGroup QuarterTurns "
        "ShiftsAndQuarterTurns SymmetricGroup named_group",
        "reynolds": "Orbits",
        "rotations": "motion_exp motion_log rotation_exp rotation_log",
        "actions": "act_on_images act_on_points rotate_images warp",
    },
)
