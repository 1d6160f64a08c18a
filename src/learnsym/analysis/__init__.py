"""Measurements of a network: equivariance errors, distances from E, curvature."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "equivariance": "assert_equivariant equivariance_error equivariance_errors",
        "transforms": "PixelPermutation Rotation Transform mirror_images quarter_turns",
        "layer_equivariance": "layer_errors",
        "evaluation": "angle_response rotation_spread",
        "distance": "AnalysisSettings Distance",
        "curvature": "Curvature Examples TrainingExamples",
        "lanczos": "Lanczos Ritz",
        "density": "Quadrature effective_dimension quadrature",
    },
)
