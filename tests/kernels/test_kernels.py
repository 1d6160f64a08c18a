"""Continuous kernels: parameter counts, agreement with a slow twin on concatenated coordinates,
gradients, initial statistics."""

import ast
import inspect
from math import pi, sqrt
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from omegaconf import OmegaConf

from learnsym.config.allowed_classes import get_class
from learnsym.config.build import build
from learnsym.config.validate import check_target
from learnsym.errors import ConfigError
from learnsym.kernels.base import KernelSpec, probe
from learnsym.kernels.linear import ChannelsFirstLinear
from learnsym.kernels.mlp import MLP
from learnsym.kernels.multiplicative import FourierNet, GaborNet, MAGNet
from learnsym.kernels.siren import SIREN

ROOT = Path(__file__).parents[2]
YAMLS = sorted((ROOT / "cfg/kernel").glob("*.yaml"))
SPECS = {
    "siren": SIREN(),
    "siren_response": SIREN(scale="response"),
    "siren_30": SIREN(omega0=30.0, learn_omega0=True, layers=4),
    "siren_odd": SIREN(biases="zero"),
    "siren_uniform": SIREN(biases="uniform"),
    "relu": MLP(),
    "leaky_relu": MLP(activation="leaky_relu", layers=4),
    "swish": MLP(activation="swish"),
    "relu_batch": MLP(norm="batch"),
    "swish_layer": MLP(activation="swish", norm="layer"),
    "fourier": FourierNet(),
    "gabor": GaborNet(),
    "magnet": MAGNet(),
    "magnet_smooth": MAGNet(input_scale=12.0, layers=2),
}
TAPS, N_OUT, N_IN = 5, 3, 4


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def points(batch, s, d, dtype=torch.float64, taps=TAPS):
    """Random coordinates in [-1, 1]: [*L, n_out, taps, s], [*L, n_out, n_in, d]."""
    lead = () if batch is None else (batch,)
    space = torch.rand(*lead, N_OUT, taps if s else 1, s, dtype=dtype) * 2 - 1
    return space, torch.rand(*lead, N_OUT, N_IN, d, dtype=dtype) * 2 - 1


# --- the slow twin


def twin(spec, kernel, space, element):
    """The definition, point by point on [x; e], from the kernel's parameters."""
    x = space[..., :, None, :, :].expand(*space.shape[:-2], N_IN, *space.shape[-2:])
    e = element[..., :, :, None, :].expand(*x.shape[:-1], element.shape[-1])
    c = torch.cat((x, e), -1)  # [*L, n_out, n_in, taps, s + d]
    if isinstance(spec, SIREN):
        z = c
        for linear in (kernel.first, *kernel.inner):
            z = torch.sin(kernel.omega0 * (z @ linear.weight.T + linear.bias))
    elif isinstance(spec, MLP):
        z = c
        for linear, norm in zip((kernel.first, *kernel.inner), kernel.norms, strict=True):
            z = z @ linear.weight.T + linear.bias
            dims = {"batch": tuple(range(z.dim() - 1)), "layer": -1}.get(spec.norm)
            if dims is not None:
                z = (z - z.mean(dims, keepdim=True)) / (
                    z.var(dims, unbiased=False, keepdim=True) + norm.eps
                ).sqrt()
                z = z * norm.weight + norm.bias
            if spec.activation == "swish":
                z = z / (1 + torch.exp(-z))
            else:
                z = torch.where(z > 0, z, z * (0.01 if spec.activation == "leaky_relu" else 0.0))
    else:
        f = kernel.filters

        def g(k):
            wave = torch.sin(c @ f.frequency[k].T + f.phase[k])
            if not hasattr(f, "mean"):
                return wave
            square = f.root[k] ** 2 * (c[..., None, :] - f.mean[k]) ** 2  # [..., h, s + d]
            return torch.exp(-square.sum(-1) / 2) * wave

        z = g(0)
        for k, linear in enumerate(kernel.inner, 1):
            z = (z @ linear.weight.T + linear.bias) * g(k)
    k = (z @ kernel.head.weight.T + kernel.head.bias).unflatten(
        -1, (kernel.shape.out_channels, kernel.shape.in_channels)
    )
    return k.movedim(
        (-2, -5, -1, -4, -3), (-5, -4, -3, -2, -1)
    )  # [*L, Cout, n_out, Cin, n_in, taps]


def shake(kernel):
    """Move every parameter away from special values (zero biases, unit affine maps)."""
    with torch.no_grad():
        for p in kernel.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return kernel


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize(
    ("s", "d"), [(2, 0), (2, 1), (2, 2), (2, 3), (0, 0), (0, 1), (0, 2), (0, 3)]
)
@pytest.mark.parametrize("name", list(SPECS))
def test_agrees_with_the_slow_twin(name, s, d, batch):
    spec = SPECS[name]
    if name == "relu_batch" and s + d == 0:
        pytest.skip("refused, see below")
    kernel = shake(spec.build(s, d, 5, 2, hidden=7).double())
    space, element = points(batch, s, d)
    fast, slow = kernel(space, element), twin(spec, kernel, space, element)
    lead = () if batch is None else (batch,)
    assert fast.shape == (*lead, 5, N_OUT, 2, N_IN, TAPS if s else 1)
    assert fast.is_contiguous() or batch is None
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12 * max(1.0, slow.abs().max().item()))


def test_one_set_per_image_is_that_set_for_every_image():
    kernel = MAGNet().build(2, 1, 5, 2)
    space, element = points(3, 2, 1, torch.float32)
    together = kernel(space, element)
    assert together.dtype == torch.float32
    for b in range(3):
        torch.testing.assert_close(together[b], kernel(space[b], element[b]))


# --- parameters


def size(kernel):
    return sum(p.numel() for p in kernel.parameters())


@pytest.mark.parametrize(("s", "d"), [(2, 1), (2, 3), (0, 2), (2, 0)])
def test_parameter_counts(s, d):
    h, i, o, n, dim = 8, 3, 5, 4, s + d
    plain = dim * h + h + (n - 2) * (h * h + h) + (h + 1) * i * o
    maps = n * (h * h + h) + (h + 1) * i * o
    wanted = {
        SIREN(h, n): plain,
        SIREN(h, n, learn_omega0=True): plain + 1,
        MLP(h, n): plain,
        MLP(h, n, norm="batch"): plain + 2 * h * (n - 1),
        MLP(h, n, norm="layer"): plain + 2 * h * (n - 1),
        FourierNet(h, n): (n + 1) * (h * dim + h) + maps,
        GaborNet(h, n): (n + 1) * (2 * h * dim + 2 * h) + maps,
        MAGNet(h, n): (n + 1) * (3 * h * dim + h) + maps,
    }
    assert {spec: size(spec.build(s, d, o, i)) for spec in wanted} == wanted
    assert size(SIREN().build(2, 1, 32, 32)) == 3 * 32 + 32 + 32 * 32 + 32 + 33 * 32 * 32 == 34976


def test_the_width_may_be_overridden():
    assert size(SIREN(hidden=32).build(0, 1, 3, 3, hidden=16)) == size(
        SIREN(hidden=16).build(0, 1, 3, 3)
    )


def test_the_frequency_is_a_parameter_only_where_it_is_learned():
    learned = SIREN(omega0=30.0, learn_omega0=True).build(2, 1, 2, 2)
    assert dict(learned.named_parameters())["omega0"].shape == ()
    assert learned.omega0.item() == 30
    assert SIREN().build(2, 1, 2, 2).omega0 == 10.0


@pytest.mark.parametrize("spec", [GaborNet(), MAGNet()])
def test_a_window_stays_a_window_whatever_a_step_does(spec):
    """Between 0 and 1 even where the stored parameter has become negative."""
    kernel = spec.build(2, 1, 2, 2).double()
    with torch.no_grad():
        kernel.filters.root.sub_(3)
    assert (kernel.filters.root < 0).any()
    x, y = torch.rand(1, 2, 50).double() * 2 - 1, torch.rand(1, 1, 50).double() * 2 - 1
    for window in kernel.filters.windows(x, y):
        assert window.min() >= 0
        assert window.max() <= 1


# --- gradients


@pytest.mark.parametrize("name", list(SPECS))
def test_gradients_reach_everything(name):
    kernel = shake(SPECS[name].build(2, 2, 3, 2, hidden=8))
    space, element = (t.requires_grad_() for t in points(2, 2, 2, torch.float32))
    weights = kernel(space, element)
    (weights * torch.randn_like(weights)).sum().backward()
    for key, p in (*kernel.named_parameters(), ("space", space), ("element", element)):
        if name == "relu_batch" and key.endswith(("first.bias", "inner.0.bias")):
            continue  # the normalisation takes a bias away again
        assert p.grad is not None, key
        assert p.grad.abs().max() > 1e-6, key


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize(
    "name",
    [
        "siren",
        "siren_30",
        "swish",
        "relu",
        "swish_layer",
        "relu_batch",
        "fourier",
        "gabor",
        "magnet",
    ],
)
def test_first_and_second_derivatives(name, batch):
    spec = SPECS[name]
    if hasattr(spec, "input_scale"):
        spec = type(spec)(input_scale=4.0)
    kernel = shake(spec.build(2, 1, 2, 1, hidden=2).double())
    space, element = points(batch, 2, 1, taps=2)
    inputs = (space.requires_grad_(), element.requires_grad_())
    names, parameters = zip(*kernel.named_parameters(), strict=True)

    def function(space, element, *values):
        return torch.func.functional_call(
            kernel, dict(zip(names, values, strict=True)), (space, element)
        )

    assert torch.autograd.gradcheck(function, (*inputs, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (*inputs, *parameters), fast_mode=True, atol=1e-4)


# --- initial statistics


def layer_points(turns=8, periodic=False):
    """What a convolution over the rotations asks for: a turned 7 x 7 grid within the disc, relative
    angles with an offset."""
    grid = torch.cartesian_prod(*[torch.linspace(-1, 1, 7)] * 2)
    grid = grid[grid.square().sum(-1) <= 1 + 1e-6]
    assert len(grid) == 29
    out, into = (2 * pi * (torch.arange(turns) / turns + torch.rand(()) / turns) for _ in range(2))
    turn = torch.stack((out.cos(), out.sin(), -out.sin(), out.cos()), -1).view(turns, 2, 2)
    relative = torch.remainder(into - out[:, None] + pi, 2 * pi) - pi
    element = (
        torch.stack((relative.cos(), relative.sin()), -1) if periodic else relative[..., None] / pi
    )
    return grid @ turn.mT, element


def set_up(spec, convolution, periodic):
    """(space, element, fan-in less channels) for a lifting, a group and a pointwise convolution."""
    space, element = layer_points(periodic=periodic)
    if convolution == "lifting":
        return space, element.new_zeros(8, 1, 0), 29
    if convolution == "pointwise":
        return space.new_zeros(8, 1, 0), element, 8
    return space, element, 8 * 29


@pytest.mark.parametrize("convolution", ["lifting", "group", "pointwise"])
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("name", list(SPECS))
def test_responses_start_with_unit_variance(name, periodic, convolution):
    """Var(sum of k times independent inputs of unit variance) = fan_in E[k^2]."""
    spec = type(SPECS[name])(**(vars(SPECS[name]) | {"periodic": periodic, "scale": "response"}))
    variances = []
    for _ in range(24):
        space, element, number = set_up(spec, convolution, periodic)
        kernel = spec.build(space.shape[-1], element.shape[-1], 10, 10, fan_in=10 * number)
        with torch.no_grad():
            k = kernel(space, element)
            inputs = torch.randn(64, *k.shape[-3:])
            response = torch.einsum("oicjt,bcjt->boi", k, inputs)
        variances.append(response.square().mean().item())
    assert 0.7 < sum(variances) / len(variances) < 1.4, sorted(variances)


@pytest.mark.parametrize("name", list(SPECS))
def test_no_kernel_starts_with_a_constant(name):
    assert not SPECS[name].build(2, 1, 4, 4, fan_in=100).head.bias.any()


def test_the_scale_is_measured_without_drawing_and_without_memory():
    spec = MLP(norm="batch")
    torch.manual_seed(1)
    scaled, after = spec.build(2, 1, 4, 4, fan_in=500), torch.rand(3)
    torch.manual_seed(1)
    plain, after_plain = spec.build(2, 1, 4, 4), torch.rand(3)
    assert after.equal(after_plain)
    assert scaled.norms[0].running_mean.equal(plain.norms[0].running_mean)
    torch.testing.assert_close(scaled.head.weight, plain.head.weight)  # a gain, not smaller weights
    assert scaled.gain != 1
    torch.testing.assert_close(scaled.first.weight, plain.first.weight)


def test_the_scale_is_exact_on_the_probe():
    for s, d, periodic in ((2, 1, False), (2, 3, True), (0, 1, False), (2, 0, False)):
        kernel = SIREN().build(s, d, 4, 3)
        with torch.no_grad():
            kernel.head.bias.normal_()
        kernel.scale_head(50, periodic)
        k = kernel.double()(*probe(s, d, periodic))
        assert k.square().mean().item() * 50 == pytest.approx(1, rel=1e-5)


def test_the_probe():
    space, element = probe(2, 3, periodic=True)
    assert space.shape == (1, 1, 29, 2)
    assert element.shape == (1, 1, 16, 3)
    torch.testing.assert_close(element[..., :2].square().sum(-1), torch.ones(1, 1, 16).double())
    assert set(element[..., 2].flatten().tolist()) == {-1.0, 1.0}
    assert [tuple(t.shape) for t in probe(0, 1, periodic=True)] == [(1, 1, 1, 0), (1, 1, 8, 1)]
    assert [tuple(t.shape) for t in probe(2, 0, periodic=False)] == [(1, 1, 29, 2), (1, 1, 1, 0)]


def test_a_kernel_without_coordinates_is_a_constant_matrix():
    for name, spec in SPECS.items():
        if name != "relu_batch":
            k = spec.build(0, 0, 64, 64, fan_in=64)(torch.zeros(3, 1, 0), torch.zeros(3, 1, 0))
            assert k.var().item() * 64 == pytest.approx(1, rel=0.1)
            assert k[:, 0].equal(k[:, 1])


def record(kernel, run):
    """Outputs of all inner linear maps: a list of [B, h, points]."""
    found = []
    hooks = [m.register_forward_hook(lambda _, __, out: found.append(out)) for m in kernel.inner]
    run()
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("omega0", [10.0, 30.0])
@pytest.mark.parametrize("biases", ["zero", "phase"])
@pytest.mark.parametrize(("s", "d"), [(2, 0), (2, 1), (2, 3)])
def test_sirens_hidden_pre_activations_have_unit_variance(s, d, omega0, biases):
    spec = SIREN(hidden=512, layers=5, omega0=omega0, biases=biases)
    with torch.no_grad():
        kernel = spec.build(s, d, 2, 2)
        assert kernel.first.weight.abs().max().item() == pytest.approx(1 / (s + d), rel=0.02)
        assert kernel.head.weight.std().item() == pytest.approx(sqrt(2 / 512) / omega0, rel=0.1)
        pre = record(kernel, lambda: kernel(*points(None, s, d, torch.float32, taps=200)))
    first, second, third = (p.square().mean().item() for p in pre)
    assert first == pytest.approx(1, rel=0.15)
    assert second == pytest.approx(0.86, rel=0.15)
    assert third == pytest.approx(0.82, rel=0.15)
    assert all(not m.bias.any() for m in (*kernel.inner, kernel.head))
    assert bool(kernel.first.bias.any()) == (biases == "phase")


@pytest.mark.parametrize("biases", ["zero", "uniform", "phase"])
def test_how_the_biases_of_a_siren_start(biases):
    kernel = SIREN(hidden=4000, biases=biases).build(2, 1, 1, 1)
    first, inner = kernel.first.bias, kernel.inner[0].bias
    bounds = {"zero": (0, 0), "uniform": (1 / sqrt(3), 1 / sqrt(4000)), "phase": (pi / 10, 0)}[
        biases
    ]
    for bias, bound in zip((first, inner), bounds, strict=True):
        assert bias.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert bias.std().item() == pytest.approx(bound / sqrt(3), rel=0.05)
    assert not kernel.head.bias.any()


@pytest.mark.parametrize("scale", ["response", "network"])
def test_a_siren_without_biases_is_odd_and_others_are_not(scale):
    """So that the weight of the central tap of an element with itself is exactly zero at the start;
    see `KernelSpec.cut`."""
    space, element = torch.zeros(1, 1, 2), torch.zeros(1, 1, 1)
    x, e = points(None, 2, 1, torch.float32)
    for biases in ("zero", "uniform", "phase"):
        kernel = SIREN(biases=biases, scale=scale).build(2, 1, 8, 8, fan_in=100)
        size = kernel(x, e).square().mean().sqrt()
        middle = kernel(space, element).square().mean().sqrt()
        odd = (kernel(x, e) + kernel(-x, -e)).square().mean().sqrt()
        if biases == "zero":
            assert middle == 0
            assert odd < 1e-6 * size
        else:
            assert middle > 0.3 * size
            assert odd > 0.3 * size


@pytest.mark.parametrize("name", list(SPECS))
def test_the_published_scale_is_that_of_the_network(name):
    options = vars(SPECS[name]) | {"scale": "network"}
    torch.manual_seed(1)
    own = type(SPECS[name])(**options).build(2, 1, 4, 4, fan_in=500)
    torch.manual_seed(1)
    plain = SPECS[name].build(2, 1, 4, 4)
    assert own.gain == 1
    space, element = points(None, 2, 1, torch.float32)
    assert own.eval()(space, element).equal(plain.eval()(space, element))


@pytest.mark.parametrize(
    "spec", [FourierNet(512), GaborNet(512), MAGNet(512), FourierNet(512, weight_scale=3.0)]
)
def test_linear_maps_of_filter_networks_have_the_variance_of_their_construction(spec):
    with torch.no_grad():
        kernel = spec.build(2, 1, 2, 2)
        space, element = points(2, 2, 1, torch.float32, taps=50)
        filters = [g.flatten(2) for g in kernel.filters(space, element)]
        z = filters[0]
        for linear, out, g in zip(
            kernel.inner, record(kernel, lambda: kernel(space, element)), filters[1:], strict=True
        ):
            promised = spec.weight_scale * z.square().mean().item() / 3 + 1 / (3 * 512)
            assert out.square().mean().item() == pytest.approx(promised, rel=0.15)
            assert linear.weight.abs().max().item() == pytest.approx(
                sqrt(spec.weight_scale / 512), rel=0.02
            )
            z = out * g
    if type(spec) is FourierNet:
        assert filters[0].square().mean().item() == pytest.approx(0.5, rel=0.1)


def test_filters_start_as_published():
    """Of MAGNet's first filter: mean precision 42.6 and deviation of the frequencies 288 in one
    published draw."""
    filters = MAGNet(hidden=4000).build(2, 1, 2, 2).filters
    for k in range(4):
        assert filters.root[k].mean().item() == pytest.approx(
            6 / (k + 1), rel=0.1
        )  # mean of Gamma(alpha, beta)
        assert filters.root[k].var().item() == pytest.approx(6 / (k + 1), rel=0.2)
    assert filters.root[0].square().mean().item() == pytest.approx(42, rel=0.05)
    assert filters.frequency[0].std().item() == pytest.approx(277, rel=0.05)
    wave = filters.frequency / filters.root
    assert wave.abs().max().item() == pytest.approx(256 / sqrt(4 * 3), rel=0.01)
    assert filters.mean.std().item() == pytest.approx(1 / sqrt(3), rel=0.05)
    assert filters.phase.std().item() == pytest.approx(pi / sqrt(3), rel=0.05)
    narrow = GaborNet(hidden=4000, beta=3.0).build(2, 1, 2, 2).filters.root
    assert narrow.shape == (4, 4000, 1)
    for k in range(4):  # alpha / (n + 1) for every filter
        assert narrow[k].mean().item() == pytest.approx(1.5 / 3, rel=0.1)
        assert narrow[k].var().item() == pytest.approx(1.5 / 9, rel=0.2)
    low = FourierNet(hidden=4000, input_scale=10.0).build(2, 1, 2, 2).filters.frequency
    assert low.abs().max().item() == pytest.approx(10 / sqrt(4 * 3), rel=0.01)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "swish"])
def test_perceptrons_keep_second_moments(activation):
    """From one linear map to the next, less the bias; for swish where the moment is 1, which
    normalisation sees to."""
    spec = MLP(512, 5, activation=activation, norm="batch" if activation == "swish" else "none")
    with torch.no_grad():
        kernel = spec.build(2, 1, 2, 2)
        pre = record(kernel, lambda: kernel(*points(None, 2, 1, torch.float32, taps=200)))
    moments = [p.square().mean().item() for p in pre]
    if activation == "swish":
        assert moments == pytest.approx([1, 1, 1], rel=0.2)
    else:
        assert moments[1] == pytest.approx(moments[0], rel=0.2)
        assert moments[2] == pytest.approx(moments[1], rel=0.2)


def test_batch_normalisation_is_over_all_points():
    kernel = MLP(norm="batch").build(2, 1, 2, 2)
    space, element = points(3, 2, 1, torch.float32)
    before = kernel.norms[0].running_mean.clone()
    kernel(space, element)
    assert not kernel.norms[0].running_mean.equal(before)
    kernel.eval()
    torch.testing.assert_close(kernel(space, element)[1], kernel(space[1], element[1]))


# --- configuration


def test_there_is_a_file_for_every_kind():
    assert {p.stem for p in YAMLS} == {
        "siren",
        "relu",
        "leaky_relu",
        "swish",
        "fourier",
        "gabor",
        "magnet",
    }


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: p.stem)
def test_configurations_build_and_list_every_argument_with_a_comment(path):
    cfg = OmegaConf.create({"kernel": OmegaConf.load(path)})
    check_target("kernel", cfg.kernel)
    spec = build(cfg, "kernel")
    assert isinstance(spec, KernelSpec)
    assert getattr(spec, "activation", path.stem) == path.stem
    node = yaml.safe_load(path.read_text())
    parameters = inspect.signature(get_class("kernel", node["_target_"])).parameters
    assert set(node) - {"_target_"} == set(parameters)
    assert all(node[k] == p.default for k, p in parameters.items() if k != "activation"), (
        "the files hold the defaults"
    )
    head, _, *lines = path.read_text().splitlines()
    assert head.startswith("# ")
    assert all("  # " in line for line in lines)
    assert spec.build(2, 1, 3, 2)(*points(None, 2, 1, torch.float32)).shape == (
        3,
        N_OUT,
        2,
        N_IN,
        TAPS,
    )


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("siren", "omega0", 0.0),
        ("siren", "omega0", "ten"),
        ("siren", "hidden", 0),
        ("siren", "learn_omega0", 3),
        ("siren", "omega", 10.0),
        ("relu", "activation", "tanh"),
        ("relu", "norm", "instance"),
        ("magnet", "alpha", -1.0),
        ("magnet", "isotropic", True),
        ("fourier", "alpha", 6.0),
        ("gabor", "layers", 1.5),
    ],
)
def test_wrong_settings_are_refused_by_name(name, key, value):
    cfg = OmegaConf.load(ROOT / f"cfg/kernel/{name}.yaml")
    cfg[key] = value
    with pytest.raises(ConfigError, match=rf"kernel\.{key}"):
        check_target("kernel", cfg)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda: SIREN(layers=1), "layers=1"),
        (lambda: MLP(layers=1), "layers=1"),
        (lambda: FourierNet(layers=0), "layers=0"),
        (lambda: SIREN(hidden=0), "hidden=0"),
        (lambda: SIREN(omega0=-1.0), "omega0=-1.0"),
        (lambda: MLP(activation="tanh"), "activation=tanh"),
        (lambda: MLP(norm="instance"), "norm=instance"),
        (lambda: MLP(norm="batch").build(0, 0, 2, 2), "norm=batch"),
        (lambda: FourierNet(input_scale=0.0), "input_scale=0.0"),
        (lambda: FourierNet(weight_scale=0.0), "weight_scale=0.0"),
        (lambda: GaborNet(alpha=0.0), "alpha=0.0"),
        (lambda: MAGNet(beta=-1.0), "beta=-1.0"),
        (lambda: SIREN().build(-1, 1, 2, 2), "space_dim=-1"),
        (lambda: MAGNet().build(2, 1, 2, 2, hidden=0), "hidden=0"),
        (lambda: MAGNet().build(2, 1, 0, 2), "out_channels=0"),
        (lambda: SIREN().build(2, 1, 2, 2, fan_in=0), "fan_in=0"),
        (
            lambda: SIREN().build(2, 2, 2, 2)(*points(None, 2, 1, torch.float32)),
            r"takes .* and got \[3, 5, 2\]",
        ),
        (lambda: SIREN().build(2, 1, 2, 2)(torch.zeros(3, 5, 2), torch.zeros(2, 4, 1)), "takes"),
        (lambda: SIREN().build(2, 1, 2, 2)(torch.zeros(3, 5, 2), torch.zeros(1, 3, 4, 1)), "takes"),
        (lambda: SIREN().build(2, 1, 2, 2)(torch.zeros(5, 2), torch.zeros(4, 1)), "takes"),
    ],
)
def test_bad_arguments_are_refused(attempt, words):
    with pytest.raises(ValueError, match=words) as refusal:
        attempt()
    assert "\n" not in str(refusal.value)


def test_the_package_stands_alone():
    allowed = {"torch", "learnsym.schema", "learnsym.kernels"}
    for path in (ROOT / "src/learnsym/kernels").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith(
                ("learnsym", "hydra", "omegaconf")
            ):
                assert node.module.startswith(tuple(allowed)), f"{path}: {node.module}"


def test_linear_maps_are_torchs():
    linear, z = ChannelsFirstLinear(3, 4), torch.randn(2, 3, 6)
    torch.testing.assert_close(linear(z), F.linear(z.mT, linear.weight, linear.bias).mT)
    torch.testing.assert_close(linear(z, 2.5), 2.5 * linear(z))
