"""The functions of some layers with a hand-written backward pass."""
