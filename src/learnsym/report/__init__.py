"""Tables, pages and EXPERIMENTS.md of finished runs."""
