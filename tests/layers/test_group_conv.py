"""Group convolutions against their definition, term by term, and their equivariance."""

import math

import pytest
import torch
import torch.nn.functional as F

from learnsym.distributions.group_sampler import GroupSampler
from learnsym.distributions.sampling import FullSampling, PartialSampling
from learnsym.groups.planar import SE2
from learnsym.groups.point_groups import O2, SO2, Cyclic, Dihedral, Elements, Trivial
from learnsym.kernels.multiplicative import FourierNet, MAGNet
from learnsym.kernels.siren import SIREN
from learnsym.layers.continuous_conv import disc_taps
from learnsym.layers.fast.taps import per_image_conv
from learnsym.layers.forward_context import ForwardContext
from learnsym.layers.group_conv import GroupConv, LiftingConv, PointwiseGroupConv
from learnsym.layers.norms import ElementNorm

KERNEL = SIREN(hidden=6)
DOUBLE = {"dtype": torch.float64}


@pytest.fixture(autouse=True)
def in_double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def whole(group, **settings) -> GroupSampler:
    return GroupSampler(FullSampling(**settings), group)


def part(group, **settings) -> GroupSampler:
    return GroupSampler(PartialSampling(**settings), group, learned=True)


def by_definition(conv, features, kernel_of, inputs, out):
    """sum_h' sum_x f(x, h') k(h^-1 (x - y), h^-1 h') with one call of the kernel for every pair and
    tap."""
    batch, _, _, height, width = features.shape
    half = conv.kernel_size // 2
    y = features.new_zeros(batch, conv.out_channels, len(out), height, width)
    padded = F.pad(features, [half] * 4)
    for i in range(len(out)):
        for j in range(features.shape[2]):
            for row in range(conv.kernel_size):
                for column in range(conv.kernel_size):
                    point = torch.tensor([column - half, row - half], **DOUBLE) / max(half, 1)
                    if point.norm() > 1 + 1e-9:
                        continue
                    weight = kernel_of(point, i, j)
                    seen = padded[:, :, j, row : row + height, column : column + width]
                    y[:, :, i] += torch.einsum("oc,bchw->bohw", weight, seen)
    return y if conv.bias is None else y + conv.bias.view(-1, 1, 1, 1)


def relative_coordinates(group, h, k):
    return group.kernel_coordinates(h.inverse().product(k))


def pick(elements, i):
    return Elements(elements.angle[i : i + 1], elements.sign[i : i + 1])


@pytest.mark.parametrize("group", [Trivial(), SO2(), O2(), Cyclic(3), Dihedral(2)], ids=repr)
@pytest.mark.parametrize("size", [3, 5])
def test_lifting_and_group_convolution_are_their_definitions(group, size):
    lift = LiftingConv(2, 3, KERNEL, whole(group), size)
    conv = GroupConv(3, 2, KERNEL, whole(group), size)
    torch.nn.init.normal_(lift.bias), torch.nn.init.normal_(conv.bias)
    images = torch.randn(2, 2, 6, 7)
    lifted, inner = lift(images)
    found, out = conv(lifted, inner)

    def of_lift(point, i, j):
        turned = torch.linalg.inv(pick(inner, i).matrices()[0]) @ point
        return lift.kernel(turned.view(1, 1, 2), torch.zeros(1, 1, 0))[:, 0, :, 0, 0]

    def of_conv(point, i, j):
        turned = torch.linalg.inv(pick(out, i).matrices()[0]) @ point
        relative = relative_coordinates(group, pick(out, i), pick(inner, j))
        return conv.kernel(turned.view(1, 1, 2), relative.view(1, 1, -1))[:, 0, :, 0, 0]

    with torch.no_grad():
        torch.testing.assert_close(
            lifted,
            by_definition(lift, images.unsqueeze(2), of_lift, None, inner),
            atol=1e-10,
            rtol=1e-10,
        )
        torch.testing.assert_close(
            found, by_definition(conv, lifted, of_conv, inner, out), atol=1e-10, rtol=1e-10
        )


def test_the_pointwise_convolution_is_its_definition():
    group = O2()
    inputs, like = whole(group)(2, torch.device("cpu"), torch.float64), whole(group, samples=4)
    conv = PointwiseGroupConv(3, 2, KERNEL, like)
    out = like(2, torch.device("cpu"), torch.float64)
    features = torch.randn(2, 3, 8, 4, 4)
    found = conv(features, inputs, out)
    with torch.no_grad():
        for i in range(4):
            expected = 0
            for j in range(8):
                relative = relative_coordinates(group, pick(out, i), pick(inputs, j))
                weight = conv.kernel(torch.zeros(1, 1, 0), relative.view(1, 1, -1))[:, 0, :, 0, 0]
                expected = expected + torch.einsum("oc,bchw->bohw", weight, features[:, :, j])
            torch.testing.assert_close(found[:, :, i], expected, atol=1e-10, rtol=1e-10)
    assert conv.bias is None


@pytest.mark.parametrize("valid", [False, True])
def test_a_set_per_image_is_that_image_alone(valid):
    """Every image with its own elements: the same as one image at a time with a shared set."""
    conv = GroupConv(3, 2, KERNEL, whole(SO2(), samples=4, sample_sets="image"), 5, valid)
    features = torch.randn(3, 3, 4, 8, 7, requires_grad=True)
    angle = torch.rand(3, 4) * 2
    found, out = conv(features, Elements(angle, torch.ones(3, 4)))
    assert out.angle.shape == (3, 4)
    gradient = torch.randn_like(found)
    parameters = [features, *conv.parameters()]
    together = torch.autograd.grad(found, parameters, gradient, retain_graph=True)
    alone, sums = [], [torch.zeros_like(p) for p in parameters]
    for b in range(3):
        one = Elements(out.angle[b], out.sign[b])
        kernel = conv.sample_kernel(one, Elements(angle[b], torch.ones(4)))
        y = conv.convolve(features[b : b + 1], kernel)
        alone.append(y)
        for total, g in zip(
            sums, torch.autograd.grad(y, parameters, gradient[b : b + 1]), strict=True
        ):
            total += g
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-10, rtol=1e-10)
    for a, b in zip(together, sums, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("padding", [0, 2])
def test_per_image_conv_is_a_grouped_conv2d(padding, monkeypatch):
    taps, _ = disc_taps(5)
    images, kernels = (
        torch.randn(5, 3, 7, 6, requires_grad=True),
        torch.randn(5, 4, 3, len(taps), requires_grad=True),
    )
    corners = tuple(divmod(int(t), 5) for t in taps)
    dense = kernels.new_zeros(5, 4, 3, 25).index_copy(3, taps, kernels).view(20, 3, 5, 5)
    expected = F.conv2d(images.view(1, 15, 7, 6), dense, padding=padding, groups=5)
    expected = expected.view(5, 4, *expected.shape[2:])
    gradient = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (images, kernels), gradient)
    for chunk in (1.0, 3000.0, 1e9):  # one image at a time, a few, all
        monkeypatch.setattr("learnsym.layers.fast.taps._CHUNK_BYTES", {"cpu": chunk})
        found = per_image_conv(images, kernels, corners, padding, 5)
        torch.testing.assert_close(found, expected)
        for a, b in zip(
            torch.autograd.grad(found, (images, kernels), gradient), wanted, strict=True
        ):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("group", [SO2(), O2(), Trivial()], ids=repr)
def test_few_pixels_are_computed_without_the_kernel(group):
    """7 x 8 pixels to 1 x 2: in training the contraction, in evaluation conv2d; with gradients."""
    conv = GroupConv(3, 2, KERNEL, whole(group), 7, valid=True)
    torch.nn.init.normal_(conv.bias), torch.nn.init.normal_(conv.kernel.head.bias)
    inputs = whole(group)(2, torch.device("cpu"), torch.float64)
    features = torch.randn(4, 3, len(inputs), 7, 8, requires_grad=True)
    found, out = conv(features, inputs)
    conv.kernel.forward = None  # not called by what follows
    again = conv.forward_factorised(features, out, inputs)
    del conv.kernel.forward
    expected = conv.convolve(features, conv.sample_kernel(out, inputs))
    assert again.equal(found)
    assert expected.shape == (4, 2, len(out), 1, 2)
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-11)
    gradient = torch.randn_like(found)
    tensors = [features, *conv.parameters()]
    for a, b in zip(
        *(torch.autograd.grad(y, tensors, gradient) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def test_the_disc():
    assert [len(disc_taps(size)[0]) for size in (1, 3, 5, 7, 9)] == [1, 5, 13, 29, 49]
    taps, points = disc_taps(7)
    assert points.norm(dim=1).max() == 1
    assert points[(taps == 3).nonzero()[0, 0]].tolist() == [0, -1]  # (x, y): above the centre


def test_taps_outside_the_disc_are_neither_evaluated_nor_used():
    conv = GroupConv(1, 1, KERNEL, whole(SO2(), samples=2), 7)
    seen = []
    conv.kernel.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    _, out = conv(
        torch.randn(1, 1, 2, 9, 9), whole(SO2(), samples=2)(1, torch.device("cpu"), torch.float64)
    )
    assert seen == [(2, 29, 2)]
    weight = conv.conv2d_weight(conv.sample_kernel(out, out))
    inside = disc_taps(7)[0]
    outside = [t for t in range(49) if t not in inside.tolist()]
    assert (weight.flatten(2)[..., outside] == 0).all()
    assert (weight.flatten(2)[..., inside] != 0).flatten(0, 1).any(0).all()


# --- equivariance


def features_turned(
    features: torch.Tensor, elements: Elements, quarter: int, mirror: bool
) -> torch.Tensor:
    """(L_g f)(y, h) = f(g^-1 y, g^-1 h) for g = a quarter turn (counter-clockwise on the screen)
    after a mirror image: pixels and elements move; found by matching matrices."""
    moved = features.flip(-1) if mirror else features
    moved = torch.rot90(moved, quarter, (-2, -1))
    # counter-clockwise on the screen with y running down is a negative angle
    angle, sign = torch.tensor([-quarter * math.pi / 2]), torch.tensor([-1.0 if mirror else 1.0])
    before = Elements(angle, sign).inverse().matrices()[0] @ elements.matrices()
    distance = torch.cdist(before.flatten(1), elements.matrices().flatten(1))
    assert distance.min(1).values.max() < 1e-6, "the set is not closed under the transformation"
    return moved[:, :, distance.argmin(1)]


@pytest.mark.parametrize(
    ("sets", "mirrors"),
    [
        (lambda: whole(SO2(), samples=4), [False]),
        (lambda: whole(SO2(), samples=8), [False]),
        (lambda: whole(Cyclic(4)), [False]),
        (lambda: whole(Cyclic(8)), [False]),
        (lambda: whole(O2(), samples=8), [False, True]),
        (lambda: whole(Dihedral(4)), [False, True]),
    ],
    ids=["SE2 4", "SE2 8", "C4", "C8", "E2 8", "D4"],
)
@pytest.mark.parametrize("periodic", [False, True])
def test_lifting_convolution_and_pooling_commute_with_the_symmetries_of_the_grid(
    sets, mirrors, periodic
):
    kernel = SIREN(hidden=6, periodic=periodic)
    lift, conv = LiftingConv(1, 3, kernel, sets()).eval(), GroupConv(3, 2, kernel, sets()).eval()
    norm = ElementNorm(3, "instance")

    def layers(x):
        lifted, inner = lift(x)
        y, out = conv(F.relu(norm(lifted)), inner)
        return lifted, inner, y, out, F.max_pool2d(y.flatten(1, 2), 2).unflatten(1, y.shape[1:3])

    images = torch.randn(2, 1, 12, 12)
    with torch.no_grad():
        lifted, inner, y, out, pooled = layers(images)
        for mirror in mirrors:
            for quarter in range(4):
                moved = torch.rot90(images.flip(-1) if mirror else images, quarter, (-2, -1))
                lifted_moved, _, y_moved, _, pooled_moved = layers(moved)
                for found, before, elements in (
                    (lifted_moved, lifted, inner),
                    (y_moved, y, out),
                    (pooled_moved, pooled, out),
                ):
                    expected = features_turned(before, elements, quarter, mirror)
                    assert (found - expected).norm() <= 1e-10 * expected.norm(), (mirror, quarter)
                invariant = (pooled.amax((2, 3, 4)) - pooled_moved.amax((2, 3, 4))).norm()
                assert invariant <= 1e-10 * pooled.amax((2, 3, 4)).norm()


def test_a_partial_convolution_does_not_commute():
    """Otherwise the tests above would show nothing about sets."""
    lift, conv = (
        LiftingConv(1, 3, KERNEL, whole(SO2())).eval(),
        GroupConv(3, 2, KERNEL, part(SO2(), initial_arc=0.5)).eval(),
    )
    images = torch.randn(2, 1, 12, 12)
    with torch.no_grad():
        before, after = (
            conv(*lift(x))[0].amax((2, 3, 4)) for x in (images, torch.rot90(images, 2, (-2, -1)))
        )
    assert (before - after).norm() > 1e-2 * before.norm()


@pytest.mark.parametrize("mirror", [False, True])
def test_the_filter_is_one_of_e2cnns_regular_representation(mirror):
    """conv2d weights solve K(g x) = rho_out(g) K(x) rho_in(g)^-1 with e2cnn's matrices rho(g) of
    the regular representation."""
    from learnsym.nets.e2cnn_compat import building, gspaces

    rotations = 4
    group = Dihedral(rotations) if mirror else Cyclic(rotations)
    conv = GroupConv(2, 3, KERNEL, whole(group)).eval()
    with torch.no_grad():
        elements = conv.elements(1, torch.device("cpu"), torch.float64)
        weight = (
            conv.conv2d_weight(conv.sample_kernel(elements, elements))
            .unflatten(0, (3, -1))
            .unflatten(2, (2, -1))
        )
    with building():
        space = gspaces.FlipRot2dOnR2(rotations) if mirror else gspaces.Rot2dOnR2(rotations)
        regular = space.regular_repr
        theirs = list(space.fibergroup.elements)
    # The same abstract element has another name there: find, for each of theirs, our matrix with
    # the same product table.
    ours = elements.matrices()
    order = [_match(element, ours, rotations, mirror) for element in theirs]
    for position, element in enumerate(theirs):
        rho = torch.tensor(regular(element))
        permuted = weight[:, order][:, :, :, order]
        expected = torch.einsum("pq,oqcrhw,rs->opcshw", rho, permuted, rho.T)
        h = ours[order[position]]
        moved = _moved_kernel(permuted, h)
        torch.testing.assert_close(moved, expected, atol=1e-9, rtol=1e-9)


def _match(element, ours, rotations, mirror):
    """e2cnn names rotations counter-clockwise on the screen by k and mirror images by (flip, k); it
    mirrors top and bottom."""
    flip, k = element if mirror else (0, element)
    angle = torch.tensor(-2 * math.pi * k / rotations)
    turn = torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    )
    matrix = turn @ torch.diag(torch.tensor([1.0, -1.0 if flip else 1.0]))
    return int((ours - matrix).flatten(1).norm(dim=1).argmin())


def _moved_kernel(weight, matrix):
    """K(g x) on the grid of taps, for g that maps the grid to itself."""
    size = weight.shape[-1]
    half = size // 2
    steps = torch.arange(size, dtype=torch.float64) - half
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    seen = torch.stack([x, y], -1) @ matrix.T
    column, row = (seen + half).round().long().unbind(-1)
    return weight[..., row, column]


# --- learning


@pytest.mark.parametrize("sets", ["layer", "image"])
@pytest.mark.parametrize("group", [SO2(), O2()], ids=repr)
def test_the_derivative_with_respect_to_theta_is_that_of_finite_differences(group, sets):
    """Of the expected output, by common random numbers: the same offsets and gates on either
    side."""
    lift = LiftingConv(1, 3, KERNEL, whole(group, sample_sets=sets), 5)
    conv = GroupConv(3, 2, KERNEL, part(group, initial_arc=0.8, sample_sets=sets), 5)
    last = GroupConv(2, 2, KERNEL, part(group, initial_arc=0.55, sample_sets=sets), 5)
    images, weight = torch.randn(4, 1, 9, 9), torch.randn(2)

    def expected_output():
        torch.manual_seed(5)
        total = 0.0
        for _ in range(8):  # draws
            y, elements = lift(images)
            y, elements = conv(torch.tanh(y), elements)
            y = y if elements.weight is None else y * elements.weight[:, None, :, None, None]
            y, elements = last(torch.tanh(y), elements)
            total = total + (torch.tanh(y).mean((0, 2, 3, 4)) * weight).sum()
        return total

    thetas = [conv.elements.theta, last.elements.theta]
    gradients = torch.autograd.grad(expected_output(), thetas)
    for theta, gradient in zip(thetas, gradients, strict=True):
        step = 1e-6
        with torch.no_grad():
            theta += step
            up = expected_output()
            theta -= 2 * step
            down = expected_output()
            theta += step
        assert float(gradient) == pytest.approx(float((up - down) / (2 * step)), rel=1e-4)


def test_theta_zero_is_a_planar_convolution():
    """One output element, the identity: conv2d with the kernel at h = e."""
    conv = GroupConv(3, 2, KERNEL, part(SO2(), initial_arc=0.0), 5)
    inputs = Elements(torch.zeros(1), torch.ones(1))
    features = torch.randn(2, 3, 1, 8, 8)
    y, out = conv(features, inputs)
    assert (len(out), float(out.angle.detach())) == (1, 0.0)
    points = conv.points
    kernel = conv.kernel(points[None], torch.zeros(1, 1, 1))[:, 0, :, 0]
    weight = kernel.new_zeros(2, 3, 25).index_copy(2, conv.taps, kernel).view(2, 3, 5, 5)
    torch.testing.assert_close(
        y[:, :, 0], F.conv2d(features[:, :, 0], weight, conv.bias, padding=2)
    )


def test_kernels_start_with_responses_of_unit_variance():
    variances = []
    for seed in range(5):
        torch.manual_seed(seed)
        conv = GroupConv(8, 8, SIREN(scale="response"), whole(SO2()), 7, valid=True)
        y, _ = conv(
            torch.randn(4, 8, 8, 12, 12), conv.elements(4, torch.device("cpu"), torch.float64)
        )
        variances.append(float(y.detach().square().mean()))
    assert 0.7 < sum(variances) / 5 < 1.4


@pytest.mark.parametrize(
    "spec",
    [SIREN(), SIREN(biases="zero", cut="identity"), MAGNet(), FourierNet()],
    ids=["ours", "published", "magnet", "fourier"],
)
def test_an_element_has_a_weight_for_itself_at_the_start(spec):
    """At the central tap, and of the shortcut, of the size of any other weight: without biases, cut
    at the half turn, it is 0."""
    for group in (SO2(), O2(), Cyclic(4)):
        elements = whole(group)
        conv, shortcut = (
            GroupConv(16, 16, spec, elements, 7),
            PointwiseGroupConv(16, 16, spec, elements),
        )
        h = elements(1, torch.device("cpu"), torch.float64)
        own = (
            conv.sample_kernel(h, h).square().mean((0, 2))[..., 14].diagonal()
        )  # of element i for itself, at the centre of 29 taps
        assert own.mean() > 0.2 * conv.sample_kernel(h, h).square().mean()
        relative = group.kernel_coordinates(h.relative(h), shortcut.periodic, shortcut.cut)
        kernel = (
            shortcut.evaluate_kernel(relative.new_zeros(*h.angle.shape, 1, 0), relative)[..., 0]
            .square()
            .mean((0, 2))
        )
        assert kernel.diagonal().mean() > 0.2 * kernel.mean()
    odd = GroupConv(16, 16, SIREN(biases="zero"), whole(SO2()), 7)
    h = odd.elements(1, torch.device("cpu"), torch.float64)
    assert odd.sample_kernel(h, h)[..., 14].diagonal(dim1=1, dim2=3).abs().max() == 0


def test_the_penalty_is_the_norm_of_what_was_sampled():
    conv = GroupConv(2, 3, KERNEL, whole(SO2(), samples=4), 5, decay=0.1).train()
    torch.nn.init.normal_(conv.bias)
    inputs = conv.elements(2, torch.device("cpu"), torch.float64)
    context = ForwardContext()
    features = torch.randn(2, 2, 4, 6, 6)
    _, out = conv(features, inputs, context)
    kernel = conv.sample_kernel(out, inputs)  # [C', n', C, n, taps]
    expected = 0.0
    for i in range(4):
        for j in range(4):
            expected = expected + kernel[:, i, :, j].square().sum() / 16
    (penalty,) = context.penalties
    torch.testing.assert_close(penalty, 0.1 * (expected + conv.bias.square().sum()))
    conv.eval()(features, inputs, context)
    assert len(context.penalties) == 1, "none in evaluation"


def test_layers_are_built_from_a_group_and_its_sampling():
    conv = GroupConv(2, 3, KERNEL, group=SE2(), sampling=PartialSampling(samples=4))
    torch.manual_seed(1)
    same = GroupConv(2, 3, KERNEL, part(SO2(), samples=4))
    assert repr(conv) == repr(same)
    assert conv.elements.learned
    assert not LiftingConv(2, 3, KERNEL, group=SE2(), sampling=PartialSampling()).elements.learned
    for wrong in ({}, {"elements": whole(SO2()), "group": SE2()}):
        with pytest.raises(ValueError, match="either elements, or a group"):
            LiftingConv(2, 3, KERNEL, **wrong)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="got kernel_size=4"):
        LiftingConv(1, 2, KERNEL, whole(SO2()), 4)


# --- norms


@pytest.mark.parametrize("kind", ["batch", "instance", "layer"])
def test_absent_elements_do_not_count(kind):
    """The same elements absent from all images: as if they had not been computed."""
    norm, twin = ElementNorm(3, kind), ElementNorm(3, kind)
    with torch.no_grad():
        for a, b in zip(norm.parameters(), twin.parameters(), strict=True):
            b.copy_(a.normal_())
    x = torch.randn(4, 3, 5, 6, 6) * 3 + 1
    weight = torch.tensor([1.0, 0, 1, 1, 0]).expand(4, 5)
    kept = [0, 2, 3]
    torch.testing.assert_close(norm(x, weight)[:, :, kept], twin(x[:, :, kept]))
    assert (norm(x, weight) - norm(x)).abs().max() > 1e-2
    if kind == "batch":
        norm, twin = ElementNorm(3, kind), ElementNorm(3, kind)
        norm(x, weight), twin(x[:, :, kept])
        for a, b in zip(norm.state_dict().values(), twin.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b)


def test_norms_are_over_elements_and_pixels():
    x = torch.randn(4, 3, 5, 6, 6) * 3 + 1
    y = ElementNorm(3, "instance")(x)
    torch.testing.assert_close(y.mean((2, 3, 4)), torch.zeros(4, 3), atol=1e-9, rtol=0)
    y = ElementNorm(3, "batch")(x)
    torch.testing.assert_close(y.mean((0, 2, 3, 4)), torch.zeros(3), atol=1e-9, rtol=0)
    y = ElementNorm(3, "layer")(x)
    torch.testing.assert_close(y.mean((1, 2, 3, 4)), torch.zeros(4), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.square().mean((1, 2, 3, 4)), torch.ones(4), atol=1e-4, rtol=0)
    assert y.mean((2, 3, 4)).abs().max() > 1e-3, "not each channel by itself"
    assert ElementNorm(3, "none")(x) is x
    kinds = ("batch", "instance", "layer", "none")
    assert [sum(p.numel() for p in ElementNorm(3, k).parameters()) for k in kinds] == [6, 0, 6, 0]
