"""Sizes of the published networks, images of odd sizes, and sentences for wrong ones."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml

from learnsym.nets.e2_steerable import E2Steerable
from learnsym.nets.plain_cnn import Conv5, Conv13, SimpleConv

CFG = Path(__file__).parents[2] / "cfg" / "net"
NETS = {"simple_conv": SimpleConv, "conv5": Conv5, "conv13": Conv13, "e2_steerable": E2Steerable}


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda: SimpleConv(3, 4), 390_404),
        (lambda: SimpleConv(1, 1), 389_057),
        (lambda: Conv5(1, 10), 1_628_810),
        (lambda: Conv13(3, 10), 3_993_482),
    ],
)
def test_published_numbers_of_parameters(build, count):
    assert sum(p.numel() for p in build().parameters()) == count


def test_simple_conv_is_the_textbook_network():
    torch.manual_seed(0)
    net = SimpleConv(3, 4, width=4).eval()
    x = expected = torch.randn(2, 3, 32, 32)
    for block, pool in zip(net.features, (False, True, True, True), strict=True):
        expected = F.relu(
            block.norm(F.conv2d(expected, block.conv.weight, block.conv.bias, padding=1))
        )
        expected = F.max_pool2d(expected, 2) if pool else expected
    expected = net.head(F.max_pool2d(expected, 4).flatten(1))
    torch.testing.assert_close(net(x), expected)


def test_features_of_the_deeper_networks():
    x = torch.randn(2, 3, 32, 32)
    assert Conv5(3, 2, width=3).features(x).shape == (2, 6, 8, 8)
    assert Conv13(3, 2, width=3).features(x).shape == (2, 6, 8, 8)
    dropouts = [block.dropout.probability for block in Conv5(3, 2, width=3, dropout=0.2).features]
    assert dropouts == [0, 0, 0.2, 0.2, 0.2]
    dropouts = [block.dropout.probability for block in Conv13(3, 2, width=3, dropout=0.2).features]
    assert dropouts == [0, 0, 0.2, 0, 0, 0.2, 0, 0, 0]


@pytest.mark.parametrize("side", [8, 28, 45])
def test_simple_conv_takes_the_sizes_of_all_data_sets(side):
    assert SimpleConv(1, 10, width=2)(torch.randn(2, 1, side, side)).shape == (2, 10)


@pytest.mark.parametrize("build", list(NETS.values()))
def test_wrong_images_are_named(build):
    net = build(1, 2)
    side = net.smallest_side
    assert net.eval()(torch.zeros(1, 1, side, side)).shape == (1, 2)
    with pytest.raises(
        ValueError, match=f"at least {side} x {side} pixels and got {side - 1} x 50"
    ):
        net(torch.zeros(1, 1, side - 1, 50))
    with pytest.raises(ValueError, match=re.escape("images [B, 1, H, W] and got [1, 3, 50, 50]")):
        net(torch.zeros(1, 3, 50, 50))


@pytest.mark.parametrize("path", [CFG / f"{n}.yaml" for n in NETS], ids=lambda path: path.stem)
def test_yaml_sets_every_argument_and_explains_it(path):
    backbone = CFG / "backbone" / path.name
    defaults = {"defaults": [f"/net/{path.stem}@_here_"]}
    assert not backbone.exists() or yaml.safe_load(backbone.read_text()) == defaults
    text = path.read_text()
    config = yaml.safe_load(text)
    build = NETS[path.stem]
    assert config.pop("_target_") == f"{build.__module__}.{build.__name__}"
    assert set(config) == set(inspect.signature(build).parameters) - {"in_channels", "num_outputs"}
    assert all("  # " in line for line in text.splitlines() if line.split(":")[0] in config)
    build(in_channels=1, num_outputs=2, **config)


def test_importing_networks_is_lean():
    code = (
        "import sys; import learnsym.nets, learnsym.layers;"
        "heavy = {'e2cnn', 'torchvision', 'scipy', 'hydra', 'omegaconf'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
