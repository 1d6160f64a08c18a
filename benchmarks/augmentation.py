"""How fast is the learned transformation of images?

One step: draw coefficients from the learned box of the affine group's six generators, exponentiate,
warp the images, and carry a gradient back to the widths. Compared, in one process and in
alternating repetitions, with

    textbook   a stack of generators per batch [B, 6, 3, 3], weighted sum, exponential by a 20-term
               Taylor series with scaling and squaring, F.affine_grid, F.grid_sample: ours should
               take at most 0.6 of its time (of which the warp alone is nearly 0.5)
    warp only  F.affine_grid + F.grid_sample of given matrices that require a gradient: ours should
    take at most 1.6 of its time

    uv run benchmarks/augmentation.py [--device cuda] [--repetitions 200]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.distributions.uniform_lie_algebra import UniformLieAlgebra
from learnsym.groups.actions import warp
from learnsym.groups.planar import Affine2

SHAPES = ((128, 3, 32, 32), (128, 1, 28, 28))
WIDTH = 0.5
FASTER_THAN_TEXTBOOK = 1 / 0.6
OF_WARP_ONLY = 1.6
SQUARINGS = 4  # fixed: asking for the norm would make the host wait for the device


def taylor_exp(matrices: Tensor) -> Tensor:
    """exp by a 20-term Taylor series of A / 2^4, squared four times."""
    scaled = matrices / 2**SQUARINGS
    total = term = torch.eye(3, device=matrices.device).expand_as(matrices)
    for k in range(1, 20):
        term = term @ scaled / k
        total = total + term
    for _ in range(SQUARINGS):
        total = total @ total
    return total


def textbook(images: Tensor, raw: Tensor, generators: Tensor) -> Tensor:
    """The transformation as one writes it down first."""
    widths = F.softplus(raw)
    weights = (torch.rand(len(images), 6, device=images.device) - 0.5) * widths
    stack = generators.expand(len(images), 6, 3, 3)
    matrices = taylor_exp((weights[:, :, None, None] * stack).sum(1))
    return sampled(images, matrices[:, :2])


def sampled(images: Tensor, theta: Tensor) -> Tensor:
    """F.affine_grid and F.grid_sample."""
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=True)


def contestants(shape: tuple[int, ...], device: str) -> dict[str, Callable[[], None]]:
    """One forward and backward pass of each."""
    images, weight = torch.rand(shape, device=device), torch.rand(shape, device=device)
    box = UniformLieAlgebra(Affine2(), initial_width=WIDTH).to(device)
    raw = box.raw_widths.detach().clone().requires_grad_()
    generators = box.group.generators.to(device, torch.float32)
    theta = box.sample(len(images))[:, :2].detach().clone().requires_grad_()

    def step(transform: Callable[[], Tensor], parameter: Tensor) -> Callable[[], None]:
        def run() -> None:
            parameter.grad = None
            transform().backward(weight)

        return run

    return {
        "ours": step(lambda: warp(images, box.sample(len(images))), box.raw_widths),
        "textbook": step(lambda: textbook(images, raw, generators), raw),
        "warp only": step(lambda: sampled(images, theta), theta),
    }


def medians(runs: dict[str, Callable[[], None]], repetitions: int, device: str) -> dict[str, float]:
    """Median seconds of each, taken in turns so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(repetitions + 10):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if repetition >= 10:  # the first ones warm up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--repetitions", default=200, type=int)
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, "
        f"{options.repetitions} repetitions"
    )
    held = True
    for shape in SHAPES:
        found = medians(contestants(shape, options.device), options.repetitions, options.device)
        faster, share = found["textbook"] / found["ours"], found["ours"] / found["warp only"]
        held &= faster >= FASTER_THAN_TEXTBOOK and share <= OF_WARP_ONLY
        times = ", ".join(f"{name} {1e3 * seconds:.2f} ms" for name, seconds in found.items())
        print(
            f"{'x'.join(map(str, shape))}: {times}; textbook / ours {faster:.2f} (>= 1.67), ours / "
            f"warp only {share:.2f} (<= 1.6)"
        )
    print("both claims held" if held or options.device != "cpu" else "a claim failed")
    return 0 if held or options.device != "cpu" else 1


if __name__ == "__main__":
    sys.exit(main())
