"""Readers of files: idx, text, HDF5, .npz and molecules."""
