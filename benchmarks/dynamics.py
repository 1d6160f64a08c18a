"""How fast is a step of the three arms (nominal, equivariant, augmented) of the optimisation
dynamics, at the published sizes?

Ours, an ensemble in lockstep on large batches, against a textbook: a repetition, arm and mini-batch
at a time, dense matrices on channels x pixels, projections as means over the group (S_10: by 0/1
masks of the 15 patterns of index pairs). Both find three gradients, project the equivariant one,
step, and measure loss, change, distance and norm of every arm, on random data in memory.

    permutation  1 000 graphs in mini-batches of 200, 1 -> 32, 64 -> 32 -> 1; ours 2 repetitions at
    a time translation  500 images in mini-batches of 25, 1 -> 32 -> 32, 32 -> 10; ours 2 at a time,
    25 passes and `exact` (14 elements) rotation     500 images in mini-batches of 25, 1 -> 32 -> 32
    -> 16 -> 2; ours 2 at a time, 25 passes and `exact` (4 elements) c4           the convolutional
    network, shuffled batches of 100, distance after every step; ours 8 members at a time memory
    peak of a fresh process that makes one step of translation, 2 repetitions x 3 arms

Medians per step of a repetition, in turns, after a check in float64 on tiny sizes that both make
the same step. On translation and rotation the textbook makes --plain-passes of its 25 passes,
scaled up. It runs twice, in processes of its own: as any script does, which is what we claim to
beat, and with main.py's setting of memory (learnsym.utils.malloc), which a script could make as
well. Wants idle cores. uv run benchmarks/dynamics.py
"""

import argparse
import itertools
import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.data.base import Split
from learnsym.dynamics.c4_conv import C4Conv
from learnsym.dynamics.ensemble import Weights, slice_members
from learnsym.dynamics.gradient_flows import ARMS, GradientFlows
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.dynamics.risk import GroupAugmentation
from learnsym.dynamics.sgd import MiniBatchSGD
from learnsym.groups.permutation import CyclicShifts1d, QuarterTurns, SymmetricGroup
from learnsym.training.tasks import Classification, Segmentation, SquaredError
from learnsym.utils.malloc import disable_malloc_trim

PASSES, MOST_GB, FLOWS = 25, 6.0, ("permutation", "translation", "rotation")
CLAIMS = {
    "permutation": (1.4,),
    "translation": (3.5, 6.0),
    "rotation": (3.5, 12.0),
    "c4": (1.3,),
}  # 25 passes, exact


def flows_of(name: str, images: int, members: int, tiny: bool = False) -> GradientFlows:
    """Ours, of one of the three experiments; tiny: in float64 and with large steps."""
    side, c, lr, dtype = (
        (4, 4, 0.3, torch.float64)
        if tiny
        else (10 if name == "permutation" else 14, 32, 1e-3, torch.float32)
    )
    x, y, task = (
        torch.rand(images, 1, side, side).to(dtype) - 0.5,
        torch.randint(10, (images,)),
        Classification(),
    )
    head = {"invariant_start": "constant", "dense_start": "side", "dense_bias": False}
    if name == "permutation":
        x, y, more = (
            (x + x.mT > 0).to(dtype) - 0.5,
            y % 2,
            {"hidden": (c,), "fans": "both", "symmetric_inputs": True, **head},
        )
        net = ProjectedLinear(
            1,
            2,
            "classification",
            SymmetricGroup(side),
            (c,),
            2 * c,
            before_norm="leaky_relu",
            **more,
        )
    elif name == "translation":
        net = ProjectedLinear(
            1,
            10,
            "classification",
            CyclicShifts1d(side),
            (c, c),
            c,
            before_norm="tanh",
            softmax=True,
            **head,
        )
    else:
        y, task = (torch.rand(images, 2, side, side) < 0.3).to(dtype), Segmentation()
        net = ProjectedLinear(
            1, 2, "segmentation", QuarterTurns(side), (c, c, c // 2), None, before_norm="leaky_relu"
        )
    return GradientFlows(
        net,
        task.per_example,
        Split(x, y),
        GroupAugmentation(net.group, 1),
        lr,
        500,
        0,
        range(members),
    )


def our_step(flows: GradientFlows, passes: int | str = 1) -> Tensor:
    """A step and what `learnsym.modes.dynamics.Dynamics.measure` records, without the test set: [3,
    arms, M, layers]."""
    net, flows.augmentation = flows.net, GroupAugmentation(flows.net.group, passes)
    flows.step(), flows.risks("augmented")  # the textbook does without the latter
    rows = [
        torch.stack([net.change(w, flows.start), net.distance(w), net.norms(w)])
        for w in map(flows.arm, ARMS)
    ]
    return torch.stack(rows, dim=1)


class Textbook:
    """One member of ours: matrices [c' pixels, c pixels] (invariant: [features, c pixels]) and
    ordinary autograd."""

    def __init__(self, name: str, flows: GradientFlows, member: int, batch: int) -> None:
        self.name, self.split, self.batch, self.lr = name, flows.split, batch, flows.lr
        self.side, self.start = (
            flows.net.group.side,
            as_matrices(slice_members(flows.start, member, member + 1)),
        )
        image = torch.arange(self.side**2).view(self.side, self.side)
        moves = (
            [image.rot90(k) for k in range(4)]
            if name == "rotation"
            else [image.roll(k, 1) for k in range(self.side)]
        )
        self.elements = torch.stack(moves).flatten(1)  # not for permutations
        patterns = (
            [index_patterns(self.side, k).to(self.split.inputs.dtype) for k in (2, 4)]
            if name == "permutation"
            else []
        )
        self.masks = {
            masks.shape[1]: masks for masks in patterns
        }  # for one pixel of output or for all
        self.layers = [name for name in self.start if name.startswith(("linear", "invariant"))]
        self.arms = {
            arm: {name: w.clone().requires_grad_() for name, w in self.start.items()}
            for arm in ARMS
        }

    def loss(self, weights: Weights, images: Tensor, targets: Tensor) -> Tensor:
        """The mean of a mini-batch."""
        x, linears = images.flatten(1), [name for name in weights if name.startswith("linear")]
        for name in linears:
            x = F.leaky_relu(F.linear(x, weights[name]))
        if self.name == "rotation":
            pixels = x.view(len(x), -1, self.side, self.side).permute(0, 2, 3, 1)
            return F.binary_cross_entropy_with_logits(
                F.layer_norm(pixels, pixels.shape[-1:]).permute(0, 3, 1, 2), targets
            )
        x = F.linear(x, weights["invariant"])
        x = x.tanh() if self.name == "translation" else F.leaky_relu(x)
        x = F.linear(F.layer_norm(x, x.shape[-1:]), weights["dense0"])
        if self.name == "translation":
            return F.cross_entropy(x.softmax(-1), targets)
        x = F.linear(F.leaky_relu(x), weights["dense1"])
        return F.binary_cross_entropy_with_logits(x[:, 0], targets.to(x.dtype))

    def draw(self, count: int) -> Tensor:
        """Random group elements as permutations of the pixels, [count, pixels]."""
        if self.name != "permutation":
            return self.elements[torch.randint(len(self.elements), (count,))]
        nodes = torch.rand(count, self.side).argsort(1)
        return (nodes.unsqueeze(2) * self.side + nodes.unsqueeze(1)).flatten(1)

    def backward(
        self, weights: Weights, passes: int, elements: Tensor | None = None
    ) -> list[float]:
        """Add up gradients of mini-batches over so many passes with random or given elements; 0: of
        the data as they are."""
        losses = []
        for number in range(max(passes, 1)):
            for x, y in zip(
                self.split.inputs.split(self.batch),
                self.split.targets.split(self.batch),
                strict=True,
            ):
                if passes:
                    table = (
                        self.draw(len(x))
                        if elements is None
                        else elements[number].expand(len(x), -1)
                    )
                    x, y = moved(x, table), moved(y, table)
                loss = self.loss(weights, x, y)
                loss.backward()
                losses.append(loss.item())
        return losses

    @torch.no_grad()
    def project(self, weights: Weights) -> Weights:
        """The mean over the group, which moves the pixels on both sides (of invariant maps: of the
        input)."""
        projected, pixels = dict(weights), self.side**2
        for name in self.layers:
            w, outer = weights[name], 1 if name == "invariant" else pixels
            if self.masks:
                masks, full = self.masks[outer], w.view(-1, outer, w.shape[1] // pixels, pixels)
                values = torch.einsum("kpq,dpcq->kdc", masks, full) / masks.sum((1, 2)).view(
                    -1, 1, 1
                )
                projected[name] = torch.einsum("kpq,kdc->dpcq", masks, values).reshape(w.shape)
                continue
            projected[name] = torch.zeros_like(w)
            for table in self.elements:
                rows, columns = (
                    (torch.arange(0, size, pixels).unsqueeze(1) + table).flatten()
                    for size in w.shape
                )
                projected[name] += w[:, columns] if outer == 1 else w[rows.unsqueeze(1), columns]
            projected[name] /= len(self.elements)
        return projected

    def step(self, passes: int, elements: Tensor | None = None) -> Tensor:
        """Of all arms: change, distance, norm [3, arms, layers]. `missing`: seconds that 25
        augmented passes would take more."""
        rows = []
        for arm, weights in self.arms.items():
            start = time.perf_counter()
            losses = self.backward(weights, passes if arm == "augmented" else 0, elements)
            self.missing = (time.perf_counter() - start) * (
                PASSES / passes - 1
            )  # the last arm is the augmented one
            slope = {name: w.grad for name, w in weights.items()}
            for name, direction in (self.project(slope) if arm == "equivariant" else slope).items():
                weights[name].data.sub_(direction, alpha=self.lr / len(losses))
                weights[name].grad = None
            nearest, own = (
                self.project(weights),
                {name: weights[name].detach() for name in self.layers},
            )
            rows.append(
                [
                    [(w - near[name]).norm().item() for name, w in own.items()]
                    for near in (self.start, nearest)
                ]
            )
            rows[-1].append([w.norm().item() for w in own.values()])
        return torch.tensor(rows, dtype=torch.float64).transpose(0, 1)


def as_matrices(weights: Weights) -> Weights:
    """Our weights [1, ...] of one member as matrices on channels x pixels."""
    found = {}
    for name, (w,) in weights.items():
        w = w.permute(1, 0, 3, 2).flatten(2).flatten(0, 1) if w.ndim == 4 else w
        found[name] = (w.permute(2, 1, 0).flatten(1) if w.ndim == 3 else w).clone()
    return found


def moved(x: Tensor, table: Tensor) -> Tensor:
    """Each image [B, C, n, n] by its permutation [B, n^2] of pixels; classes stay."""
    return (
        x.flatten(2).gather(2, table.unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)
        if x.ndim == 4
        else x
    )


def index_patterns(n: int, indices: int) -> Tensor:
    """Masks of the orbits of S_n on tuples of indices (which of them are equal?): [15, n^2, n^2] of
    four, [2, 1, n^2] of two."""
    places = torch.cartesian_prod(*[torch.arange(n)] * indices)
    equal = torch.stack(
        [places[:, a] == places[:, b] for a, b in itertools.combinations(range(indices), 2)]
    )
    return F.one_hot(equal.unique(dim=1, return_inverse=True)[1]).T.reshape(
        -1, n ** (indices - 2), n * n
    )


class TextbookC4:
    """One member of C4Conv: kernels [c', c, 3, 3] masked to the cross, and the linear layer
    [outputs, c, side / 4, side / 4]."""

    def __init__(self, weights: Weights, lr: float) -> None:
        self.weights = [w.requires_grad_() for w in as_kernels(weights)]
        self.cross = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]]).to(self.weights[0].dtype)
        self.optimizer, self.missing = torch.optim.SGD(self.weights, lr=lr), 0.0

    def step(self, x: Tensor, labels: Tensor) -> Tensor:
        """The distance of every layer [4] after a step."""
        *kernels, last = self.weights
        for place, kernel in enumerate(kernels):
            x = F.conv2d(x, kernel * self.cross, padding=1).tanh()
            x = F.avg_pool2d(x, 2) if place < 2 else x
            x = F.layer_norm(x, x.shape[2:])
        outputs = F.linear(x.flatten(1), last.flatten(1))
        loss = F.mse_loss(outputs, F.one_hot(labels, outputs.shape[1]).to(outputs.dtype))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        loss.item()
        with torch.no_grad():
            return torch.stack(
                [(w - sum(w.rot90(k, (2, 3)) for k in range(4)) / 4).norm() for w in self.weights]
            )


def as_kernels(weights: Weights) -> list[Tensor]:
    """Our weights [1, ...] of one member (five taps, the centre first; of the linear layer all) as
    the textbook's."""
    found = []
    for name, (w,) in weights.items():
        w = (
            w
            if name == "linear"
            else torch.cat([w, torch.zeros_like(w[:4])])[[5, 1, 6, 2, 0, 3, 7, 4, 8]]
        )
        found.append(
            w.permute(2, 1, 0)
            .unflatten(2, (int(len(w) ** 0.5),) * 2)
            .clone(memory_format=torch.contiguous_format)
        )
    return found


def c4_descent(
    members: int, images: int, batch: int, side: int, c: int, lr: float, dtype: torch.dtype
) -> MiniBatchSGD:
    """Ours, on shuffled rotated images."""
    split = Split(torch.rand(images, 1, side, side).to(dtype), torch.randint(10, (images,)))
    net = C4Conv(1, 10, side, (c, 2 * c, 2 * c))
    weights = {
        name: w.detach().to(dtype).repeat(members, *[1] * w.ndim)
        for name, w in net.named_parameters()
    }
    more = {
        "lr": lr,
        "batch_size": batch,
        "equivariant": False,
        "seed": 0,
        "members": range(members),
    }
    return MiniBatchSGD(
        net, SquaredError().per_example, split, QuarterTurns(side), "shuffled", weights, **more
    )


def check() -> None:
    """Both make the same step (second of two members) in float64, to 1e-10, or a RuntimeError."""
    pairs = []
    for name in FLOWS:
        flows = flows_of(name, 10, 2, tiny=True)
        book, elements = Textbook(name, flows, 1, 5), flows.net.group.elements()
        pairs.append((our_step(flows, "exact")[:, :, 1], book.step(len(elements), elements)))
        pairs += [
            (w, book.arms[a][key].detach())
            for a in ARMS
            for key, w in as_matrices(slice_members(flows.arm(a), 1, 2)).items()
        ]
    descent = c4_descent(2, 10, 7, 12, 4, 0.3, torch.float64)
    kernels, (x, y, _) = TextbookC4(slice_members(descent.weights, 1, 2), 0.3), descent.batch()
    descent.step()
    pairs.append((descent.net.distance(descent.weights)[1], kernels.step(x[1], y[1])))
    pairs += zip(
        as_kernels(slice_members(descent.weights, 1, 2)),
        [w.detach() for w in kernels.weights],
        strict=True,
    )
    worst = torch.stack([(ours - theirs).abs().max() for ours, theirs in pairs]).max()
    print(
        f"steps of ours and of the textbook, and what is measured, differ by at most {worst:.1e} "
        f"in float64",
        flush=True,
    )
    if not worst < 1e-10:
        raise RuntimeError("they do not make the same step")


def textbook_step(name: str, options: argparse.Namespace) -> Callable[[], float]:
    """A step of the textbook; gives the seconds that its missing passes would take more."""
    if name == "c4":
        descent = c4_descent(1, 5000, 100, 28, 32, 2.5e-4, torch.float32)
        book, digits = TextbookC4(descent.weights, 2.5e-4), descent.split
        images, labels = (
            torch.cat([digits.inputs.rot90(k, (2, 3)) for k in range(4)]),
            digits.targets.repeat(4),
        )
        batches = itertools.cycle(torch.randperm(len(images)).split(100))
        return lambda: (book.step(images[b := next(batches)], labels[b]), 0.0)[1]
    cheap = name == "permutation"
    book = Textbook(
        name, flows_of(name, 1000 if cheap else options.images, 1), 0, 200 if cheap else 25
    )
    return lambda: (book.step(PASSES if cheap else options.plain_passes), book.missing)[1]


def serve(connection: Connection, name: str, options: argparse.Namespace, tuned: bool) -> None:
    """The textbook in a process of its own: one step for every word that comes."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if tuned:
        disable_malloc_trim()
    step = textbook_step(name, options)
    step()  # warm
    connection.send("ready")
    while connection.recv():
        start = time.perf_counter()
        missing = step()
        connection.send(time.perf_counter() - start + missing)


def race(name: str, options: argparse.Namespace) -> bool:
    """Take turns, print medians per step of a member and ratios; whether all claims hold."""
    context, rivals = multiprocessing.get_context("spawn"), {}
    for who, tuned in (("textbook", False), ("textbook with main.py's memory", True)):
        rivals[who], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, name, options, tuned), daemon=True).start()
        rivals[who].recv()
    if name == "c4":
        descent, members, rounds = (
            c4_descent(8, 5000, 100, 28, 32, 2.5e-4, torch.float32),
            8,
            20 * options.repeats,
        )
        ours = {"8 members": lambda: (descent.step(), descent.net.distance(descent.weights))}
    else:
        cheap, members = name == "permutation", 2
        flows = flows_of(name, 1000 if cheap else options.images, members)
        rounds = options.repeats * (3 if cheap else 1)
        ours = {
            f"{p} passes": partial(our_step, flows, p)
            for p in ((PASSES,) if cheap else (PASSES, "exact"))
        }
        if not cheap:
            print(
                f"{name}: the textbook makes {options.plain_passes} of {PASSES} augmented passes, "
                f"and their time is scaled up"
            )
    next(iter(ours.values()))()  # warm
    taken: dict[str, list[float]] = {who: [] for who in (*ours, *rivals)}
    for _, who in itertools.product(range(rounds), taken):
        start = time.perf_counter()
        if who in ours:
            ours[who]()
            taken[who].append((time.perf_counter() - start) / members)
        else:
            rivals[who].send("step")
            taken[who].append(rivals[who].recv())
    for rival in rivals.values():
        rival.send("")
    median = {who: statistics.median(times) for who, times in taken.items()}
    held = True
    for claim, who in zip(CLAIMS[name], ours, strict=True):
        ratios = {rival: median[rival] / median[who] for rival in rivals}
        against = ", ".join(
            f"{rival} {median[rival]:.4f} s, ratio {ratio:.2f}" for rival, ratio in ratios.items()
        )
        print(
            f"{name}, {who}: ours {median[who]:.4f} s, {against} (the first: >= {claim})",
            flush=True,
        )
        held = held and ratios["textbook"] >= claim
    return held


def peak_memory(name: str, options: argparse.Namespace) -> bool:
    """Of a fresh process; before all else, for a process starts with its parent's peak."""
    setting = f"d.disable_malloc_trim(); d.torch.set_num_threads({options.threads})"
    code = f"import dynamics as d; {setting}; d.our_step(d.flows_of('translation', {options.images}, 2))"  # noqa: E501
    subprocess.run([sys.executable, "-c", code], check=True, cwd=sys.path[0])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{name}: peak {peak:.2f} GB (<= {MOST_GB})", flush=True)
    return peak <= MOST_GB


def main() -> int:
    cases = {"memory": peak_memory, **dict.fromkeys([*FLOWS, "c4"], race)}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", default=list(cases), choices=list(cases))
    for name, default in {
        "threads": torch.get_num_threads(),
        "repeats": 3,
        "images": 500,
        "plain-passes": 3,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    disable_malloc_trim()
    print(f"torch {torch.__version__}, {options.threads} threads")
    check()
    held = [run(name, options) for name, run in cases.items() if name in options.cases]
    print("all claims held" if all(held) else "a claim failed")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
