"""`mode=width_sweep`: loss, its gradient and accuracy at forced widths (Augerino, section 5)."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from learnsym.distributions.uniform_lie_algebra import UniformLieAlgebra, inverse_softplus
from learnsym.errors import ConfigError
from learnsym.figures.width import draw_width_sweep
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Size
from learnsym.utils.files import to_json, write_atomically


@dataclass
class WidthSweep(Mode):
    """Train (or read a checkpoint), then measure the training loss at forced widths.

    As in training, one transformation is drawn per input and batch norm uses the batch's
    statistics, which are left as they were.
    """

    reads_checkpoint = True

    generator: str = "rotation"
    raw_low: float = -5.0
    raw_high: float = 5.0
    points: Size = 20
    at: tuple[float, ...] = (1.0, 1.3, 2.0, 3.0, 4.5)
    batches: Size = 25

    def __post_init__(self) -> None:
        if self.raw_low >= self.raw_high:
            raise ValueError(f"raw_low={self.raw_low} must lie below raw_high={self.raw_high}")

    def __call__(self, context: RunContext) -> Outcome:
        """Measure {gradient, accuracy, loss}_at_width_<w>; write curves.json and a figure."""
        distribution = getattr(context.net, "augmentation", None)
        if not isinstance(distribution, UniformLieAlgebra):
            raise ConfigError("mode=width_sweep needs a network with a learned box, net=augerino.")
        learned_index(distribution, self.generator)
        if context.cfg.checkpoint is not None:
            context.load(Path(context.cfg.checkpoint))
        else:
            context.training.fit()
        metrics = {f"test_{k}": v for k, v in context.training.evaluate("test").items()}
        raw = torch.linspace(self.raw_low, self.raw_high, self.points, dtype=torch.float64)
        widths = sorted([*(math.log1p(math.exp(r)) for r in raw.tolist()), *self.at])
        curve = [self.measure(context, w) | {"width": w} for w in widths]
        if not context.fabric.is_global_zero:
            return Outcome({})
        folder, true_widths = context.directory, context.data.info.true_widths
        write_atomically(folder.path / "curves.json", to_json({"width_sweep": curve}))
        figure = folder.figures / "width_sweep.png"
        draw_width_sweep(figure, curve, self.generator, true_widths.get(self.generator))
        for w in self.at:
            point = next(p for p in curve if p["width"] == w)
            keys = [key for key in ("loss", "gradient", "accuracy") if key in point]
            metrics |= {f"{key}_at_width_{w}": point[key] for key in keys}
        metrics |= context.training.learned_ranges()
        return Outcome(metrics, [str(figure.relative_to(folder.path))])

    def measure(self, context: RunContext, width: float) -> dict[str, float]:
        """Measure loss, its derivative by the width, and accuracy; all widths see the same draws.

        The batches have the training's size. What moves, the statistics of batch norm too, is that
        of a copy of the network.
        """
        task, device, data = context.training.task, context.fabric.device, context.data
        split, size = data.splits["train"], context.training.settings.batch_size
        net = copy.deepcopy(context.net).train()
        box = net.augmentation
        assert isinstance(box, UniformLieAlgebra)
        assert box.raw_widths is not None
        raw_widths, index = box.raw_widths, learned_index(box, self.generator)
        with torch.no_grad():
            raw_widths[index] = inverse_softplus(width)
        slope = torch.sigmoid(raw_widths.detach()[index]).double()  # d width / d raw
        sums = task.init_sums(device)
        gradient = torch.zeros((), dtype=torch.float64, device=device)
        generator = torch.Generator().manual_seed(context.cfg.seed)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(context.cfg.seed)
            for _ in range(self.batches):
                rows = torch.randint(len(split), (size,), generator=generator)
                inputs, targets = split.inputs[rows].to(device), split.targets[rows].to(device)
                outputs = net(data.prepare(inputs).to(raw_widths.dtype))
                (raw_gradient,) = torch.autograd.grad(task.loss(outputs, targets), raw_widths)
                gradient += raw_gradient[index].double() / slope
                sums += task.sums(outputs.detach(), targets)
        return task.metrics(sums.tolist()) | {"gradient": float(gradient) / self.batches}


def learned_index(distribution: UniformLieAlgebra, generator: str) -> int:
    """Return the index of a learned generator among the raw widths, or refuse the generator."""
    names = [n for n in distribution.group.names if n in distribution.learned]
    if generator not in names:
        raise ConfigError(
            f"mode.generator={generator}: the network does not learn it; it learns "
            f"{', '.join(names) or 'none'}."
        )
    return names.index(generator)
