"""Fixed augmentation of training images (being written)."""
