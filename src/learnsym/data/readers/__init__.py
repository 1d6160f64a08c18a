"""Readers of file formats."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "amat": "official_part parse",
        "arrays": "read_npz memory as_images as_targets describe is_binary read_files find_named "
        "find_default",
        "hdf5": "Hdf5Images open_array",
        "idx": "read_idx",
        "structures": "read_structures",
    },
)
