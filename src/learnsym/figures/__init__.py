"""Draw figures of runs with matplotlib, which is imported where it is used."""
