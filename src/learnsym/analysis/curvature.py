"""Multiply vectors by a loss's Hessian or Gauss-Newton matrix, exactly.

    hessian    v -> d/dh grad L(theta + h v) at h = 0
    ggn        v -> mean over examples of J^T H J v, J = d outputs / d theta, H = d^2 loss / d
               outputs^2

They differentiate twice (`learnsym.utils.double_backward`), batch by batch: reverse over reverse
works for every layer here. Forward mode (torch.func), which the products of
curvlinops-for-pytorch 3.0.1 are made of, would ask every hand-written backward pass for a rule.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from learnsym.data.base import Data
from learnsym.errors import ConfigError
from learnsym.layers.forward_context import ForwardContext, call_network
from learnsym.utils.double_backward import enable_double_backward, graph_nodes
from learnsym.utils.rng import BatchRows, generator

CurvatureMatrix = Literal["hessian", "ggn"]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of a batch of outputs against targets."""


class Examples(NamedTuple):
    """A batch as the network sees it, its share B / N and its rows (None: all) of all examples."""

    inputs: Tensor
    targets: Tensor
    share: float
    rows: BatchRows | None = None


@dataclass(eq=False)
class TrainingExamples:
    """At most `count` (None: all) training examples, transformed alike in every pass.

    All numbers are drawn for all examples in every batch, from one seed, and a batch takes those of
    its rows: the mean over all batches is the same function of the weights for every batch size.
    """

    data: Data
    count: int | None
    batch_size: int
    seed: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    layout: torch.memory_format = torch.preserve_format

    def __post_init__(self) -> None:
        total = len(self.data.splits["train"])
        order = torch.randperm(total, generator=generator(self.seed, "spectrum/examples"))
        self.rows = order[: self.count or total].sort().values
        draws = generator(self.seed, "spectrum/draws")
        self.draws_seed = int(torch.randint(2**62, (), generator=draws))

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __call__(self) -> Iterator[Examples]:
        """Yield all batches; between them, torch draws from the seed of the examples."""
        split, total = self.data.splits["train"], len(self.rows)
        devices = [self.device] if self.device.type == "cuda" else []
        for start in range(0, total, self.batch_size):
            stop = min(start + self.batch_size, total)
            rows = self.rows[start:stop].to(split.targets.device)
            inputs, targets = split.inputs[rows].to(self.device), split.targets[rows]
            shard = BatchRows(start, stop, total)
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(self.draws_seed)
                prepared = self.data.prepare(inputs, train=True, rows=shard)
                prepared = prepared.to(self.dtype, memory_format=self.layout)
                share = (stop - start) / total
                yield Examples(prepared, targets.to(self.device), share, shard)


@dataclass(eq=False)
class Curvature:
    """A symmetric matrix [P, P] known by its products with vectors [P].

    Vectors are float64 on `device`; the network computes in its own precision, in evaluation mode
    and the same function of its parameters in every pass over the `batches`. A Gauss-Newton matrix
    leaves the `penalty` out, a function of the parameters that is added to the loss.
    """

    net: nn.Module
    loss: Loss
    batches: Callable[[], Iterable[Examples]]
    matrix: CurvatureMatrix = "hessian"
    penalty: Callable[[], Tensor | float] | None = None
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError(f"{type(self.net).__name__} has no trained parameters")
        self.size = sum(p.numel() for p in self.parameters)
        self.precision = self.parameters[0].dtype
        self._checked = False

    def __call__(self, vector: Tensor, tick: Callable[[], object] = lambda: None) -> Tensor:
        """Compute the product [P], a `tick` a batch; ConfigError without second derivatives."""
        product = self._hessian if self.matrix == "hessian" else self._gauss_newton
        along = self.split(vector)
        total = torch.zeros(self.size, dtype=torch.float64, device=self.device)
        flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        try:
            with enable_double_backward(), flags:
                for examples in self.batches():
                    total.add_(self._flat(product(examples, along)), alpha=examples.share)
                    tick()
                value = self.penalty() if self.penalty and self.matrix == "hessian" else 0.0
                if isinstance(value, Tensor) and value.requires_grad:
                    total.add_(self._flat(self._derivative_along(value, along)))
        except RuntimeError as error:
            if "is not implemented" not in str(error):
                raise
            raise self._refusal(str(error).splitlines()[0]) from error
        return total

    def _refusal(self, reason: str) -> ConfigError:
        return ConfigError(
            f"mode=spectrum: {type(self.net).__name__} cannot be differentiated twice "
            f"({reason.rstrip('.')})."
        )

    def _gradients(self, value: Tensor, weights: Tensor | None = None) -> Sequence[Tensor]:
        """Compute gradients to differentiate again; refuse those where autograd would not."""
        gradients = torch.autograd.grad(
            value, self.parameters, weights, create_graph=True, materialize_grads=True
        )
        # A node that raises when it is differentiated.
        if not self._checked and any(n.name().endswith("::Error") for n in graph_nodes(gradients)):
            reason = "the backward pass of one of its layers is marked once_differentiable"
            raise self._refusal(reason)
        self._checked = True
        return gradients

    def _outputs(self, examples: Examples) -> Tensor:
        return call_network(self.net, examples.inputs, ForwardContext(examples.rows))

    def _hessian(self, examples: Examples, along: list[Tensor]) -> list[Tensor]:
        return self._derivative_along(self.loss(self._outputs(examples), examples.targets), along)

    def _derivative_along(self, value: Tensor, along: list[Tensor]) -> list[Tensor]:
        """Compute the Hessian of a scalar times a vector."""
        gradients = self._gradients(value)
        slope = _inner(gradients, along)
        if not slope.requires_grad:  # linear in all parameters
            return [torch.zeros_like(p) for p in self.parameters]
        return list(torch.autograd.grad(slope, self.parameters, materialize_grads=True))

    def _gauss_newton(self, examples: Examples, along: list[Tensor]) -> list[Tensor]:
        outputs = self._outputs(examples)
        # J v without forward mode: J^T u is linear in u, and d (J^T u) v / du = J v.
        dual = torch.zeros_like(outputs, requires_grad=True)
        pulled_back = self._gradients(outputs, dual)
        (pushed,) = torch.autograd.grad(_inner(pulled_back, along), dual, retain_graph=True)
        del pulled_back
        free = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.loss(free, examples.targets), free, create_graph=True)
        (curved,) = torch.autograd.grad(slope, free, pushed)
        return list(torch.autograd.grad(outputs, self.parameters, curved, materialize_grads=True))

    def split(self, vector: Tensor) -> list[Tensor]:
        """Split a vector [P] into tensors like the parameters."""
        chunks = vector.split([p.numel() for p in self.parameters])
        pairs = zip(chunks, self.parameters, strict=True)
        return [chunk.view(p.shape).to(p.device, p.dtype) for chunk, p in pairs]

    def _flat(self, tensors: Iterable[Tensor]) -> Tensor:
        """Join tensors like the parameters to a vector [P]."""
        return torch.cat([t.detach().flatten().to(self.device, torch.float64) for t in tensors])


def _inner(tensors: Iterable[Tensor], others: Iterable[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(tensors, others, strict=True)]).sum()
