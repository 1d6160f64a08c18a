"""A user's files with the oddities that people report, made by code."""

from pathlib import Path

import numpy as np
from PIL import Image


def tree(root: Path, spec: dict[str, int], size: int = 16, seed: int = 0) -> Path:
    """Write folders of so many PNGs: {"train/cat": 6, ...}; classes differ in shade."""
    rng = np.random.default_rng(seed)
    shades = {name: 40 * ord(name[0]) % 200 for name in {key.split("/")[-1] for key in spec}}
    for name, count in spec.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        low = shades[name.split("/")[-1]]
        for number in range(count):
            pixels = rng.integers(low, low + 50, (size, size, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def npz(path: Path, count: int = 60, seed: int = 0, noise: bool = False, **arrays) -> Path:
    """Write images [N, 8, 8] and labels 0 (dark) and 1 (bright), or of nothing, in .npz."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 2)
    bright = 0 if noise else 150 * labels[:, None, None]
    images = (rng.integers(0, 90, (count, 8, 8)) + bright).astype(np.uint8)
    np.savez(path, **{"images": images, "labels": labels} | arrays)
    return path
