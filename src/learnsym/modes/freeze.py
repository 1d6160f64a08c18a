"""A trained network made ready for use: frozen, written to a file that needs torch alone, and
compared with what it was.
"""

import copy
import io
import statistics
import time
from collections.abc import Callable
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


class Freeze(Mode):
    """Freeze a checkpoint's network (`learnsym.nets.folded`), write it as `frozen.pt2` and test it.

    The file is a program of `torch.export` with a batch of any size:
    `torch.export.load("frozen.pt2").module()` gives logits [B, K] of normalised images [B, C, H, W]
    where there is torch, with or without learnsym.
    """

    images_only = True
    reads_checkpoint = True
    needs_checkpoint = True

    def __init__(
        self, images: Size = 200, batch: Size = 64, repeats: Size = 10, tolerance: Positive = 1e-4
    ) -> None:
        """Args:
        images: test images on which the outputs are compared.
        batch: images at a time when the time is taken.
        repeats: how often; the median counts.
        tolerance: largest difference of outputs allowed, relative to the largest output.
        """
        self.images, self.batch, self.repeats, self.tolerance = images, batch, repeats, tolerance

    def __call__(self, context: RunContext) -> Outcome:
        """Metrics `test_*` of the frozen network, `largest_output_difference`, sizes and times;
        frozen.pt2.
        """
        context.load(Path(context.cfg.checkpoint))
        net = context.net.eval()
        try:
            frozen = freeze(net)
        except ValueError as error:
            raise ConfigError(f"mode=freeze: {error}.") from error
        for elements in group_samplers(net):
            elements.even_evaluation = True  # a random set would differ by itself
        training = context.training
        metrics = {f"test_{k}": v for k, v in training.evaluate("test", frozen).items()}
        if not context.fabric.is_global_zero:
            return Outcome(metrics)
        images = context.data.prepare(context.data.splits["test"].inputs[: self.images]).to(
            training.dtype
        )
        program = exported(frozen, images)
        write_atomically(context.directory.path / "frozen.pt2", program)
        on_cpu = copy.deepcopy(net).cpu()
        difference, largest = compare(
            torch.export.load(io.BytesIO(program)).module(), on_cpu, images
        )
        if not difference <= self.tolerance * largest:
            raise RunError(
                f"the outputs of the frozen network differ by up to {difference:.2g} from those of the network, whose largest is "
                f"{largest:.2g}; mode.tolerance={self.tolerance} allows {self.tolerance * largest:.2g}."
            )
        some = images[: self.batch].to(context.fabric.device)
        return Outcome(
            metrics
            | {
                "largest_output_difference": difference,
                "network_parameters": sum(p.numel() for p in net.parameters()),
                "frozen_parameters": sum(p.numel() for p in frozen.parameters()),
                "frozen_buffer_numbers": sum(b.numel() for b in frozen.buffers()),
                "network_ms_per_image": milliseconds(net, some, self.repeats) / len(some),
                "frozen_ms_per_image": milliseconds(frozen, some, self.repeats) / len(some),
            }
        )


def exported(net: nn.Module, images: Tensor) -> bytes:
    """The file of a frozen network, for a batch of any size of images like these [B, C, H, W]; made
    on the CPU.
    """
    example = images[:1].cpu().repeat(2, 1, 1, 1)  # one image would fix the size of the batch
    program = torch.export.export(
        copy.deepcopy(net).cpu(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


@torch.no_grad()
def compare(
    one: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor], images: Tensor
) -> tuple[float, float]:
    """The largest difference between the outputs of two networks on images, and the largest output
    of the second.
    """
    pairs = [(one(part), other(part)) for part in images.split(100)]
    return max(float((a - b).abs().max()) for a, b in pairs), max(
        float(b.abs().max()) for _, b in pairs
    )


@torch.no_grad()
def milliseconds(net: nn.Module, images: Tensor, repeats: int) -> float:
    """Median time of a pass of a batch, after two to warm up."""
    taken = []
    for index in range(repeats + 2):
        started = time.perf_counter()
        net(images)
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        taken.append(1e3 * (time.perf_counter() - started))
        if index == 1:
            taken.clear()
    return statistics.median(taken)
