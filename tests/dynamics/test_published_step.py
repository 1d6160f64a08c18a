"""One step of the presets of the dynamics paper's first version, against the published networks and
step written out plainly.

The networks are written from the page: layers, activation, layer norm, fully connected layers,
output; the step is that of a loop over K mini-batches whose mean losses are divided by K.
"""

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from torch import Tensor

from learnsym.config.build import build
from learnsym.config.resolvers import register_resolvers
from learnsym.config.search_path import CONFIG_DIR
from learnsym.data.base import Split
from learnsym.dynamics.ensemble import Weights, member_generators
from learnsym.dynamics.gradient_flows import GradientFlows
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.dynamics.risk import GroupAugmentation
from learnsym.groups.permutation import PermutationGroup, named_group
from learnsym.training.tasks import Classification, Segmentation

EXAMPLES, BATCH, PASSES = 35, 7, 3
RATES = {"permutation": 1e-4, "translation": 1e-5, "rotation": 1e-5, "groups": 5e-5}
"""As published, of the gradient of the mean loss."""
CASES = {
    "permutation": ("permutation", F.leaky_relu),
    "translation": ("shift_x", torch.tanh),
    "rotation": ("quarter_turns", F.leaky_relu),
    "groups/quarter_turns": ("quarter_turns", F.leaky_relu),
    "groups/shift_turns": ("shift_turns", F.leaky_relu),
    "groups/shift_x": ("shift_x", torch.tanh),
    "groups/shift_xy": ("shift_xy", torch.tanh),
}
"""Preset, and group where it has several -> the group, and the activation before the layer norm."""


@pytest.fixture(scope="module", autouse=True)
def hydra_directory():
    register_resolvers()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield


def composed(preset: str, scale: str, *overrides: str):
    return compose(
        "config", overrides=[f"experiment=dynamics/{preset}", f"scale={scale}", *overrides]
    )


def network(case: str, name: str) -> tuple[ProjectedLinear, float]:
    """The preset's network, and its rate."""
    preset, task = case.split("/")[0], "segmentation" if case == "rotation" else "classification"
    small = ["base_group.n=4"] if name == "permutation" else []
    cfg = composed(preset, "smoke", *small)
    outputs = 10 if preset in ("translation", "groups") else 2
    net = build(cfg, "net", in_channels=1, num_outputs=outputs, task=task)
    return net.with_group(named_group(name, net.group.side)), cfg.train.optimizer.lr


def examples(net: ProjectedLinear) -> Split:
    draw = torch.Generator().manual_seed(1)
    side = net.group.side
    images = torch.rand(EXAMPLES, 1, side, side, dtype=torch.float64, generator=draw) - 0.5
    images = (images + images.mT) / 2 if net.symmetric_inputs else images  # adjacency matrices
    if net.task == "segmentation":
        return Split(images, (torch.rand(EXAMPLES, 2, side, side, generator=draw) < 0.4).float())
    return Split(images, torch.randint(net.num_outputs, (EXAMPLES,), generator=draw))


def published_loss(case: str, weights: Weights, images: Tensor, targets: Tensor) -> Tensor:
    """The mean loss of a mini-batch, of the network as the page has it."""
    bend = CASES[case][1]
    names = [name for name in weights if name.startswith("linear")]
    x = images.flatten(2).transpose(1, 2)  # [B, pixels, C]
    for place, name in enumerate(names):
        x = torch.einsum("poqi,bqi->bpo", weights[name], x)
        x = F.leaky_relu(x) if place + 1 < len(names) or "invariant" in weights else x
    if case == "rotation":
        p = (
            F.layer_norm(bend(x), x.shape[-1:])
            .sigmoid()
            .transpose(1, 2)
            .unflatten(2, images.shape[2:])
        )
        return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    x = torch.einsum("qif,bqi->bf", weights["invariant"], x)
    x = F.layer_norm(bend(x), x.shape[-1:]) @ weights["dense0"].T
    if "dense1" in weights:
        x = F.leaky_relu(x) @ weights["dense1"].T
    if case == "permutation":
        p = x[:, 0].sigmoid()
        return -torch.where(targets == 1, p.log(), (1 - p).log()).mean()
    return F.cross_entropy(x.softmax(-1), targets)


def published_gradient(case: str, weights: Weights, passes: list[Split]) -> Weights:
    leaves = {k: w.clone().requires_grad_() for k, w in weights.items()}
    batches = EXAMPLES // BATCH
    for split in passes:
        for images, targets in zip(
            split.inputs.split(BATCH), split.targets.split(BATCH), strict=True
        ):
            (published_loss(case, leaves, images, targets) / batches / len(passes)).backward()
    return {k: leaf.grad for k, leaf in leaves.items()}


def averaged(gradient: Weights, group: PermutationGroup) -> Weights:
    """The mean over the group of rho_out(g) A rho_in(g)^-1, element by element."""
    found = {
        k: torch.zeros_like(g) if k.startswith(("linear", "invariant")) else g
        for k, g in gradient.items()
    }
    elements = group.elements()
    for table in elements:
        for name, g in gradient.items():
            if name.startswith("linear"):
                found[name] += g[table][:, :, table] / len(elements)
            elif name == "invariant":
                found[name] += g[table] / len(elements)
    return found


@pytest.mark.parametrize("case", CASES)
def test_one_step_of_every_arm(case):
    net, lr = network(case, CASES[case][0])
    assert lr == RATES[case.split("/")[0]]
    group, split = net.group, examples(net)
    loss = (
        Segmentation().per_example if net.task == "segmentation" else Classification().per_example
    )
    flows = GradientFlows(
        net,
        loss,
        split,
        GroupAugmentation(group, PASSES),
        lr,
        batch_size=11,
        seed=0,
        members=range(1),
    )
    start = {k: w[0].clone() for k, w in flows.start.items()}
    assert not any(name.startswith("bias") for name in start)
    (draws,) = member_generators(0, range(1), "passes of step 0")
    moved = []
    for _ in range(PASSES):
        table = group.sample(EXAMPLES, draws).unsqueeze(1)
        masks = split.targets.ndim == 4
        act = lambda x, table=table: group.act(table, x.flatten(2)).view(x.shape)  # noqa: E731
        moved.append(Split(act(split.inputs), act(split.targets) if masks else split.targets))
    raw = published_gradient(case, start, [split])
    steps = {
        "nominal": raw,
        "equivariant": averaged(raw, group),
        "augmented": published_gradient(case, start, moved),
    }
    losses = flows.step()
    torch.testing.assert_close(
        losses[0], published_loss(case, start, split.inputs, split.targets), rtol=1e-12, atol=0
    )
    for arm, gradient in steps.items():
        for name, weight in flows.arm(arm).items():
            wanted, found = lr * gradient[name], start[name] - weight[0]
            off = float((found - wanted).norm() / wanted.norm())
            assert off < 1e-7, (
                f"{arm}, {name}: off by {off:.2g}"
            )  # a difference of weights a million times as large


def test_the_sizes_of_the_published_start():
    """Norms of the invariant map (55.8 and 80.8 in one published draw) and deviations of the fully
    connected layers."""
    permutation = composed("permutation", "full")
    weights = build(
        permutation, "net", in_channels=1, num_outputs=2, task="classification"
    ).state_dict()
    assert float(weights["invariant"].norm()) == pytest.approx(56.6, rel=0.08)
    assert weights["invariant"].std(0).max() < 1e-6, "constant over the pixels"
    assert float(weights["dense0"].std()) == pytest.approx(10 / 64, rel=0.1)
    assert float(weights["dense1"].std()) == pytest.approx(10 / 32, rel=0.5)
    cfg = composed(
        "translation", "full", "net.channels=[32]"
    )  # one dense layer of 39 million numbers less
    weights = build(cfg, "net", in_channels=1, num_outputs=10, task="classification").state_dict()
    assert float(weights["invariant"].norm()) == pytest.approx(79.2, rel=0.08)
    assert float(weights["dense0"].std()) == pytest.approx(14 / 32, rel=0.2)


@pytest.mark.parametrize("preset", RATES)
@pytest.mark.parametrize("scale", ["full", "cpu", "smoke"])
def test_the_published_rate_at_every_scale(preset, scale):
    assert composed(preset, scale).train.optimizer.lr == RATES[preset]
