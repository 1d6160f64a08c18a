"""Products of a vector with the Hessian of a loss, or with its generalised Gauss-Newton matrix,
exact and batch by batch.

    hessian    v -> d/dh grad L(theta + h v) at h = 0
    ggn        v -> mean over examples of J^T H J v, J = d outputs / d theta, H = d^2 loss / d
    outputs^2

by differentiating twice (`learnsym.utils.double_backward`): reverse over reverse works for every
layer here. Forward mode (torch.func), which the products of curvlinops-for-pytorch 3.0.1 are made
of, would ask every hand-written backward pass for a rule of its own.
"""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from learnsym.dynamics.ensemble import EnsembleNet
from learnsym.errors import ConfigError
from learnsym.utils.double_backward import enable_double_backward

Matrix = Literal["hessian", "ggn"]
Restriction = Literal["none", "equivariant", "complement"]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of a batch of outputs against targets."""


class Examples(NamedTuple):
    """A batch as the network sees it, and its share of all examples.

    Attributes:
        inputs: [B, C, H, W].
        targets: [B, ...].
        share: B / N.
    """

    inputs: Tensor
    targets: Tensor
    share: float


class Curvature:
    """A symmetric matrix [P, P] known by its products with vectors [P], P the number of trained
    parameters of a network.

    Vectors are float64 on the device `home`; the network computes in its own precision.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: Loss,
        batches: Callable[[], Iterable[Examples]],
        matrix: Matrix = "hessian",
        penalty: Callable[[], Tensor | float] | None = None,
        home: torch.device | str = "cpu",
    ) -> None:
        """Args:
            net: in evaluation mode; all passes over the batches must see the same function of its
                parameters.
            loss: see `Loss`.
            batches: all examples, again with every call.
            matrix: see above.
            penalty: what the loss has besides, a function of the parameters alone; its Hessian is
                added, a Gauss-Newton matrix is of outputs and leaves it out.
            home: where vectors live; a device that knows float64.

        Raises:
            ValueError: nothing is trained.
        """
        self.net, self.loss, self.batches, self.penalty, self.home = (
            net,
            loss,
            batches,
            penalty,
            torch.device(home),
        )
        self.names = [name for name, p in net.named_parameters() if p.requires_grad]
        self.parameters = [p for p in net.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError(f"{type(net).__name__} has no trained parameters")
        self.size = sum(p.numel() for p in self.parameters)
        self.precision = self.parameters[0].dtype
        self._of_batch = self._hessian if matrix == "hessian" else self._gauss_newton
        self._checked = False
        self._adds_penalty = matrix == "hessian" and penalty is not None

    def __call__(self, vector: Tensor, tick: Callable[[], object] = lambda: None) -> Tensor:
        """The product [P]; `tick` is called after every batch.

        Raises:
            ConfigError: a layer of the network has no second derivative.
        """
        along = self.split(vector)
        total = torch.zeros(self.size, dtype=torch.float64, device=self.home)
        try:
            with (
                enable_double_backward(),
                torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
            ):
                for inputs, targets, share in self.batches():
                    total.add_(self.joined(self._of_batch(inputs, targets, along)), alpha=share)
                    tick()
                if self._adds_penalty:
                    assert self.penalty is not None
                    value = self.penalty()
                    if isinstance(value, Tensor) and value.requires_grad:
                        total.add_(self.joined(self._along(value, along)))
        except RuntimeError as error:
            if "is not implemented" not in str(error):
                raise
            raise self._refusal(str(error).splitlines()[0]) from error
        return total

    def _refusal(self, reason: str) -> ConfigError:
        return ConfigError(
            f"mode=spectrum: {type(self.net).__name__} cannot be differentiated twice ({reason.rstrip('.')})."
        )

    def _check(self, slopes: Iterable[Tensor]) -> None:
        """Refuse derivatives of which a part ends, silently, in a backward pass that is
        differentiable once.
        """
        if not self._checked:
            self._checked = True
            if has_error_node(slopes):
                raise self._refusal(
                    "the backward pass of one of its layers is marked once_differentiable"
                )

    def _hessian(self, inputs: Tensor, targets: Tensor, along: list[Tensor]) -> list[Tensor]:
        return self._along(self.loss(self.net(inputs), targets), along)

    def _along(self, value: Tensor, along: list[Tensor]) -> list[Tensor]:
        """The Hessian of a scalar times a vector."""
        slopes = torch.autograd.grad(
            value, self.parameters, create_graph=True, materialize_grads=True
        )
        self._check(slopes)
        slope = sum((g * v).sum() for g, v in zip(slopes, along, strict=True))
        if not slope.requires_grad:  # linear in all parameters
            return [torch.zeros_like(p) for p in self.parameters]
        return list(torch.autograd.grad(slope, self.parameters, materialize_grads=True))

    def _gauss_newton(self, inputs: Tensor, targets: Tensor, along: list[Tensor]) -> list[Tensor]:
        outputs = self.net(inputs)
        # J v without forward mode: J^T u is linear in u, and the derivative of (J^T u) v with
        # respect to u is J v.
        dual = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(
            outputs, self.parameters, dual, create_graph=True, materialize_grads=True
        )
        self._check(pulled)
        (pushed,) = torch.autograd.grad(
            sum((g * v).sum() for g, v in zip(pulled, along, strict=True)), dual, retain_graph=True
        )
        del pulled
        free = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.loss(free, targets), free, create_graph=True)
        (curved,) = torch.autograd.grad(slope, free, pushed)
        return list(torch.autograd.grad(outputs, self.parameters, curved, materialize_grads=True))

    def split(self, vector: Tensor) -> list[Tensor]:
        """A vector [P] as tensors like the parameters."""
        parts = vector.split([p.numel() for p in self.parameters])
        return [
            part.view(p.shape).to(p.device, p.dtype)
            for part, p in zip(parts, self.parameters, strict=True)
        ]

    def joined(self, parts: Iterable[Tensor]) -> Tensor:
        """Tensors like the parameters as a vector [P]."""
        return torch.cat([part.detach().flatten().to(self.home, torch.float64) for part in parts])


def has_error_node(tensors: Iterable[Tensor]) -> bool:
    """Whether a graph has a node that stands for "cannot be differentiated": autograd passes it
    over in silence.
    """
    nodes = [t.grad_fn for t in tensors if t.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node.name().endswith("::Error"):
            return True
        new = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= new
        nodes += new
    return False


class Subspace:
    """The weights of an `EnsembleNet` that are equivariant (E, and whatever the group does not act
    on), or their orthogonal complement.

    Attributes:
        dimension: of the space.
    """

    def __init__(
        self, curvature: Curvature, restriction: Literal["equivariant", "complement"]
    ) -> None:
        """Raises:
        ConfigError: the network has no orthogonal projection, or there is nothing in the space.
        """
        net = curvature.net
        if not isinstance(net, EnsembleNet):
            raise ConfigError(
                f"mode.restrict={restriction}: {type(net).__name__} knows no projection onto equivariant weights; "
                "net=projected_linear or net=c4_conv would be right."
            )
        if net.fixed:
            raise ConfigError(
                f"mode.restrict={restriction}: net.basis=random has coordinates that are not orthonormal, in which E has no "
                "orthogonal projection; net.basis=orthonormal would be right."
            )
        self.curvature, self.net, self.complement = curvature, net, restriction == "complement"
        inside = net.equivariant_dimension()
        self.dimension = curvature.size - inside if self.complement else inside
        if not self.dimension:
            raise ConfigError(
                f"mode.restrict={restriction}: no weights of this network lie there; none would be right."
            )

    @torch.no_grad()
    def __call__(self, vector: Tensor) -> Tensor:
        """The orthogonal projection [P] of a vector [P], in float64."""
        parts = vector.split([p.numel() for p in self.curvature.parameters])
        shapes = [p.shape for p in self.curvature.parameters]
        weights = {
            name: part.view(1, *shape)
            for name, part, shape in zip(self.curvature.names, parts, shapes, strict=True)
        }
        projected = self.net.project(weights)
        inside = torch.cat([projected[name].flatten() for name in self.curvature.names])
        return vector - inside if self.complement else inside
