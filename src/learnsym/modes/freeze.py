"""`mode=freeze`: fold a network to a file that needs torch alone."""

import copy
import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from learnsym.distributions.group_sampler import group_samplers
from learnsym.errors import ConfigError, RunError
from learnsym.nets.folded import freeze
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Positive, Size
from learnsym.utils.files import write_atomically


@dataclass
class Freeze(Mode):
    """Freeze a checkpoint's network (`learnsym.nets.folded`), write it and test it.

    The file `frozen.pt2` is a program of `torch.export` with a batch of any size:
    `torch.export.load("frozen.pt2").module()` gives logits [B, K] of normalised images [B, C, H, W]
    where there is torch, with or without learnsym.
    """

    images_only = True
    reads_checkpoint = True
    needs_checkpoint = True

    images: Size = 200
    batch: Size = 64
    repeats: Size = 10
    tolerance: Positive = 1e-4

    def __call__(self, context: RunContext) -> Outcome:
        """Write frozen.pt2; compute its test_* metrics, largest_output_difference, sizes, times."""
        context.load(Path(context.cfg.checkpoint))
        training, net = context.training, context.net.eval()
        try:
            frozen = freeze(net)
        except ValueError as error:
            raise ConfigError(f"mode=freeze: {error}.") from error
        for elements in group_samplers(net):
            elements.even_evaluation = True  # a random set would differ by itself
        metrics = {f"test_{k}": v for k, v in training.evaluate("test", frozen).items()}
        if not context.fabric.is_global_zero:
            return Outcome(metrics)
        images = context.data.prepare(context.data.splits["test"].inputs[: self.images])
        images = images.to(training.dtype)
        program = export_program(frozen, images)
        write_atomically(context.directory.path / "frozen.pt2", program)
        exported = torch.export.load(io.BytesIO(program)).module()
        difference, largest = output_difference(exported, copy.deepcopy(net).cpu(), images)
        allowed = self.tolerance * largest
        if not difference <= allowed:
            raise RunError(
                f"the outputs of the frozen network differ by up to {difference:.2g} from those of "
                f"the network, whose largest is {largest:.2g}; mode.tolerance={self.tolerance} "
                f"allows {allowed:.2g}."
            )
        timed = images[: self.batch].to(context.fabric.device)
        metrics |= {
            "largest_output_difference": difference,
            "network_parameters": sum(p.numel() for p in net.parameters()),
            "frozen_parameters": sum(p.numel() for p in frozen.parameters()),
            "frozen_buffer_numbers": sum(b.numel() for b in frozen.buffers()),
            "network_ms_per_image": _milliseconds(net, timed, self.repeats) / len(timed),
            "frozen_ms_per_image": _milliseconds(frozen, timed, self.repeats) / len(timed),
        }
        return Outcome(metrics)


def export_program(net: nn.Module, images: Tensor) -> bytes:
    """Export a frozen network, on the CPU, for any batch size."""
    example = images[:1].cpu().repeat(2, 1, 1, 1)  # one image would fix the size of the batch
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(copy.deepcopy(net).cpu(), (example,), dynamic_shapes=dynamic)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


@torch.no_grad()
def output_difference(
    net: Callable[[Tensor], Tensor], reference: Callable[[Tensor], Tensor], images: Tensor
) -> tuple[float, float]:
    """Compute the largest difference from a reference, and its largest output."""
    pairs = [(net(chunk), reference(chunk)) for chunk in images.split(100)]
    difference = max(float((a - b).abs().max()) for a, b in pairs)
    return difference, max(float(b.abs().max()) for _, b in pairs)


@torch.no_grad()
def _milliseconds(net: nn.Module, images: Tensor, repeats: int) -> float:
    """Measure the median time of a pass of a batch, after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        net(images)
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[2:])
