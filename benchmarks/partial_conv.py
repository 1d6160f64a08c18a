"""How fast is a training step of a partial group-convolutional network?

One step (forward, backward, Adam) of CKResNet, against the same network with its convolutions
written as a textbook would: the coordinates of every pair of elements and every tap of the grid in
one tensor, a kernel network of 1 x 1 x 1 convolutions (Conv3d) over it, taps outside the disc set
to zero by indexing, and with a set per image one grouped conv2d.

    shared   SE(2) partial, 8 samples, 32 channels, SIREN, batch 64, 1 x 28 x 28, pooling after
    lifting and block 1; a set a layer image    SE(2) partial on mnist6_180's network: 8 samples, 10
    channels, MAGNet, batch 64, one set per image and layer

    uv run benchmarks/partial_conv.py [--case shared image] [--precision 32 bf16] [--repetitions 5]
    [--device cuda]

Each contestant runs in a process of its own, in turns, so that peak memory is its own; ours once
more with the memory setting of every run of main.py on a CPU (`learnsym.utils.malloc`), which is no
part of the ratio. Printed: seconds of a step, the ratio (wanted:
shared at least 1.15 in float32 and, on a CPU with AVX512-BF16, 1.8 in bf16-mixed; image at least 3,
at most a quarter of the memory), the rate of the convolutions' arithmetic (what is multiplied: 49
taps for conv2d, 29 for products of gathered pixels, the products of `fft_conv` and of its
transforms), and ours' share of time outside convolutions.
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.sampling import PartialSampling
from learnsym.groups.planar import SE2
from learnsym.groups.point_groups import Elements, wrap_angle
from learnsym.kernels.multiplicative import MAGNet
from learnsym.kernels.siren import SIREN
from learnsym.layers import continuous_conv
from learnsym.layers.fast.fft_conv import transforms
from learnsym.layers.group_conv import GroupConv, LiftingConv, PointwiseGroupConv
from learnsym.nets.ckresnet import CKResNet
from learnsym.utils.malloc import disable_malloc_trim

BATCH = 64
CLAIMS = {("shared", "32"): 1.15, ("shared", "bf16"): 1.8, ("image", "32"): 3.0}


# --- the textbook version


class TextbookSiren(nn.Sequential):
    """sin(omega0 (W z + b)) layers as Conv3d."""

    def __init__(self, dims: int, out: int, hidden: int, omega0: float = 10.0) -> None:
        layers: list[nn.Module] = []
        for before in (dims, hidden):
            layers += [nn.Conv3d(before, hidden, 1), Sine(omega0)]
        super().__init__(*layers, nn.Conv3d(hidden, out, 1))


class Sine(nn.Module):
    """sin(omega0 z)."""

    def __init__(self, omega0: float) -> None:
        super().__init__()
        self.omega0 = omega0

    def forward(self, z: Tensor) -> Tensor:
        return torch.sin(self.omega0 * z)


class TextbookMAGNet(nn.Module):
    """z_1 = g_1, z_(k+1) = (W z_k + b) g_(k+1), with g(c) = exp(-1/2 sum_d gamma_d (c_d - mu_d)^2)
    sin(w c + phi)."""

    def __init__(self, dims: int, out: int, hidden: int, filters: int = 4) -> None:
        super().__init__()
        self.waves = nn.ModuleList(nn.Conv3d(dims, hidden, 1) for _ in range(filters))
        self.mean = nn.Parameter(torch.rand(filters, hidden, dims, 1, 1, 1) * 2 - 1)
        self.gamma = nn.Parameter(torch.rand(filters, hidden, dims, 1, 1, 1) * 6)
        self.inner = nn.ModuleList(nn.Conv3d(hidden, hidden, 1) for _ in range(filters - 1))
        self.head = nn.Conv3d(hidden, out, 1)

    def filter(self, k: int, c: Tensor) -> Tensor:
        distance = (self.gamma[k] * (c.unsqueeze(1) - self.mean[k]) ** 2).sum(2)
        return torch.exp(-0.5 * distance) * torch.sin(self.waves[k](c))

    def forward(self, c: Tensor) -> Tensor:
        z = self.filter(0, c)
        for k, linear in enumerate(self.inner, start=1):
            z = linear(z) * self.filter(k, c)
        return self.head(z)


class TextbookConv(nn.Module):
    """Stands in for one of our three convolutions: the same elements, the same sizes."""

    def __init__(
        self, ours: continuous_conv.ContinuousGroupConv, in_channels: int, image: bool
    ) -> None:
        super().__init__()
        self.elements = getattr(ours, "elements", None)
        self.lifting, self.image = isinstance(ours, LiftingConv), image
        self.out, self.size, self.padding = ours.out_channels, ours.kernel_size, ours.padding
        pointwise = isinstance(ours, PointwiseGroupConv)
        dims = 1 if pointwise else (2 if self.lifting else 3)
        self.network = (TextbookMAGNet if image else TextbookSiren)(
            dims, self.out * in_channels, 16 if pointwise else 32
        )
        axis = torch.linspace(-1, 1, self.size) if self.size > 1 else torch.zeros(1)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("grid", torch.stack([x, y]))
        self.register_buffer("outside", x**2 + y**2 > 1 + 1e-6)
        self.bias = None if ours.bias is None else nn.Parameter(torch.zeros(self.out))

    def forward(
        self, features: Tensor, inputs: Any = None, out: Any = None, context: Any = None
    ) -> Any:
        if self.lifting:
            features = features.unsqueeze(2)
            out = self.elements(len(features), features.device, torch.float32)
            return self.convolve(features, out, None), out
        if self.elements is None:  # pointwise: the third argument is the elements of its output
            return self.convolve(features, out, inputs)
        out = self.elements(len(features), features.device, torch.float32)
        return self.convolve(features, out, inputs), out

    def coordinates(self, out: Elements, inputs: Elements | None) -> Tensor:
        """[B or 1, dims, n_out * n_in, k, k]."""
        own = out.angle if out.angle.ndim > 1 else out.angle[None]
        cos, sin = own.cos()[..., None, None], own.sin()[..., None, None]
        x, y = self.grid
        turned = torch.stack([cos * x + sin * y, -sin * x + cos * y], 1)  # [B, 2, n_out, k, k]
        if inputs is None:
            return turned
        theirs = inputs.angle if inputs.angle.ndim > 1 else inputs.angle[None]
        relative = wrap_angle(theirs[:, None, :] - own[:, :, None]) / math.pi
        n, m = relative.shape[1:]
        turned = turned.repeat_interleave(m, 2)
        relative = relative.reshape(len(relative), 1, n * m, 1, 1).expand(
            -1, -1, -1, self.size, self.size
        )
        return torch.cat([turned, relative], 1) if self.size > 1 else relative

    def convolve(self, features: Tensor, out: Elements, inputs: Elements | None) -> Tensor:
        batch, channels, m = features.shape[:3]
        weights = self.network(self.coordinates(out, inputs))
        if self.size > 1:
            weights = weights.clone()
            weights[..., self.outside] = 0
        n = len(out)
        weights = weights.view(-1, self.out, channels, n, m, self.size, self.size).transpose(2, 3)
        weights = weights.reshape(-1, self.out * n, channels * m, self.size, self.size)
        bias = None if self.bias is None else self.bias.repeat_interleave(n)
        flat = features.reshape(batch, channels * m, *features.shape[3:])
        if self.image:
            grouped = F.conv2d(
                flat.view(1, -1, *flat.shape[2:]),
                weights.flatten(0, 1),
                padding=self.padding,
                groups=batch,
            )
            y = grouped.view(batch, self.out * n, *grouped.shape[2:])
            y = y if bias is None else y + bias.view(-1, 1, 1)
        else:
            y = F.conv2d(flat, weights[0], bias, padding=self.padding)
        return y.view(batch, self.out, n, *y.shape[2:])


def textbook(net: nn.Module, image: bool) -> nn.Module:
    """The network with every sampled convolution replaced."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LiftingConv | GroupConv | PointwiseGroupConv):
                setattr(module, name, TextbookConv(child, child.kernel.shape.in_channels, image))
    return net


# --- measuring


def network(case: str) -> CKResNet:
    """Ours."""
    if case == "shared":
        return CKResNet(1, 10, SE2(), PartialSampling(), SIREN(), channels=32, pool_blocks=(0, 1))
    sampling = PartialSampling(sample_sets="image")
    return CKResNet(
        1, 2, SE2(), sampling, MAGNet(), channels=10, block_width_factors=(1, 2), pool_blocks=(1, 2)
    )


@contextmanager
def counted(seconds: list[float], flops: list[float], device: str) -> Iterator[None]:
    """Within this context our convolutions note the time of both passes and their arithmetic (2 per
    multiplication, 3 passes)."""
    dense, gathered = F.conv2d, continuous_conv.per_image_conv
    by_fft = continuous_conv.fft_conv

    def timed(function: Any, multiplications: Any) -> Any:
        def run(x: Tensor, w: Tensor, *rest: Any, **more: Any) -> Tensor:
            flops.append(0.0)
            place = len(flops) - 1
            y = Timed.apply(function, seconds, device, rest, more, x, w)
            flops[place] = 6.0 * multiplications(x, w, y)
            return y

        return run

    def by_frequency(x: Tensor, w: Tensor, y: Tensor) -> int:
        corners = tuple(divmod(tap, 7) for tap in continuous_conv.disc_taps(7)[0].tolist())
        count = len(transforms(*x.shape[-2:], corners, 7, 3 if w.dtype == torch.float32 else 4)[0])
        return count * (len(x) * w.shape[0] * w.shape[1] + w.numel() + x.numel() + y.numel())

    continuous_conv.F.conv2d = timed(dense, lambda x, w, y: y.numel() * w[0].numel())
    continuous_conv.per_image_conv = timed(
        gathered, lambda x, w, y: y.numel() * w.shape[2] * w.shape[3]
    )
    continuous_conv.fft_conv = timed(by_fft, by_frequency)
    try:
        yield
    finally:
        continuous_conv.F.conv2d = dense
        continuous_conv.per_image_conv = gathered
        continuous_conv.fft_conv = by_fft


class Timed(torch.autograd.Function):
    """A function of two tensors whose two passes are timed."""

    @staticmethod
    def forward(
        ctx: Any,
        function: Any,
        seconds: list[float],
        device: str,
        rest: Any,
        more: Any,
        x: Tensor,
        w: Tensor,
    ) -> Tensor:
        with torch.enable_grad():
            ctx.inputs = (
                x.detach().requires_grad_(ctx.needs_input_grad[5]),
                w.detach().requires_grad_(),
            )
            wait(device)
            start = time.perf_counter()
            ctx.output = function(*ctx.inputs, *rest, **more)
            wait(device)
        seconds.append(time.perf_counter() - start)
        ctx.seconds, ctx.device = seconds, device
        return ctx.output.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        wanted = [t for t in ctx.inputs if t.requires_grad]
        wait(ctx.device)
        start = time.perf_counter()
        found = iter(torch.autograd.grad(ctx.output, wanted, grad))
        wait(ctx.device)
        ctx.seconds.append(time.perf_counter() - start)
        return (
            None,
            None,
            None,
            None,
            None,
            *(next(found) if t.requires_grad else None for t in ctx.inputs),
        )


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(
    case: str, who: str, precision: str, repetitions: int, device: str, keep: bool
) -> dict[str, float]:
    """Median seconds of a step, peak memory, and for ours the share of time outside
    convolutions."""
    torch.manual_seed(0)
    if keep:
        disable_malloc_trim()
    net = network(case) if who == "ours" else textbook(network(case), case == "image")
    net = net.to(device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    images, labels = (
        torch.randn(BATCH, 1, 28, 28, device=device),
        torch.randint(0, 2, (BATCH,), device=device),
    )

    def step() -> float:
        wait(device)
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext():
            loss = F.cross_entropy(net(images).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wait(device)
        return time.perf_counter() - start

    step()
    found = {"seconds": statistics.median(step() for _ in range(repetitions))}
    if device == "cuda":
        found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    else:
        found["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    if who == "ours":
        rows = []
        for _ in range(repetitions):
            seconds: list[float] = []
            flops: list[float] = []
            with counted(seconds, flops, device):
                total = step()
            rows.append((1 - sum(seconds) / total, sum(flops) / sum(seconds) / 1e9))
        found |= {
            "outside": statistics.median(r[0] for r in rows),
            "gflops": statistics.median(r[1] for r in rows),
        }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--case", nargs="+", default=["shared", "image"], choices=("shared", "image")
    )
    parser.add_argument("--precision", nargs="+", default=["32", "bf16"], choices=("32", "bf16"))
    parser.add_argument("--repetitions", default=5, type=int)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--one", nargs=2, help=argparse.SUPPRESS
    )  # a single contestant, in this process
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        case, who = options.one
        print(
            json.dumps(
                measure(
                    case,
                    who,
                    options.precision[0],
                    options.repetitions,
                    options.device,
                    options.keep,
                )
            )
        )
        return 0
    print(
        f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, batch "
        f"{BATCH}"
    )
    held = True
    for case in options.case:
        for precision in options.precision:
            held &= compare(case, precision, options)
    print("all claims held" if held or options.device != "cpu" else "a claim failed")
    return 0 if held or options.device != "cpu" else 1


def compare(case: str, precision: str, options: argparse.Namespace) -> bool:
    """Run both, print, and say whether the claims hold."""
    rounds: dict[str, list[dict[str, float]]] = {"ours": [], "textbook": [], "ours, kept": []}
    for _ in range(2):  # in turns: a busy machine slows both
        for who, results in rounds.items():
            arguments = [
                "--one",
                case,
                who.split(",")[0],
                "--precision",
                precision,
                "--device",
                options.device,
            ]
            arguments += ["--keep"] if who == "ours, kept" else []
            command = [
                sys.executable,
                __file__,
                *arguments,
                "--repetitions",
                str(options.repetitions),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    ours, theirs, kept = (
        {k: min(r[k] for r in results) for k in results[0]} for results in rounds.values()
    )
    ratio, memory = theirs["seconds"] / ours["seconds"], ours["peak_gb"] / theirs["peak_gb"]
    claim = CLAIMS.get((case, precision))
    print(
        f"{case}, {precision}: ours {ours['seconds']:.3f} s ({kept['seconds']:.3f} with memory "
        f"kept), "
        f"textbook {theirs['seconds']:.3f} s, ratio {ratio:.2f}"
        f"{f' (>= {claim})' if claim else ''}; memory {ours['peak_gb']:.2f} against "
        f"{theirs['peak_gb']:.2f} GB; "
        f"convolutions at {ours['gflops']:.0f} GFLOP/s, {100 * ours['outside']:.1f} % of the time "
        f"outside them "
        f"({100 * kept['outside']:.1f} % with memory kept)"
    )
    held = claim is None or ratio >= claim
    if case == "image" and precision == "32":
        held &= memory <= 0.25
    return held


if __name__ == "__main__":
    sys.exit(main())
