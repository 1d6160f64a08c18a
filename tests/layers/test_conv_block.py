"""The convolution block: pooling before ReLU is pooling after it, and the chain is
channels-last."""

import torch
import torch.nn.functional as F

from learnsym.layers.conv_block import ConvBlock


def test_block_is_conv_norm_relu_pool_dropout():
    torch.manual_seed(0)
    block = ConvBlock(3, 5, pool=True, dropout=0.5)
    x = torch.randn(4, 3, 9, 8)
    torch.manual_seed(1)
    out = block(x)
    torch.manual_seed(1)
    twin = torch.nn.Sequential(
        block.conv, torch.nn.BatchNorm2d(5), torch.nn.ReLU(), torch.nn.MaxPool2d(2), block.dropout
    )
    torch.testing.assert_close(out, twin(x))
    assert out.shape == (4, 5, 4, 4)


def test_gradients_are_those_of_the_textbook_order():
    torch.manual_seed(0)
    block = ConvBlock(2, 4, pool=True)
    x = torch.randn(3, 2, 8, 8, requires_grad=True)
    (ours,) = torch.autograd.grad(block(x).square().sum(), x)
    (twin,) = torch.autograd.grad(
        F.max_pool2d(F.relu(block.norm(block.conv(x))), 2).square().sum(), x
    )
    torch.testing.assert_close(ours, twin)


def test_layout_is_channels_last_from_the_second_block_on():
    net = torch.nn.Sequential(ConvBlock(1, 4), ConvBlock(4, 8))
    assert net(torch.randn(2, 1, 8, 8)).is_contiguous(memory_format=torch.channels_last)
