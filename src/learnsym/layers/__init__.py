"""Layers of networks: group convolutions, LieConv, steerable convolutions, norms, dropout."""

from learnsym.layers.conv_block import ConvBlock
from learnsym.layers.dropout import Dropout
from learnsym.layers.forward_context import ForwardContext
from learnsym.layers.group_conv import GroupConv, LiftingConv, PointwiseGroupConv
from learnsym.layers.lie_conv import LieConv
from learnsym.layers.norms import ElementNorm, GlobalBatchNorm2d, SwishNorm, synchronise_norms
from learnsym.layers.steerable import NormPool, NormReLU, RegularPool, RegularReLU, SteerableConv

__all__ = ["ConvBlock", "Dropout", "ElementNorm", "ForwardContext", "GlobalBatchNorm2d"]
__all__ += ["GroupConv", "LieConv", "LiftingConv", "NormPool", "NormReLU", "PointwiseGroupConv"]
__all__ += ["RegularPool", "RegularReLU", "SteerableConv", "SwishNorm", "synchronise_norms"]
