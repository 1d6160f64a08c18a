"""Learn how much symmetry a network should have.

Names are imported when they are first used, so that `import learnsym` takes no time.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_MODULES = {
    "groups.planar": "Affine2 E2 Rotation2 SE2 Translation2",
    "groups.spatial": "Affine3 SE3 SO3 T3 Trivial3",
    "groups.point_groups": "DiscreteIsometries",
    "groups.base": "LieGroup",
    "groups.permutation": "CyclicShifts1d CyclicShifts2d PermutationGroup QuarterTurns "
    "ShiftsAndQuarterTurns SymmetricGroup",
    "distributions.base": "LearnedRange LearnedSymmetry learned_symmetry parameter_groups penalty "
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
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
