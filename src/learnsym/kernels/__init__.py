"""Continuous kernels, small networks whose values are the weights of a convolution."""

from learnsym.kernels.base import ContinuousKernel, KernelSpec
from learnsym.kernels.linear import KernelShape
from learnsym.kernels.mlp import MLP
from learnsym.kernels.multiplicative import FourierNet, GaborNet, MAGNet
from learnsym.kernels.siren import SIREN

__all__ = ["MLP", "SIREN", "ContinuousKernel", "FourierNet", "GaborNet", "KernelShape"]
__all__ += ["KernelSpec", "MAGNet"]
