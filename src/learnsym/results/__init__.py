"""Read finished runs, group them and compute statistics, without torch."""
