"""Networks of group convolutions: published sizes, options, losses, and what they refuse."""

import pytest
import torch
from blobs import blobs

from learnsym.analysis.equivariance import equivariance_errors
from learnsym.distributions.group_sampler import group_samplers
from learnsym.distributions.sampling import FullSampling, PartialSampling
from learnsym.groups.planar import E2, SE2, Translation2
from learnsym.groups.point_groups import DiscreteIsometries
from learnsym.kernels.multiplicative import FourierNet, MAGNet
from learnsym.kernels.siren import SIREN
from learnsym.nets.augerino import Augerino
from learnsym.nets.ckresnet import CKResNet
from learnsym.nets.gcnn import GCNN

FULL, PARTIAL = FullSampling(), PartialSampling()


def size(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("build", "published"),
    [
        (lambda: CKResNet(1, 10, Translation2(), FULL, SIREN()), 450_074),
        (lambda: CKResNet(1, 10, SE2(), PARTIAL, SIREN()), 467_791),
        (lambda: CKResNet(1, 10, SE2(), FULL, SIREN()), 467_786),
        (
            lambda: Augerino(
                CKResNet(1, 10, Translation2(), FULL, SIREN()), SE2(), learn=["rotation"]
            ),
            450_075,
        ),
        (lambda: CKResNet(1, 10, E2(), PARTIAL, SIREN()), 467_988),
        (lambda: CKResNet(1, 10, E2(), FULL, SIREN()), 467_978),
        (lambda: CKResNet(3, 10, Translation2(), FULL, SIREN()), 452_186),
        (lambda: CKResNet(3, 10, SE2(), PARTIAL, SIREN()), 469_903),
        (lambda: GCNN(1, 10, SE2(), PARTIAL, SIREN(hidden=8)), 3_992_114),
        (lambda: GCNN(1, 10, SE2(), FULL, SIREN(hidden=8)), 3_992_106),
        (
            lambda: CKResNet(
                1, 2, SE2(), PARTIAL, MAGNet(), channels=10, block_width_factors=(1, 2)
            ),
            48_845,
        ),
        (
            lambda: CKResNet(
                1,
                2,
                SE2(),
                FULL,
                FourierNet(),
                channels=20,
                block_width_factors=(1, 2),
                norm="layer",
            ),
            104_422,
        ),
    ],
)
def test_published_numbers_of_parameters(build, published):
    assert size(build()) == published


def test_angles_off_the_grid_on_smooth_images():
    """Eight rotations, an input turned by 45 degrees without interpolation: within 5 % of the
    output, where a planar network changes by more than four times as much."""
    x, turned = blobs(8, 1, 28), {"turned": lambda _: blobs(8, 1, 28, 45)}
    errors = {}
    for name, group in (("C8", DiscreteIsometries(8)), ("planar", Translation2())):
        torch.manual_seed(0)
        net = CKResNet(
            1, 4, group, FULL, SIREN(omega0=3.0, biases="zero"), channels=6, pool_blocks=()
        )
        with torch.no_grad():
            for seed in range(10):
                net(blobs(8, 1, 28, seed=100 + seed).float())
        errors[name] = equivariance_errors(net, x, turned)["turned"]
    assert errors["C8"] < 0.05
    assert errors["planar"] > 4 * errors["C8"]


def test_the_network_follows_theta_and_is_planar_at_zero():
    torch.manual_seed(0)
    net = CKResNet(
        1,
        3,
        SE2(),
        PartialSampling(initial_arc=0.0),
        SIREN(hidden=8),
        channels=3,
        kernel_size=5,
        pool_blocks=(),
    )
    seen = []
    for m in group_samplers(net):
        m.register_forward_hook(lambda module, inputs, out: seen.append(len(out)))
    net.eval()(torch.randn(2, 1, 12, 12))
    assert seen == [8, 1, 1, 1, 1, 1]
    with torch.no_grad():
        for m in group_samplers(net)[1:]:
            m.theta.fill_(0.4)
    seen.clear()
    net(torch.randn(2, 1, 12, 12))
    assert seen == [8, 4, 4, 4, 4, 4]


def test_monotonic_decay():
    net = CKResNet(1, 3, SE2(), PARTIAL, SIREN(hidden=4), channels=2, monotonic_decay=0.5)
    with torch.no_grad():
        for m, theta in zip(group_samplers(net)[1:], (0.5, 0.7, 0.2, 0.3, 0.9), strict=True):
            m.theta.fill_(theta)
    torch.testing.assert_close(net.penalty(), torch.tensor(0.5 * (0.2 + 0.1 + 0.6)))
    assert CKResNet(1, 3, SE2(), PARTIAL, SIREN(hidden=4), channels=2).penalty() == 0.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: net(SE2(), PARTIAL, learnable_final_pooling=True, final_spatial_dim=2),
            "goes with conv=full",
        ),
        (lambda: net(SE2(), FULL, learnable_final_pooling=True), "needs final_spatial_dim"),
        (
            lambda: net(SE2(), FULL, final_spatial_dim=2),
            "has no effect without learnable_final_pooling",
        ),
        (lambda: net(Translation2(), PARTIAL), "nothing to learn on translation2"),
        (lambda: net(SE2(), PartialSampling(sample_sets="network")), "one set cannot serve all"),
        (lambda: net(SE2(), FULL, monotonic_decay=0.1), "no effect without learned arcs"),
        (lambda: net(SE2(), FULL, block_width_factors=(1, 1, 2)), "pairs of a factor"),
        (lambda: net(SE2(), FULL, pool_blocks=(3,)), "there is no block 3"),
        (
            lambda: GCNN(1, 3, SE2(), FULL, SIREN(hidden=4), channels=2, dropout_blocks=(2, 9)),
            "dropout_blocks=.*no block 9",
        ),
        (lambda: net(SE2(), FULL, kernel_size=6), "an odd number"),
        (lambda: Augerino(net(SE2(), FULL), SE2()), "a backbone that is not planar"),
        (
            lambda: Augerino(net(DiscreteIsometries(4), FULL), SE2()),
            "a backbone that is not planar",
        ),
    ],
)
def test_senseless_combinations_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def net(group, conv, **settings):
    return CKResNet(1, 3, group, conv, SIREN(hidden=4), channels=2, **settings)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 28 x 28 pixels and got 20 x 20"):
        net(SE2(), FULL)(torch.randn(1, 1, 20, 20))
    pooled = net(SE2(), FULL, learnable_final_pooling=True, final_spatial_dim=3)
    with pytest.raises(
        ValueError, match="final_spatial_dim does not fit: the last feature map is 1 x 1"
    ):
        pooled(torch.randn(1, 1, 28, 28))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("group", [SE2(), E2()], ids=["SE2", "E2"])
@pytest.mark.parametrize("sets", ["layer", "image"])
def test_no_step_makes_the_host_wait_for_a_gpu(group, sets):
    one = net(group, PartialSampling(samples=4, sample_sets=sets)).cuda().train()
    optimizer = torch.optim.Adam(one.parameters(), lr=1e-3)
    x, labels = (
        torch.randn(4, 1, 28, 28, device="cuda"),
        torch.zeros(4, dtype=torch.long, device="cuda"),
    )

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            outputs = one(x)
        torch.nn.functional.cross_entropy(outputs.float(), labels).backward()
        optimizer.step()
        for m in group_samplers(one):
            m.project()

    step()  # constants are made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(p.grad is not None and p.grad.isfinite().all() for p in one.parameters())


def test_a_mirror_network_tells_no_mirror_images_apart_unless_it_is_partial():
    torch.manual_seed(0)
    x = torch.randn(3, 1, 28, 28)
    for conv, same in ((FULL, True), (PartialSampling(initial_keep=0.1), False)):
        one = CKResNet(1, 3, E2(), conv, SIREN(hidden=8), channels=3).eval()
        with torch.no_grad():
            difference = (one(x) - one(x.flip(-1))).norm() / one(x).norm()
        assert (difference < 1e-4) == same
