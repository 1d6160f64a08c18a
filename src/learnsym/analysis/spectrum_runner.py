"""What `mode=spectrum` works with: a function that is the same in every pass, and runs that can be
interrupted.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import nn

from learnsym.analysis.curvature import Curvature, Examples
from learnsym.analysis.lanczos import Lanczos
from learnsym.dynamics.ensemble import EnsembleNet
from learnsym.errors import RunError
from learnsym.nets.augerino import Augerino
from learnsym.utils.rng import BatchRows, generator


class TrainingExamples:
    """Some training examples in batches, transformed as in training, again and again with the same
    draws.

    All numbers are drawn for all examples in every batch, from one seed, and a batch takes those of
    its rows: they belong to the examples, and the mean over all batches is the same function of the
    weights in every pass and for every size of batch.
    """

    def __init__(self, context: Any, images: int | None, batch_size: int) -> None:
        """Args:
        context: of the run.
        images: examples at most; None: all.
        batch_size: examples at a time.
        """
        self.split, self.data, self.device = (
            context.data.splits["train"],
            context.data,
            context.fabric.device,
        )
        self.dtype, self.layout, self.batch_size = (
            context.training.dtype,
            context.training.layout,
            batch_size,
        )
        total = len(self.split)
        count = min(total, images or total, 64 if context.debug else total)
        order = torch.randperm(total, generator=generator(context.cfg.seed, "spectrum/examples"))
        self.rows = order[:count].sort().values
        self.seed = int(
            torch.randint(2**62, (), generator=generator(context.cfg.seed, "spectrum/draws"))
        )

    def __len__(self) -> int:
        """How many batches."""
        return math.ceil(len(self.rows) / self.batch_size)

    def __call__(self) -> Iterator[Examples]:
        """All batches; whoever takes one draws from the seed, until the next is taken."""
        total = len(self.rows)
        for start in range(0, total, self.batch_size):
            stop = min(start + self.batch_size, total)
            rows = self.rows[start:stop].to(self.split.targets.device)
            inputs, targets = (
                self.split.inputs[rows].to(self.device),
                self.split.targets[rows].to(self.device),
            )
            devices = [self.device] if self.device.type == "cuda" else []
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(self.seed)
                held = BatchRows(start, stop, total)
                prepared = self.data.prepare(inputs, train=True, rows=held).to(
                    self.dtype, memory_format=self.layout
                )
                yield Examples(prepared, targets, (stop - start) / total, held)


@contextmanager
def in_evaluation(net: nn.Module, copies: int | None) -> Iterator[None]:
    """Batch norm with running statistics, no dropout, but as many transformations of an input as in
    training (or `copies`).
    """
    averaged = [
        (module, module.test_copies) for module in net.modules() if isinstance(module, Augerino)
    ]
    net.eval()
    try:
        for module, _ in averaged:
            module.test_copies = copies or module.train_copies
        yield
    finally:
        for module, before in averaged:
            module.test_copies = before


@torch.no_grad()
def project_own_weights(net: EnsembleNet) -> None:
    """Put a member's weights onto the equivariant ones."""
    for name, weight in net.project(net.own_weights()).items():
        net.get_parameter(name).copy_(weight[0])


class SpectrumRunner:
    """Lanczos runs one after the other: progress, and what is done kept in a folder so that the
    same command goes on.
    """

    def __init__(
        self,
        context: Any,
        product: Curvature,
        folder: Path,
        runs: int,
        batches: int,
        seconds: float,
    ) -> None:
        """Args:
        session: whose recorder shows progress.
        product: the operator.
        folder: where runs are kept, each in a folder of its name.
        runs: in all.
        batches: in a product.
        seconds: between writes, at least; ten times what a write takes, if that is more.
        """
        self.session, self.product, self.folder = context, product, folder
        self.runs, self.batches, self.seconds = runs, batches, seconds
        self._said = monotonic()

    def __call__(self, run: Lanczos, number: int) -> None:
        """All steps of a run that are not done.

        Raises:
            RunError: a product is not finite.
        """
        folder = self.folder / run.name
        run.resume(folder)
        if run.alphas and not run.done:
            print(f"continuing {run.name} after product {len(run.alphas)}", flush=True)
        written = monotonic()
        with self.session.training.recorder.progress(
            number, self.runs, (run.order - len(run.alphas)) * self.batches
        ) as tick:
            while not run.done:
                run.step(lambda vector: self.product(vector, tick))
                if not math.isfinite(run.betas[-1]):
                    raise RunError(
                        "a product with the curvature is not finite: the weights of this network, or its loss, have overflowed."
                    )
                self._say(run)
                now = monotonic()
                if run.done or now - written >= self.seconds:
                    run.keep(folder)
                    written = monotonic()
                    self.seconds = max(self.seconds, 10 * (written - now)) if self.seconds else 0.0

    def _say(self, run: Lanczos) -> None:
        """A quiet line, at most one in ten seconds, where there is no bar."""
        if monotonic() - self._said > 10 and not self.session.training.recorder.console.bar:
            self._said = monotonic()
            print(f"{run.name}: product {len(run.alphas)}/{run.order}", flush=True)
