"""Finished runs: read, grouped, with statistics; without torch."""
