"""Figures of runs; matplotlib is imported where it is used."""
