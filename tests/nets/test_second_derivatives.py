"""Every network can be differentiated twice: products with the Hessian against differences of
training's gradients."""

import torch
import torch.nn.functional as F
from strategies import Seeded
from torch import Tensor, nn

from learnsym.analysis.curvature import Curvature, Examples
from learnsym.distributions.sampling import PartialSampling
from learnsym.groups.planar import E2, SE2, Affine2
from learnsym.kernels.siren import SIREN
from learnsym.nets.augerino import Augerino
from learnsym.nets.ckresnet import CKResNet
from learnsym.nets.plain_cnn import Conv5
from learnsym.utils.double_backward import enable_double_backward


def gradient(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """As training takes it, with the hand-written backward passes, [P]."""
    loss = F.mse_loss(net(inputs), targets)
    found = torch.autograd.grad(
        loss, [p for p in net.parameters() if p.requires_grad], materialize_grads=True
    )
    return torch.cat([g.flatten() for g in found])


def check(
    net: nn.Module, inputs: Tensor, surrogate: tuple[str, ...] = (), step: float = 1e-8
) -> None:
    net, inputs = Seeded(net.double().eval()), inputs.double()
    torch.manual_seed(5)
    outputs = net(inputs).detach()
    with torch.no_grad(), enable_double_backward():
        torch.testing.assert_close(net(inputs), outputs, rtol=1e-9, atol=1e-9)
    targets = outputs + torch.randn_like(outputs)
    for (
        name,
        p,
    ) in net.named_parameters():  # what decides about presence: a step of the output, not a slope
        p.requires_grad_(not (surrogate and name.endswith(surrogate)))
    curvature = Curvature(net, F.mse_loss, lambda: [Examples(inputs, targets, 1.0)])
    direction = torch.randn(curvature.size, dtype=torch.float64)
    product = curvature(direction)
    assert product.norm() > 0
    parts = curvature.split(direction)
    sides = []
    for sign in (1, -2, 1):
        with torch.no_grad():
            for p, v in zip(curvature.parameters, parts, strict=True):
                p.add_(v, alpha=sign * step)
        sides.append(gradient(net, inputs, targets))
    expected = (sides[0] - sides[1]) / (2 * step)
    assert (product - expected).norm() <= 1e-5 * expected.norm()
    other = torch.randn(curvature.size, dtype=torch.float64)
    assert abs(other @ product - direction @ curvature(other)) <= 1e-9 * float(
        product.norm() * other.norm()
    ), "symmetric"


def test_every_network(case, net) -> None:
    check(net, case.inputs(3), case.surrogate)


def test_augerino_with_all_widths() -> None:
    torch.manual_seed(0)
    net = Augerino(Conv5(2, 3, width=3), Affine2(), initial_width=0.4, test_copies=2)
    check(net, torch.randn(3, 2, 13, 11))


def test_augerino_with_a_mirror() -> None:
    torch.manual_seed(0)
    net = Augerino(Conv5(2, 3, width=3), E2(), initial_width=0.4, test_copies=2)
    check(net, torch.randn(3, 2, 12, 12))


def test_a_set_of_elements_for_every_image() -> None:
    """In evaluation too: then every image has a kernel of its own."""
    torch.manual_seed(0)
    sampling = PartialSampling(samples=4, sample_sets="image", initial_arc=0.7, evaluation="random")
    net = CKResNet(
        2, 3, SE2(), sampling, SIREN(hidden=8), channels=3, kernel_size=5, pool_blocks=(1,)
    )
    for _ in range(5):
        net(torch.randn(6, 2, 16, 16))
    check(net, torch.randn(3, 2, 16, 16))
