"""TODO."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from learnsym.analysis.layer_equivariance import even_and_double, layer_errors
from learnsym.analysis.transforms import Move
from learnsym.data.base import Data

Rows = dict[str, dict[str, dict[str, Any]]]
"""Motion -> layer -> what `layer_errors` says of it."""


IMAGES = 16
"""Test examples that a training moves."""


def errors(
    net: nn.Module, data: Data, motions: Sequence[Move], count: int, device: torch.device
) -> Rows:
    """`layer_errors` for each motion of the first `count` test examples. The network and all generators stay as they are.

    Images move before they are normalised: black, which is what a turn brings in, is zero there.
    """
    net, stored = even_and_double(net), stored_inputs(data, count).to(device)
    inputs = data.prepare(stored).double()
    if data.kind == "points":
        return {m.name: layer_errors(net, inputs, m) for m in motions}
    return {
        m.name: layer_errors(net, inputs, m, data.prepare(m.on_images(stored)).double())
        for m in motions
    }


def stored_inputs(data: Data, count: int) -> Tensor:
    """The first test examples as they are stored, pixels scaled to [0, 1]."""
    stored = data.splits["test"].inputs[:count]
    return stored.float() / (255.0 if stored.dtype == torch.uint8 else 1.0)


def metrics_of(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """equivariance_error_180deg/lift and so on; where no elements pair up, equivariance_error_of_maximum_180deg/lift."""
    found = {}
    for motion, layers in rows.items():
        for layer, row in layers.items():
            known = "error" if row["error"] is not None else "error_of_maximum"
            found[f"equivariance_{known}_{motion}/{layer}"] = row[known]
    return found
