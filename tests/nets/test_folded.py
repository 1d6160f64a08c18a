"""Frozen networks: the same outputs, nothing left to evaluate or draw, and a file that needs torch
alone."""

import subprocess
import sys

import pytest
import torch

from learnsym.distributions.group_sampler import GroupSampler, group_samplers
from learnsym.distributions.sampling import FullSampling, PartialSampling
from learnsym.groups.planar import E2, SE2, Translation2
from learnsym.groups.point_groups import DiscreteIsometries
from learnsym.kernels.base import ContinuousKernel
from learnsym.kernels.multiplicative import MAGNet
from learnsym.kernels.siren import SIREN
from learnsym.layers.group_conv import ContinuousGroupConv
from learnsym.modes.freeze import export_program, output_difference
from learnsym.nets.ckresnet import CKResNet
from learnsym.nets.folded import freeze
from learnsym.nets.gcnn import GCNN
from learnsym.nets.plain_cnn import Conv5

GROUPS = {
    "t2": Translation2(),
    "se2": SE2(),
    "e2": E2(),
    "c4": DiscreteIsometries(4),
    "d3": DiscreteIsometries(3, mirror=True),
}
FULL, PARTIAL = FullSampling(), PartialSampling()
CASES = {f"{name}_full": (group, FULL) for name, group in GROUPS.items()} | {
    f"{name}_partial": (group, PARTIAL) for name, group in GROUPS.items() if name != "t2"
}


def resnet(group, conv, **options):
    return CKResNet(
        1,
        3,
        group,
        conv,
        SIREN(hidden=4),
        channels=2,
        kernel_size=3,
        **{"pool_blocks": (1,)} | options,
    )


def gcnn(group, conv, **options):
    sizes = {
        "channels": 2,
        "block_width_factors": (1, 1, 2, 1),
        "pool_blocks": (1,),
        "dropout_blocks": (1,),
    }
    return GCNN(
        1,
        3,
        group,
        conv,
        MAGNet(hidden=4, layers=2, input_scale=8.0),
        kernel_size=3,
        **sizes | options,
    )


def trained(make, *arguments, side=12, **options):
    """With running statistics, biases and learned parts of the group that differ from the initial
    ones, in evaluation."""
    torch.manual_seed(0)
    net = make(*arguments, **options)
    images = torch.randn(6, 1, side, side)
    with torch.no_grad():
        for parts in group_samplers(net):
            for learned, low, high in ((parts.theta, 0.3, 0.9), (parts.logits, -1.0, 1.0)):
                if learned is not None:
                    learned.uniform_(low, high)
        for conv in net.modules():
            if isinstance(conv, ContinuousGroupConv) and conv.bias is not None:
                conv.bias.normal_()
        for _ in range(3):
            net.train()(images)
    return net.eval(), images


def assert_same(net, images):
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        net, images = net.to(dtype), images.to(dtype)
        frozen = freeze(net)
        with torch.no_grad():
            expected = net(images)
            torch.testing.assert_close(
                frozen(images),
                expected,
                rtol=0,
                atol=tolerance * max(1.0, float(expected.abs().max())),
            )
        assert frozen(images[:1]).shape == (1, 3)
    return frozen


@pytest.mark.parametrize("make", [resnet, gcnn])
@pytest.mark.parametrize("case", list(CASES))
def test_outputs_stay_the_same(make, case):
    frozen = assert_same(*trained(make, *CASES[case]))
    kinds = (ContinuousKernel, GroupSampler, ContinuousGroupConv)
    assert not [m for m in frozen.modules() if isinstance(m, kinds)]
    assert not any(p.requires_grad for p in frozen.parameters())


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (resnet, {"last_conv_t2": True}),
        (resnet, {"learnable_final_pooling": True, "final_spatial_dim": 4}),
        (resnet, {"last_conv_t2": True, "learnable_final_pooling": True, "final_spatial_dim": 4}),
        (resnet, {"norm": "instance", "pool_blocks": (0, 1)}),
        (resnet, {"norm": "none", "dropout": 0.5, "kernel_decay": 0.1}),
        (gcnn, {"norm": "instance"}),
        (gcnn, {"norm": "none", "dropout": 0.5}),
    ],
)
def test_options_stay_the_same(make, options):
    assert_same(*trained(make, SE2(), FULL, **options))


@pytest.mark.parametrize(
    "conv",
    [
        FullSampling(samples=4, sampling="random", sample_sets="network"),
        FullSampling(samples=4, sampling="random", sample_sets="image"),
        FullSampling(samples=4, sampling="deterministic"),
        PartialSampling(samples=4, sample_sets="image"),
        PartialSampling(samples=4, sampling="deterministic"),
    ],
)
def test_samplings_stay_the_same(conv):
    assert_same(*trained(resnet, SE2(), conv))


def test_random_evaluation_is_frozen_at_the_even_sets():
    net, images = trained(resnet, SE2(), FullSampling(evaluation="random", sample_sets="network"))
    frozen = freeze(net)
    before = torch.get_rng_state()
    expected = frozen(images)
    assert torch.equal(torch.get_rng_state(), before), "nothing is drawn"
    assert torch.equal(frozen(images), expected)
    even = resnet(SE2(), FullSampling(sample_sets="network"))
    even.load_state_dict(net.state_dict())
    torch.testing.assert_close(even.eval()(images), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(net(images), expected), "the network itself goes on drawing"


def test_the_network_itself_stays_as_it_is():
    net, images = trained(resnet, E2(), PARTIAL)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    freeze(net.train())
    assert net.training
    assert next(net.parameters()).requires_grad
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    net(images).sum().backward()


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="a Conv5 cannot be frozen"):
        freeze(Conv5(1, 3, width=2))


@pytest.mark.long
def test_the_file_needs_torch_alone(tmp_path):
    """Loaded by a process that has not imported learnsym, with batches of other sizes than the one
    it was made with."""
    net, images = trained(resnet, E2(), PARTIAL)
    (tmp_path / "frozen.pt2").write_bytes(export_program(freeze(net), images))
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, torch; net = torch.export.load('frozen.pt2').module()\n"
        "images = torch.load('images.pt')\n"
        "assert 'learnsym' not in sys.modules\n"
        "torch.save([net(images), net(images[:1])], 'outputs.pt')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    whole, first = torch.load(tmp_path / "outputs.pt")
    torch.testing.assert_close(whole, net(images), rtol=0, atol=1e-5)
    torch.testing.assert_close(first, net(images[:1]), rtol=0, atol=1e-5)


def test_differences_are_found():
    images = torch.randn(250, 3)
    assert output_difference(lambda x: x + 0.5 * (x == images[240]), lambda x: x, images) == (
        0.5,
        float(images.abs().max()),
    )
