"""What `mode=` may be: one file a value."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "book": "Book",
        "compare": "Compare",
        "drift": "Drift",
        "dynamics": "Dynamics",
        "equivariance": "Equivariance",
        "freeze": "Freeze",
        "matrix": "Matrix",
        "report": "Report",
        "spectrum": "Spectrum",
        "test": "Test",
        "train": "Train",
        "width_sweep": "WidthSweep",
    },
)
