"""Optimisation dynamics: building symmetry in against training for it, with ensembles."""

from learnsym.dynamics.c4_conv import C4Conv
from learnsym.dynamics.ensemble import EnsembleNet, Weights
from learnsym.dynamics.equivariant_projection import EquivariantSubspace, project_module
from learnsym.dynamics.gradient_flows import ARMS, GradientFlows
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.dynamics.records import Records
from learnsym.dynamics.risk import GroupAugmentation
from learnsym.dynamics.sgd import MiniBatchSGD

__all__ = [
    "ARMS",
    "C4Conv",
    "EnsembleNet",
    "EquivariantSubspace",
    "GradientFlows",
    "GroupAugmentation",
    "MiniBatchSGD",
    "ProjectedLinear",
    "Records",
    "Weights",
    "project_module",
]
