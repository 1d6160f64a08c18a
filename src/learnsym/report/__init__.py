"""Write tables, pages and EXPERIMENTS.md from finished runs."""
