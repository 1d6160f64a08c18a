"""The training loop, tasks, settings and checkpoints."""
