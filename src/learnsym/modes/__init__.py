"""What `mode=` may be: one file a value; cfg/mode/<value>.yaml describes its settings."""

from learnsym.utils.lazy import lazy_names

_NAMES = "Book Compare Drift Dynamics Equivariance Freeze Matrix Report Spectrum Test Train"
__all__, __getattr__ = lazy_names(
    __name__, {name.lower(): name for name in _NAMES.split()} | {"width_sweep": "WidthSweep"}
)
