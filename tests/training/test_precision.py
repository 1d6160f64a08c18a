"""trainer.precision: in what arithmetic a network works, and what it hands to the loss."""

import pytest
import torch
from torch import nn

from learnsym.run.distributed import make_fabric
from learnsym.training.settings import TrainerSettings

INPUTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("precision", "weights"),
    [("64-true", torch.float64), ("32-true", torch.float32), ("bf16-mixed", torch.float32)],
)
def test_outputs_have_the_precision_of_the_weights(precision, weights):
    net = nn.Linear(3, 4)
    twin = nn.Linear(3, 4)
    twin.load_state_dict(net.state_dict())
    fabric = make_fabric(TrainerSettings(accelerator="cpu", precision=precision), 1)
    outputs = fabric.setup(net)(INPUTS.to(weights))
    assert outputs.dtype == weights
    if precision == "64-true":
        assert torch.equal(outputs, twin.double()(INPUTS))
    elif precision == "32-true":
        assert torch.equal(outputs, twin(INPUTS.float()))
    else:
        assert not torch.equal(outputs, twin(INPUTS.float()))
