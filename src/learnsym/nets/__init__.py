"""Whole networks, one file each. Plain arguments in, an nn.Module out: no configuration, no
trainer.
"""
