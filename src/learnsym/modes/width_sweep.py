"""Loss, its gradient and accuracy as functions of a forced width of one generator (Augerino,
figures of section 5).
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from learnsym.distributions.uniform_lie_algebra import UniformLieAlgebra, inverse_softplus
from learnsym.errors import ConfigError
from learnsym.figures.width import draw_width_sweep
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Size
from learnsym.utils.files import write_atomically


@contextmanager
def forced_width(box: UniformLieAlgebra, generator: str, width: float) -> Iterator[None]:
    """Within this context the box has this width along a learned generator; its own width comes
    back afterwards.
    """
    place = learned_place(box, generator)
    with torch.no_grad():
        before = box.raw_widths.detach().clone()
        box.raw_widths[place] = inverse_softplus(width)
    try:
        yield
    finally:
        with torch.no_grad():
            box.raw_widths.copy_(before)


def learned_place(box: UniformLieAlgebra, generator: str) -> int:
    """Where a learned generator stands among the box's raw widths.

    Raises:
        ConfigError: the generator is not learned.
    """
    names = [n for n in box.group.names if n in box.learned]
    if generator not in names:
        raise ConfigError(
            f"mode.generator={generator}: the network does not learn it; it learns {', '.join(names) or 'none'}."
        )
    return names.index(generator)


class WidthSweep(Mode):
    """Train (or read a checkpoint), then force one width to each value of a grid and measure
    batches of the training set.

    As in training, one transformation is drawn per input and batch norm uses the batch's
    statistics, which are left as they were.
    """

    reads_checkpoint = True

    def __init__(
        self,
        generator: str = "rotation",
        raw_low: float = -5.0,
        raw_high: float = 5.0,
        points: Size = 20,
        at: tuple[float, ...] = (1.0, 1.3, 2.0, 3.0, 4.5),
        batches: Size = 25,
    ) -> None:
        """Args:
        generator: whose width is forced.
        raw_low, raw_high, points: evenly spaced grid of raw widths; width = softplus(raw).
        at: widths measured besides and reported as metrics.
        batches: of the training set.
        """
        if raw_low >= raw_high:
            raise ValueError(f"raw_low={raw_low} must lie below raw_high={raw_high}")
        self.generator, self.at, self.batches = generator, list(at), batches
        self.raw = torch.linspace(raw_low, raw_high, points, dtype=torch.float64).tolist()

    def __call__(self, context: RunContext) -> Outcome:
        """Metrics `gradient_at_width_<w>`, `accuracy_at_width_<w>`, `loss_at_width_<w>`;
        curves.json; a figure.
        """
        box = getattr(context.net, "augmentation", None)
        if not isinstance(box, UniformLieAlgebra):
            raise ConfigError("mode=width_sweep needs a network with a learned box, net=augerino.")
        learned_place(box, self.generator)
        if context.cfg.checkpoint is not None:
            context.load(Path(context.cfg.checkpoint))
        else:
            context.training.fit()
        test = context.training.evaluate("test")
        widths = sorted([*(math.log1p(math.exp(r)) for r in self.raw), *self.at])
        curve = [self.measure(context, box, w) | {"width": w} for w in widths]
        if not context.fabric.is_global_zero:
            return Outcome({})
        write_atomically(context.directory.path / "curves.json", json.dumps({"width_sweep": curve}))
        figure = context.directory.figures / "width_sweep.png"
        draw_width_sweep(
            figure, curve, self.generator, context.data.info.true_widths.get(self.generator)
        )
        metrics = {f"test_{k}": v for k, v in test.items()}
        for w in self.at:
            point = next(p for p in curve if p["width"] == w)
            metrics |= {
                f"{k}_at_width_{w}": point[k]
                for k in ("loss", "gradient", "accuracy")
                if k in point
            }
        return Outcome(
            metrics | context.training.extents(), [str(figure.relative_to(context.directory.path))]
        )

    def measure(
        self, context: RunContext, box: UniformLieAlgebra, width: float
    ) -> dict[str, float]:
        """Task loss, its derivative with respect to the width, and accuracy, over the batches; the
        same draws for every width.
        """
        training, fabric = context.training, context.fabric
        place = learned_place(box, self.generator)
        context.net.train()
        sums, gradient = (
            training.task.init_sums(fabric.device),
            torch.zeros((), dtype=torch.float64, device=fabric.device),
        )
        with (
            forced_width(box, self.generator, width),
            _frozen_statistics(context.net),
            torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []),
        ):
            torch.manual_seed(context.cfg.seed)
            slope = torch.sigmoid(box.raw_widths.detach()[place]).double()  # d width / d raw
            for inputs, targets in self.examples(context):
                outputs = context.net(context.data.prepare(inputs).to(box.raw_widths.dtype))
                (raw_gradient,) = torch.autograd.grad(
                    training.task.loss(outputs, targets), box.raw_widths
                )
                gradient += raw_gradient[place].double() / slope
                sums += training.task.sums(outputs.detach(), targets)
        return training.task.metrics(sums.tolist()) | {"gradient": float(gradient) / self.batches}

    def examples(self, context: RunContext) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches, of the training's size, drawn once with the run's seed."""
        split, size = context.data.splits["train"], context.training.settings.batch_size
        generator = torch.Generator().manual_seed(context.cfg.seed)
        for _ in range(self.batches):
            index = torch.randint(len(split), (size,), generator=generator)
            yield (
                split.inputs[index].to(context.fabric.device),
                split.targets[index].to(context.fabric.device),
            )


@contextmanager
def _frozen_statistics(net: nn.Module) -> Iterator[None]:
    """Put running statistics (all buffers) back afterwards: measuring must not move them."""
    before = [(b, b.detach().clone()) for b in net.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
