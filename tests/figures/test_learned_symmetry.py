"""What the figures of learned layers show: read from the artists, not from the pixels."""

import math
from pathlib import Path

import pytest
import torch

from learnsym.distributions.group_sampler import group_samplers
from learnsym.distributions.sampling import FullSampling, PartialSampling
from learnsym.figures.learned_symmetry import (
    INNER,
    draw_circle,
    draw_fractions,
    draw_learned_layers,
    final_fractions,
    layers_that_learn,
)
from learnsym.figures.style import new_figure
from learnsym.figures.width import draw_response, draw_responses
from learnsym.groups.planar import E2, SE2, Translation2
from learnsym.groups.point_groups import DiscreteIsometries
from learnsym.kernels.siren import SIREN
from learnsym.nets.augerino_partial import PartialAugerino
from learnsym.nets.ckresnet import CKResNet
from learnsym.results.collect import Run
from learnsym.results.symmetry import short_name


def resnet(group, conv=None):
    sizes = {"channels": 2, "block_width_factors": (1, 1), "kernel_size": 3, "pool_blocks": ()}
    return CKResNet(1, 2, group, conv or PartialSampling(), SIREN(hidden=4), **sizes)


def axes():
    return new_figure(3, 3).subplots()


def reach(line):
    """The largest angle from the top, in degrees, and the radius, of an arc."""
    x, y = (torch.as_tensor(list(d)) for d in (line.get_xdata(), line.get_ydata()))
    return float(torch.rad2deg(torch.atan2(x, y)).abs().max()), float(torch.hypot(x, y).mean())


def test_only_networks_that_learn_have_circles():
    assert list(layers_that_learn(resnet(SE2()))) == [
        f"{layer}.elements" for layer in ("lift", "blocks.0.conv1", "blocks.0.conv2", "last")
    ]
    assert layers_that_learn(resnet(SE2(), FullSampling())) == {}


def test_an_arc_reaches_half_of_its_width_either_way():
    elements = group_samplers(resnet(E2(), PartialSampling(initial_arc=0.4, initial_keep=0.3)))[1]
    drawn = axes()
    draw_circle(drawn, elements)
    thick = [line for line in drawn.lines if line.get_linewidth() > 3]
    assert [reach(line) for line in thick] == [
        (pytest.approx(0.4 * 180, abs=0.01), pytest.approx(1.0)),
        (pytest.approx(0.4 * 180, abs=0.01), pytest.approx(INNER)),
    ]
    assert [line.get_alpha() for line in thick] == [1.0, pytest.approx(0.3)]
    assert drawn.texts[0].get_text() == "40 %\nm 0.30"


def test_elements_of_finite_groups_are_points_as_full_as_probable():
    elements = group_samplers(resnet(DiscreteIsometries(4)))[1]
    with torch.no_grad():
        elements.logits.copy_(torch.logit(torch.tensor([0.2, 0.7, 0.9])))
    drawn = axes()
    draw_circle(drawn, elements)
    filled = [
        line
        for line in drawn.lines
        if line.get_marker() == "o" and line.get_markerfacecolor() != "white"
    ]
    degrees = [
        math.degrees(math.atan2(line.get_xdata()[0], line.get_ydata()[0])) for line in filled
    ]
    assert [abs(d) for d in degrees] == pytest.approx([0, 90, 180, 90])
    assert degrees[1] == pytest.approx(90), "angles grow clockwise"
    assert [line.get_alpha() for line in filled] == pytest.approx([1.0, 0.1, 0.7, 0.9])
    assert drawn.texts[0].get_text() == "3 of 4"


def test_fractions_over_training_are_those_of_the_rows():
    rows = [
        {
            "epoch": e,
            "learned_rotation_fraction/lift.elements": 1.0,
            "learned_rotation_fraction/last.elements": 1 / e,
        }
        for e in (1, 2)
    ]
    drawn = axes()
    draw_fractions(drawn, rows, ["lift.elements", "last.elements"], "rotation")
    assert [list(line.get_ydata()) for line in drawn.lines] == [[1.0, 1.0], [1.0, 0.5]]
    assert [t.get_text() for t in drawn.get_legend().get_texts()] == ["lift", "last"]


def test_names_of_layers_are_short():
    assert [short_name(f"{n}.elements") for n in ("lift", "blocks.0.conv1", "convs.7")] == [
        "lift",
        "block 1 conv1",
        "conv 8",
    ]


def test_one_figure_for_a_run(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr("learnsym.figures.style.render", lambda figure: saved.append(figure) or b"")
    curve = {"angles_deg": [-180.0, 0.0, 180.0], "probability": [0.0, 1.0, 0.0], "classes": 2}
    curve |= {"per_class": {"six": [0.1, 0.9, 0.1], "nine": [0.0, 1.0, 0.0]}}
    draw_learned_layers(tmp_path / "figure.png", [{"epoch": 1}], resnet(E2()), curve)
    titles = [a.get_title(loc="left") or a.get_title() for a in saved[0].axes]
    assert titles == [
        *("lift", "block 1 conv1", "block 1 conv2", "last"),
        *(
            "part of the rotations over training",
            "part of the mirror images over training",
            "response to a turned input",
        ),
    ]


def test_responses_have_a_curve_per_class_and_a_reference_where_there_are_two():
    curve = {"angles_deg": [-180.0, 0.0, 180.0], "probability": [0.2, 0.8, 0.2], "classes": 2}
    drawn = axes()
    draw_response(drawn, curve | {"per_class": {"six": [0.1, 0.9, 0.1], "nine": [0.3, 0.7, 0.3]}})
    assert [t.get_text() for t in drawn.get_legend().get_texts()] == [
        "one half, a guess",
        "both classes",
        "six",
        "nine",
    ]
    assert list(drawn.lines[0].get_ydata()) == [0.5, 0.5]
    many = axes()
    draw_response(
        many, curve | {"classes": 10, "per_class": {str(k): [0.1] * 3 for k in range(10)}}
    )
    assert len(many.lines) == 1
    assert many.get_legend() is None


def test_arms_of_a_sweep_are_means_over_seeds():
    def curve(probability):
        return {
            "angles_deg": [-180.0, 180.0],
            "probability": probability,
            "per_class": {},
            "classes": 4,
        }

    drawn = axes()
    draw_responses(
        drawn,
        {"full": [curve([0.5, 0.5])], "partial": [curve([0.2, 0.4]), curve([0.4, 0.8])]},
        ["red", "blue"],
    )
    assert drawn.lines[1].get_ydata().tolist() == pytest.approx([0.3, 0.6])
    assert [line.get_color() for line in drawn.lines] == ["red", "blue"]
    assert len(drawn.collections) == 1, "the deviation of the arm with two seeds"


def test_final_fractions_of_arms_that_learn():
    def run(value, learned):
        extent = {"value": value, "unit": "fraction", "learned": learned}
        whole = {"value": 1.0, "unit": "fraction", "learned": False}
        symmetry = {"lift": {"rotation": whole}, "last": {"rotation": extent}}
        return Run(Path(), "finished", result={"learned_symmetry": symmetry})

    assert final_fractions([run(0.4, True), run(0.6, True)]) == {
        "lift": [1.0, 1.0],
        "last": [0.4, 0.6],
    }
    assert final_fractions([run(1.0, False)]) == {}


def test_a_set_at_the_input_is_called_so_and_its_only_fraction_is_found():
    """Augerino on an arc: the backbone's planar layers have no extents, and the metric no layer's
    name."""
    planar = CKResNet(
        1,
        2,
        Translation2(),
        FullSampling(),
        SIREN(hidden=4),
        channels=2,
        kernel_size=3,
        pool_blocks=(),
    )
    net = PartialAugerino(planar, SE2(), PartialSampling(samples=4))
    assert list(layers_that_learn(net)) == ["augmentation"]
    assert short_name("augmentation") == "input"
    drawn = axes()
    draw_fractions(
        drawn,
        [{"epoch": k, "learned_rotation_fraction": 1 - k / 10} for k in (1, 2)],
        ["augmentation"],
        "rotation",
    )
    assert list(drawn.lines[0].get_ydata()) == [0.9, 0.8]
