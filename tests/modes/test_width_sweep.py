"""The forced width: gradients against finite differences with common random numbers, and nothing
left changed."""

from types import SimpleNamespace

import pytest
import torch

from learnsym.data.images.sprites import Sprites
from learnsym.errors import ConfigError
from learnsym.groups.planar import Affine2
from learnsym.modes.width_sweep import WidthSweep, learned_index
from learnsym.nets.augerino import Augerino
from learnsym.nets.plain_cnn import SimpleConv
from learnsym.training.tasks import Classification


@pytest.fixture
def session() -> SimpleNamespace:
    torch.manual_seed(0)
    net = Augerino(
        SimpleConv(in_channels=3, num_outputs=4, width=2),
        Affine2(),
        learn=["translation_y", "rotation"],
    ).double()
    data = Sprites(train_size=64, test_size=8)
    settings = SimpleNamespace(batch_size=16)
    return SimpleNamespace(
        net=net,
        data=SimpleNamespace(splits=data.splits, prepare=lambda x: data.prepare(x).double()),
        cfg=SimpleNamespace(seed=3),
        fabric=SimpleNamespace(device=torch.device("cpu")),
        training=SimpleNamespace(task=Classification(), settings=settings),
    )


def test_gradient_is_the_slope_of_the_loss(
    session: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """d loss / d width against a central difference over the same draws; float64."""
    # The task's loss is computed in float32; the difference quotient needs more.
    monkeypatch.setattr(
        Classification,
        "loss",
        lambda self, outputs, targets: torch.nn.functional.cross_entropy(outputs, targets),
    )
    monkeypatch.setattr(
        Classification,
        "sums",
        lambda self, o, t: torch.stack(
            [
                torch.nn.functional.cross_entropy(o, t, reduction="sum"),
                o.new_zeros(()),
                o.new_full((), len(t)),
            ]
        ),
    )
    sweep, step = WidthSweep(batches=3), 1e-7
    measured = sweep.measure(session, 1.2)["gradient"]
    above, below = (sweep.measure(session, 1.2 + s)["loss"] for s in (step, -step))
    assert measured == pytest.approx((above - below) / (2 * step), rel=1e-3)


def test_measuring_moves_no_statistics(session: SimpleNamespace) -> None:
    before = {k: v.clone() for k, v in session.net.state_dict().items()}
    WidthSweep(batches=2).measure(session, 3.0)
    assert all(torch.equal(v, before[k]) for k, v in session.net.state_dict().items())


def test_names_the_generators_that_are_learned(session: SimpleNamespace) -> None:
    assert learned_index(session.net.augmentation, "rotation") == 1
    with pytest.raises(ConfigError, match="it learns translation_y, rotation"):
        learned_index(session.net.augmentation, "scale")
    with pytest.raises(ValueError, match="raw_low=1"):
        WidthSweep(raw_low=1.0, raw_high=1.0)
