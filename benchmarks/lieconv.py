"""How fast is a training step of LieConvNet on molecules, and how much memory does it take?

One step (forward, L1 loss, backward, Adam) at the published size, 1536 wide, six blocks on T(3), 75
molecules with QM9's distribution of sizes, against the same network plainly written: molecules
padded to 29 atoms, neighbours gathered by advanced indexing, norms over what a mask picks, all of
it kept for the backward pass: [B, 29, 29, 384] neighbours' features in each block.

    uv run benchmarks/lieconv.py [--width 1536] [--blocks 6] [--batch 75] [--repetitions 3]
    [--device cuda] [--precision bf16]

First a check in float64, on a small width, that both give the same outputs, gradients and running
statistics. Then each contestant in processes of its own, in turns, twice, so that peak memory is
its own: ours and the plain one as any script runs, and with main.py's memory setting
(`learnsym.utils.malloc`). Memory is what comes on top of the libraries: parameters, gradients,
Adam's state and the step; the peak of the whole process is printed too. Claimed in float32 at the
published size: 1.5 times as fast and half the memory, each in the same setting. Wants idle cores.
"""

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.nets.lieconv import LieConvNet
from learnsym.utils.malloc import disable_malloc_trim

LONGEST, SPECIES = 29, (1, 6, 7, 8, 9)
SIZES = {
    3: 2,
    4: 1,
    6: 2,
    7: 1,
    8: 3,
    9: 13,
    10: 24,
    11: 62,
    12: 135,
    13: 289,
    14: 501,
    15: 791,
    16: 1027,
    17: 1298,
    18: 1395,
}
SIZES |= {19: 1446, 20: 909, 21: 995, 22: 340, 23: 488, 24: 55, 25: 180, 26: 3, 27: 37, 29: 3}
"""Atoms of a molecule: how many of 10 000 random molecules of QM9 have so many."""
CONTESTANTS = ("ours", "plain", "ours, memory kept", "plain, memory kept")
FASTER, SMALLER = 1.5, 0.5


def molecules(count: int, seed: int) -> Tensor:
    """[count, 29, 3 + 15]: atoms at random in angstrom, one-hot(species) times (1, q, q^2) with q =
    Z / 9, zeros for padding."""
    torch.manual_seed(seed)
    drawn = torch.multinomial(
        torch.tensor([float(n) for n in SIZES.values()]), count, replacement=True
    )
    sizes = torch.tensor(list(SIZES))[drawn].unsqueeze(1)
    species = torch.randint(len(SPECIES), (count, LONGEST))
    charges = torch.tensor(SPECIES)[species].unsqueeze(-1) / 9
    features = (
        F.one_hot(species, len(SPECIES)).unsqueeze(-1) * charges.unsqueeze(-1) ** torch.arange(3)
    ).flatten(2)
    return torch.cat([1.5 * torch.randn(count, LONGEST, 3), features], 2) * (
        torch.arange(LONGEST) < sizes
    ).unsqueeze(-1)


# --- the plain version


class MaskedNorm(nn.BatchNorm1d):
    """Batch norm of what a mask picks of [..., C], zeros elsewhere; then swish."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        y[mask] = super().forward(x[mask]).to(y.dtype)
        return F.silu(y)


class PlainConv(nn.Module):
    """LieConv on padded molecules."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        sizes = (3, 32, 32, 16)
        self.weights = nn.ModuleDict(
            {
                "linears": nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes)),
                "norms": nn.ModuleList(MaskedNorm(b) for b in sizes[1:]),
            }
        )
        self.linear = nn.Linear(16 * inner, inner)

    def forward(self, x: Tensor, hood: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        nearest, pairs, mask = hood
        m = pairs
        for linear, norm in zip(self.weights["linears"], self.weights["norms"], strict=True):
            m = norm(linear(m), mask)
        m = m * mask.unsqueeze(-1)
        neighbours = x[
            torch.arange(len(x), device=x.device)[:, None, None], nearest
        ]  # [B, N, N, C]
        mixed = m.transpose(2, 3).to(neighbours.dtype) @ neighbours
        return self.linear(mixed.flatten(2)) / mask.sum(2, keepdim=True).clamp(min=1)


class PlainBlock(nn.Module):
    """A bottleneck block on padded molecules."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 4
        self.norm1, self.narrow = MaskedNorm(width), nn.Linear(width, inner)
        self.norm2, self.conv = MaskedNorm(inner), PlainConv(inner)
        self.norm3, self.widen = MaskedNorm(inner), nn.Linear(inner, width)

    def forward(self, x: Tensor, mask: Tensor, hood: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        y = self.conv(self.norm2(self.narrow(self.norm1(x, mask)), mask), hood)
        return x + self.widen(self.norm3(y, mask))


class PlainNet(nn.Module):
    """The network of LieConvNet on T(3), plainly written; its parameters have the same names."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(15, width)
        self.blocks = nn.ModuleList(PlainBlock(width) for _ in range(blocks))
        self.norm, self.head = MaskedNorm(width), nn.Linear(width, 1)

    def forward(self, clouds: Tensor) -> Tensor:
        mask = (clouds[..., 3:] != 0).any(-1)
        gaps = clouds[:, None, :, :3] - clouds[:, :, None, :3]
        there = mask.unsqueeze(1) & mask.unsqueeze(2)
        nearest = (
            gaps.norm(dim=-1)
            .masked_fill(~there, torch.inf)
            .topk(min(100, clouds.shape[1]), largest=False)
            .indices
        )
        batch, row = (
            torch.arange(len(clouds), device=clouds.device)[:, None, None],
            torch.arange(clouds.shape[1])[:, None],
        )
        row = row.to(clouds.device)
        hood = nearest, gaps[batch, row, nearest], there[batch, row, nearest]
        x = self.embedding(clouds[..., 3:])
        for block in self.blocks:
            x = block(x, mask, hood)
        y = self.head(self.norm(x, mask)) * mask.unsqueeze(-1)
        return y.sum(1) / mask.sum(1, keepdim=True)


# --- measuring


def check() -> None:
    """Both are the same network, in float64 to 1e-10, or a RuntimeError."""
    torch.manual_seed(0)
    ours, plain, x = (
        LieConvNet(15, 1, width=32, blocks=2).double(),
        PlainNet(32, 2).double(),
        molecules(20, 1).double(),
    )
    plain.load_state_dict(ours.state_dict())
    pairs = []
    for training in (True, False):
        found = [net.train(training)(x) for net in (ours, plain)]
        slopes = [
            torch.autograd.grad(y.square().sum(), list(net.parameters()))
            for y, net in zip(found, (ours, plain), strict=True)
        ]
        pairs += [found, *zip(*slopes, strict=True)]
    pairs += zip(ours.buffers(), plain.buffers(), strict=True)
    errors = [
        (a.detach() - b.detach()).abs().max() / b.detach().abs().max().clamp(min=1)
        for a, b in pairs
    ]
    worst = float(torch.stack(errors).max())
    print(
        f"outputs, gradients and running statistics of both differ by at most {worst:.1e} in "
        f"float64",
        flush=True,
    )
    if not worst < 1e-10:
        raise RuntimeError("they are not the same network")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Of one contestant in this process: median seconds of a step, peak memory in GB of the process
    and beyond the libraries."""
    torch.set_num_threads(options.threads)
    who, _, kept = options.one.partition(", ")
    if kept:
        disable_malloc_trim()
    torch.optim.Adam([torch.zeros(1)])  # loads a library
    libraries = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    net = (
        LieConvNet(15, 1, width=options.width, blocks=options.blocks)
        if who == "ours"
        else PlainNet(options.width, options.blocks)
    )
    net = net.to(options.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, fused=True)
    batches = itertools.cycle(
        [molecules(options.batch, seed).to(options.device) for seed in range(4)]
    )
    target = torch.randn(options.batch, 1, device=options.device)
    half = (
        torch.autocast(options.device, torch.bfloat16)
        if options.precision == "bf16"
        else nullcontext()
    )

    def step() -> float:
        wait(options.device)
        start = time.perf_counter()
        with half:
            y = net(next(batches))
        (y.float() - target).abs().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        wait(options.device)
        return time.perf_counter() - start

    step()
    found = {"seconds": statistics.median(step() for _ in range(options.repetitions))}
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    own = (
        torch.cuda.max_memory_allocated() / 1e9 if options.device == "cuda" else process - libraries
    )
    return found | {"process_gb": process, "own_gb": own}


def wait(device: str) -> None:
    """Until the device has done what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()


def race(options: argparse.Namespace) -> bool:
    """Run all contestants in turns, print, and say whether the claims hold."""
    rounds: dict[str, list[dict[str, float]]] = {who: [] for who in CONTESTANTS}
    for _ in range(2):
        for who, results in rounds.items():
            done = subprocess.run(
                [sys.executable, *sys.argv, "--one", who],
                capture_output=True,
                text=True,
                check=True,
            )
            results.append(json.loads(done.stdout.splitlines()[-1]))
    best = {
        who: {key: min(r[key] for r in results) for key in results[0]}
        for who, results in rounds.items()
    }
    for who, found in best.items():
        print(
            f"{who}: {found['seconds']:.3f} s a step, {found['own_gb']:.2f} GB, process "
            f"{found['process_gb']:.2f} GB",
            flush=True,
        )
    held = True
    for setting in ("", ", memory kept"):
        ours, plain = best["ours" + setting], best["plain" + setting]
        faster, part = plain["seconds"] / ours["seconds"], ours["own_gb"] / plain["own_gb"]
        print(
            f"ours is {faster:.2f} times as fast (>= {FASTER}), with {part:.2f} of the memory (<= "
            f"{SMALLER}){setting}"
        )
        held &= faster >= FASTER and part <= SMALLER
    hours = 500 * 100_000 / options.batch * best["ours, memory kept"]["seconds"] / 3600
    print(
        f"500 epochs of 100 000 molecules would take ours {hours:.1f} h, that is "
        f"{500 / 60 / hours:.2f} epochs a minute"
    )
    return held


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in {
        "width": 1536,
        "blocks": 6,
        "batch": 75,
        "repetitions": 3,
        "threads": torch.get_num_threads(),
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="32", choices=("32", "bf16"))
    parser.add_argument(
        "--one", choices=("check", *CONTESTANTS), help=argparse.SUPPRESS
    )  # in this process
    options = parser.parse_args()
    if options.one == "check":
        check()
        return 0
    if options.one:
        print(json.dumps(measure(options)))
        return 0
    print(
        f"torch {torch.__version__}, {options.device}, {options.threads} threads, "
        f"{options.precision}, batch {options.batch}",
        flush=True,
    )
    # A process starts with its parent's peak of memory: nothing is computed in this one.
    subprocess.run([sys.executable, *sys.argv, "--one", "check"], check=True)
    held = race(options)
    print("all claims held" if held else "a claim failed")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
