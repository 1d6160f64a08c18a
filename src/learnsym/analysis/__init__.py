"""Measurements of a network: equivariance errors, distances from E, curvature."""

from learnsym.analysis.angle_response import angle_response
from learnsym.analysis.curvature import Curvature, Examples, TrainingExamples
from learnsym.analysis.density import Quadrature, effective_dimension, quadrature
from learnsym.analysis.distance import AnalysisSettings, Distance
from learnsym.analysis.equivariance import (
    assert_equivariant,
    equivariance_error,
    equivariance_errors,
)
from learnsym.analysis.lanczos import Lanczos, Ritz
from learnsym.analysis.layer_equivariance import layer_errors
from learnsym.analysis.rotation_spread import rotation_spread
from learnsym.analysis.transforms import (
    PixelPermutation,
    Rotation,
    Transform,
    mirror_images,
    quarter_turns,
)

__all__ = [
    "AnalysisSettings",
    "Curvature",
    "Distance",
    "Examples",
    "Lanczos",
    "PixelPermutation",
    "Quadrature",
    "Ritz",
    "Rotation",
    "TrainingExamples",
    "Transform",
    "angle_response",
    "assert_equivariant",
    "effective_dimension",
    "equivariance_error",
    "equivariance_errors",
    "layer_errors",
    "mirror_images",
    "quadrature",
    "quarter_turns",
    "rotation_spread",
]
