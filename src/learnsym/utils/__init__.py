"""Files, random numbers and collectives; needs nothing of the rest of the package."""

__all__ = ["collectives", "double_backward", "files", "lazy", "malloc", "rng"]
