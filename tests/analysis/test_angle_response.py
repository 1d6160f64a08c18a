"""The response to a turned input, on networks whose response is known in closed form."""

import math

import pytest
import torch
from torch import Tensor, nn

from learnsym.analysis.evaluation import angle_response, balanced_rows
from learnsym.data.images.sprites import Sprites

CPU = torch.device("cpu")


class TopHeavy(nn.Module):
    """Says "upright" where the brighter half of the picture is where it is in the upright snail;
    exact under half turns."""

    def __init__(self, upright: Tensor) -> None:
        super().__init__()
        self.sign = torch.sign(self.tilt(upright[None]))[0]

    @staticmethod
    def tilt(images: Tensor) -> Tensor:
        half = images.shape[-2] // 2
        return images[..., :half, :].sum(dim=(1, 2, 3)) - images[..., half:, :].sum(dim=(1, 2, 3))

    def forward(self, images: Tensor) -> Tensor:
        score = 0.05 * self.sign * self.tilt(images)
        return torch.stack(
            [score, -score, torch.full_like(score, -50.0), torch.full_like(score, -50.0)], dim=1
        )


@pytest.fixture(scope="module")
def sprites() -> Sprites:
    return Sprites(train_size=8, test_size=40)


def test_half_turn_exchanges_up_and_down(sprites: Sprites) -> None:
    """At +-180 degrees the probability of the right class is that of the wrong one at 0."""
    snail = sprites.prepare(sprites.prototypes.inputs[:1])[0]
    curve = angle_response(TopHeavy(snail), sprites, CPU, images=4, angles=5)
    upright = curve["per_class"]["snail upright"]
    assert curve["angles_deg"] == pytest.approx([-180, -90, 0, 90, 180], abs=1e-4)
    assert upright[2] > 0.9
    assert upright[0] == pytest.approx(1 - upright[2], abs=1e-3)
    assert upright[0] == pytest.approx(upright[4], abs=1e-3)


def test_constant_network_is_flat_at_chance(sprites: Sprites) -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.new_zeros(len(images), 4)

    curve = angle_response(Constant(), sprites, CPU, images=4, angles=9)
    assert curve["probability"] == pytest.approx([0.25] * 9)
    assert set(curve["per_class"]) == set(sprites.info.class_names)


def test_leaves_network_and_random_numbers_alone(sprites: Sprites) -> None:
    """Mode, copies and the global generator are what they were; the curve repeats to the last
    bit."""
    from learnsym.groups.planar import Rotation2
    from learnsym.nets.augerino import Augerino
    from learnsym.nets.plain_cnn import SimpleConv

    net = Augerino(
        SimpleConv(in_channels=3, num_outputs=4, width=2),
        Rotation2(),
        initial_width=1.0,
        test_copies=3,
    ).train()
    before = torch.get_rng_state()
    curves = [angle_response(net, sprites, CPU, images=4, angles=3, copies=5) for _ in range(2)]
    assert torch.equal(before, torch.get_rng_state())
    assert net.training
    assert net.test_copies == 3
    assert curves[0] == curves[1]
    assert curves[0]["copies"] == 5


def test_takes_test_images_without_prototypes(sprites: Sprites) -> None:
    class FirstPixel(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean(dim=(2, 3)) @ torch.ones(3, 4)

    twin = Sprites(train_size=8, test_size=40)
    twin.prototypes = None
    curve = angle_response(FirstPixel(), twin, CPU, images=7, angles=2)
    assert curve["what"] == "test images"
    assert math.isclose(curve["angles_deg"][0], -180, abs_tol=1e-4)


def test_turns_images_of_every_class_where_a_split_is_sorted(sprites: Sprites) -> None:
    """As the sixes beside their half turns are: the first images alone would all be of one
    class."""
    targets = torch.tensor([1] * 50 + [0] * 50 + [2])
    assert balanced_rows(targets, 5).tolist() == [0, 1, 50, 51, 100]
    assert balanced_rows(targets, 200).tolist() == list(range(101))

    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.new_zeros(len(images), 4)

    twin = Sprites(train_size=8, test_size=40)
    twin.prototypes = None
    test = twin.splits["test"]
    order = test.targets.argsort()
    twin.splits["test"] = type(test)(test.inputs[order], test.targets[order])
    assert set(angle_response(Constant(), twin, CPU, images=4, angles=2)["per_class"]) == set(
        twin.info.class_names
    )
