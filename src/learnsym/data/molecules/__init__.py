"""Data sets of molecules, which are clouds of points."""
