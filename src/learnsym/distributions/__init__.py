"""Distributions on a group, fixed or learned, and what training does for them."""

from learnsym.distributions.base import (
    LearnedRange,
    LearnedSymmetry,
    learned_symmetry,
    parameter_groups,
    penalty,
    range_metrics,
    symmetry_parameters,
    symmetry_step,
)
from learnsym.distributions.group_sampler import GroupSampler, group_samplers
from learnsym.distributions.sampling import FullSampling, PartialSampling, ResolvedSampling
from learnsym.distributions.uniform_lie_algebra import UniformLieAlgebra

__all__ = [
    "FullSampling",
    "GroupSampler",
    "LearnedRange",
    "LearnedSymmetry",
    "PartialSampling",
    "ResolvedSampling",
    "UniformLieAlgebra",
    "group_samplers",
    "learned_symmetry",
    "parameter_groups",
    "penalty",
    "range_metrics",
    "symmetry_parameters",
    "symmetry_step",
]
