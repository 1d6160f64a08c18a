"""Learn how much symmetry a network should have.

Names are imported when they are first used, so that `import learnsym` takes no time.
"""

from learnsym.utils.lazy import lazy_names

__version__ = "0.1.0"
__all__, __getattr__ = lazy_names(
    __name__,
    {
        "groups.planar": "Affine2 E2 Rotation2 SE2 Translation2",
        "groups.spatial": "Affine3 SE3 SO3 T3 Trivial3",
        "groups.point_groups": "DiscreteIsometries",
        "groups.base": "Group LieGroup",
        "groups.permutation": "CyclicShifts1d CyclicShifts2d PermutationGroup QuarterTurns "
        "ShiftsAndQuarterTurns SymmetricGroup",
        "distributions.base": "LearnedSymmetry learned_symmetry parameter_groups penalty "
        "symmetry_step",
        "distributions.sampling": "FullSampling PartialSampling",
        "distributions.group_sampler": "GroupSampler",
        "distributions.uniform_lie_algebra": "UniformLieAlgebra",
        "kernels.siren": "SIREN",
        "kernels.mlp": "MLP",
        "kernels.multiplicative": "FourierNet GaborNet MAGNet",
        "layers.group_conv": "GroupConv LiftingConv PointwiseGroupConv",
        "layers.lie_conv": "LieConv",
        "nets.augerino": "Augerino",
        "nets.augerino_partial": "PartialAugerino",
        "nets.ckresnet": "CKResNet",
        "nets.gcnn": "GCNN",
        "nets.lieconv": "LieConvNet",
        "nets.e2_steerable": "E2Steerable",
        "dynamics.projected_linear": "ProjectedLinear",
        "dynamics.c4_conv": "C4Conv",
        "analysis.equivariance": "assert_equivariant equivariance_error",
        "analysis.transforms": "Rotation mirror_images quarter_turns",
        "data.base": "Data DataInfo ImageData Split",
        "run.mode": "Mode Outcome ResultsMode",
        "run.context": "RunContext",
        "run.trained": "TrainedModel load",
        "errors": "CheckpointError ConfigError DataError LearnSymError RunError",
        "layers.forward_context": "ForwardContext",
        "nets.plain_cnn": "Conv13 Conv5 SimpleConv",
    },
)
