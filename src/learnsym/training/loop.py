"""The training loop, from top to bottom: epochs, steps, validation, records, checkpoints, resume.

Every process holds the same generator state and draws for the whole global batch (see
`learnsym.utils.rng`), so a run gives the same numbers for any number of processes, and the state in
a checkpoint is that of all of them.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from learnsym.data.base import Data, Split
from learnsym.distributions.base import penalty, range_metrics, symmetry_step
from learnsym.errors import CheckpointError, RunError
from learnsym.layers.forward_context import ForwardContext, TrainedNetwork, call_network
from learnsym.schema import PlainDict
from learnsym.training import checkpoint
from learnsym.training.progress import Batch, Progress, Recorder
from learnsym.training.settings import TrainSettings
from learnsym.training.tasks import task_for
from learnsym.utils.rng import BatchRows


@dataclass(eq=False, repr=False)
class Training:
    """One training of one network on one data set.

    Attributes:
        fabric: launched; decides device, precision and processes.
        net: the network, whose parameters `settings.optimizer` has.
        recorder: gets one row an epoch (on rank 0 only).
        folder: where checkpoints `last.pt` and `best.pt` go.
        seed: of the order of the examples and of evaluation; the caller has seeded the rest.
        resident_bytes, channels_last, compile: see `TrainerSettings`.
        max_batches: of every epoch and evaluation, and two epochs (debugging); None: all.
        config: kept in the checkpoints.
        measure: called after every epoch for more numbers of its row (on rank 0 only); it leaves
            everything as it is.
    """

    fabric: Fabric
    net: nn.Module
    data: Data
    settings: TrainSettings
    recorder: Recorder
    folder: Path
    _: KW_ONLY
    seed: int
    resident_bytes: float = 4e9
    max_batches: int | None = None
    channels_last: bool = False
    compile: bool = False
    config: PlainDict = field(default_factory=dict)
    measure: Callable[[nn.Module], dict[str, float]] | None = None

    def __post_init__(self) -> None:
        net, settings, optimizer = self.net, self.settings, self.settings.optimizer
        self.plain_net = net
        self.task = task_for(self.data, settings.loss)
        self.progress = Progress()
        examples = len(self.data.splits["train"])
        self.steps_per_epoch = self._count_batches(examples, settings.batch_size)
        self.epochs = settings.epochs
        if self.max_batches is not None:
            self.epochs = min(self.epochs, 2)  # one that starts, one that continues
        if settings.max_steps is not None:
            self.epochs = min(self.epochs, math.ceil(settings.max_steps / self.steps_per_epoch))
        self._steps = min(self.epochs * self.steps_per_epoch, settings.max_steps or math.inf)
        self.schedule = settings.schedule.attach(optimizer, self.steps_per_epoch, self.epochs)
        self.layout = torch.channels_last if self.channels_last else torch.preserve_format
        net.to(memory_format=self.layout)
        # Compiled as well, dropout and sampled transformations draw what they would draw without.
        trained: nn.Module = TrainedNetwork(net)
        if self.compile:
            trained = torch.compile(trained, options={"fallback_random": True})  # type: ignore[assignment]
        self.net, self.optimizer = self.fabric.setup(trained, optimizer)
        self.dtype = next(net.parameters()).dtype  # float64 at precision 64-true, float32 otherwise
        self._resident: dict[str, Split] = {}

    def fit(self) -> Progress:
        """Train to the end, from the last checkpoint where there is one.

        A loss that is not finite is a RunError, which leaves the last good checkpoint.
        """
        self.resume()
        symmetry_step(self.plain_net, self.progress.step / self._steps)
        while self.progress.epoch < self.epochs:
            started = time.perf_counter()
            row: PlainDict = {"epoch": self.progress.epoch + 1} | self._train_epoch()
            if "val" in self.data.splits:
                row |= {f"val_{k}": v for k, v in self.evaluate("val").items()}
            self.progress.epoch += 1
            row |= {"step": self.progress.step, "lr": self.optimizer.param_groups[0]["lr"]}
            row |= self.learned_ranges()
            for key in ("train_loss", "val_loss"):
                if not math.isfinite(row.get(key, 0.0)):
                    raise RunError(
                        f"{key} is {row[key]} in epoch {row['epoch']}: the training has diverged "
                        "(try a smaller train.optimizer.lr, or train.clip_norm); what was computed "
                        f"before is kept in {self.folder}."
                    )
            if self.settings.schedule.every == "epoch":
                self.schedule.step(row.get("val_loss", row["train_loss"]))
            self.progress.seconds += time.perf_counter() - started
            if self.measure is not None and self.fabric.is_global_zero:
                row |= self.measure(self.plain_net)
            self._keep(row)
        return self.progress

    def _train_epoch(self) -> dict[str, float]:
        self.net.train()
        split, settings, progress = self._split("train"), self.settings, self.progress
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + progress.epoch)
        order = torch.randperm(len(split), generator=generator)
        sums = self.task.init_sums(self.fabric.device)
        bar = self.recorder.progress(progress.epoch + 1, self.epochs, self.steps_per_epoch)
        with bar as tick:
            for batch in self._batches(split, order, settings.batch_size, train=True):
                if progress.step >= self._steps:
                    break
                outputs, penalties = self.net(batch.inputs, batch.rows)
                loss = self.task.loss(outputs, batch.targets) * batch.share
                loss = loss + sum(penalties, start=penalty(self.plain_net))
                self.optimizer.zero_grad(set_to_none=True)
                self.fabric.backward(loss)
                if (norm := settings.clip_norm) is not None:
                    self.fabric.clip_gradients(self.net, self.optimizer, max_norm=norm)
                self.optimizer.step()
                if settings.schedule.every == "step":
                    self.schedule.step()
                progress.step += 1
                symmetry_step(self.plain_net, progress.step / self._steps)
                sums = sums + self.task.sums(outputs.detach(), batch.targets)
                tick()
        return {f"train_{k}": v for k, v in self._metrics(sums).items()}

    @torch.no_grad()
    def evaluate(self, name: str, net: nn.Module | None = None) -> dict[str, float]:
        """Return the metrics of a network (None: the trained one; left in `eval` mode) on a split.

        Random numbers are drawn from a generator of its own, so that an evaluation is repeatable
        and leaves the training's as it was.
        """
        net = self.plain_net if net is None else net
        net.eval()
        split, size = self._split(name), self.settings.test_batch_size
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        sums = self.task.init_sums(self.fabric.device)
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed)
            for batch in self._batches(split, torch.arange(len(split)), size, train=False):
                with self.fabric.autocast():
                    outputs = call_network(net, batch.inputs, ForwardContext(batch.rows))
                    sums = sums + self.task.sums(outputs, batch.targets)
        return self._metrics(sums)

    def _count_batches(self, examples: int, batch_size: int) -> int:
        whole = math.ceil(examples / batch_size)
        return whole if self.max_batches is None else min(whole, self.max_batches)

    def _batches(self, split: Split, order: Tensor, size: int, train: bool) -> Iterator[Batch]:
        device, rank = self.fabric.device, self.fabric.global_rank
        processes = self.fabric.world_size
        order = order.to(split.targets.device)  # once an epoch, so that no step waits for a copy
        for index in order.split(size)[: self._count_batches(len(order), size)]:
            total = len(index)
            start, stop = rank * total // processes, (rank + 1) * total // processes
            if (train and total < processes) or start == stop:
                continue  # a step needs a row for every process, an evaluation does not
            held = index[start:stop]
            inputs = split.inputs[held].to(device, non_blocking=True)
            targets = split.targets[held].to(device, non_blocking=True)
            rows = BatchRows(start, stop, total) if processes > 1 else None
            prepared = self.data.prepare(inputs, train=train, rows=rows)
            prepared = prepared.to(self.dtype, memory_format=self.layout)
            yield Batch(prepared, targets, (stop - start) * processes / total, rows)

    def _split(self, name: str) -> Split:
        """Return a split, on the device as a whole where it fits."""
        if name not in self._resident:
            split, device = self.data.splits[name], self.fabric.device
            if split.inputs.nbytes <= self.resident_bytes:
                split = Split(split.inputs.to(device), split.targets.to(device))
            self._resident[name] = split
        return self._resident[name]

    def _metrics(self, sums: Tensor) -> dict[str, float]:
        total = self.fabric.all_reduce(sums, reduce_op="sum")
        assert isinstance(total, Tensor)
        return self.task.metrics(total.tolist())

    def learned_ranges(self) -> dict[str, float]:
        """Return the learned ranges as metrics (see `range_metrics`)."""
        return range_metrics(self.plain_net)

    def _keep(self, row: PlainDict) -> None:
        """Record a row, then write the checkpoint.

        A row without its checkpoint is written again by a resumed run, with the same numbers.
        """
        score, best = row.get(f"val_{self.task.best}"), self.progress.best
        better = score is not None and (best is None or self.task.sign * (score - best) > 0)
        if better:
            self.progress.best, self.progress.best_epoch = score, self.progress.epoch
        if self.fabric.is_global_zero:
            self.recorder.log(row)
            state = self.state()
            if better:
                checkpoint.save(self.folder / "best.pt", state)
            checkpoint.save(self.folder / "last.pt", state)
        self.fabric.barrier()

    def state(self) -> PlainDict:
        """Return the state needed to resume: tensors and plain containers."""
        return {
            "net": self.plain_net.state_dict(),
            "optimizer": self.settings.optimizer.state_dict(),
            "schedule": {k: v for k, v in self.schedule.state_dict().items() if k != "lr_lambdas"},
            "progress": vars(self.progress).copy(),
            "random": checkpoint.random_state(),
            "config": self.config,
            "data": checkpoint.describe(self.data, self.task),
        }

    def resume(self) -> None:
        """Continue from the last checkpoint of this folder, if there is one."""
        path = self.folder / "last.pt"
        if not path.exists():
            self.recorder.truncate(0)
            return
        state = checkpoint.load(path, "fresh=true starts over")
        try:
            self.plain_net.load_state_dict(state["net"])
            self.settings.optimizer.load_state_dict(state["optimizer"])
            schedule = vars(self.schedule)
            # torch would take any attribute for a schedule's.
            if not isinstance(state["random"], dict) or not set(state["schedule"]) <= set(schedule):
                raise TypeError("not of this training")
            lambdas = {"lr_lambdas": [None] * 9} if "lr_lambdas" in schedule else {}
            self.schedule.load_state_dict(state["schedule"] | lambdas)
            self.progress = Progress(**state["progress"])
            checkpoint.set_random_state(state["random"])
        except (RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"checkpoint {path}: it does not fit this network; fresh=true starts over."
            ) from error
        self.recorder.truncate(self.progress.epoch)
