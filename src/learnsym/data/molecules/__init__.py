"""Data sets of molecules."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "base": "PointData rigid_motions normal",
        "examples": "SplitMolecules molecule_info as_examples",
        "files": "Molecules",
        "qm9": "QM9 tensors_only",
        "toy": "ToyMolecules toy_split draw_molecules toy_energy",
        "units": "reported",
    },
)
