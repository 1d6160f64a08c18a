"""Whole networks: plain arguments in, an nn.Module out."""

from learnsym.nets.augerino import Augerino
from learnsym.nets.augerino_partial import PartialAugerino
from learnsym.nets.ckresnet import CKResNet
from learnsym.nets.e2_steerable import E2Steerable
from learnsym.nets.folded import freeze
from learnsym.nets.gcnn import GCNN
from learnsym.nets.group_network import GroupNetwork
from learnsym.nets.lieconv import LieConvNet
from learnsym.nets.plain_cnn import Conv5, Conv13, SimpleConv

__all__ = [
    "GCNN",
    "Augerino",
    "CKResNet",
    "Conv5",
    "Conv13",
    "E2Steerable",
    "GroupNetwork",
    "LieConvNet",
    "PartialAugerino",
    "SimpleConv",
    "freeze",
]
