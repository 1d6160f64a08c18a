"""What every network in the zoo (conftest.py) must satisfy."""

import io

import pytest
import torch

from learnsym.analysis.equivariance import assert_equivariant


def test_shapes(case, net):
    for count in (1, 3):
        out = net.eval()(case.inputs(count))
        assert out.shape == (count, case.outputs)
        assert out.isfinite().all()


def test_each_example_alone_gives_the_same(case, net):
    x = case.inputs(4)
    net.eval()
    together = net(x)
    alone = torch.cat([net(image[None]) for image in x])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)
    assert together.std(0).max() > 1e-5, (
        "all examples give the same output: the comparison says nothing"
    )


def test_deterministic_in_evaluation(case, net):
    net.eval()
    before = torch.get_rng_state()
    assert torch.equal(net(case.inputs(3)), net(case.inputs(3)))
    assert torch.equal(torch.get_rng_state(), before), "evaluation draws random numbers"


def test_gradients_reach_every_parameter(case, net):
    # In evaluation batch normalisation is a fixed affine map; in training it cancels the bias
    # before it, rightly.
    net.eval()(case.inputs(8)).square().sum().backward()
    silent = [
        name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert not [name for name in silent if not name.endswith(case.surrogate or "/")]
    net.train()(case.inputs(8)).square().sum().backward()
    assert not [name for name in silent if not net.get_parameter(name).grad.abs().max() > 0]
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.long
def test_gradients_are_right(case, net):
    """In float64 and in training mode, along a random direction of every parameter tensor and of
    the input."""
    net = net.double().train()
    x = case.inputs(4).double().requires_grad_()

    def loss():
        torch.manual_seed(3)  # the same dropout masks
        return net(x).square().sum()

    tensors = [
        x,
        *(p for name, p in net.named_parameters() if not name.endswith(case.surrogate or "/")),
    ]
    gradients = torch.autograd.grad(loss(), tensors)
    largest = max(float(g.norm()) for g in gradients)
    generator = torch.Generator().manual_seed(5)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        direction = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if tensor is x:
            direction *= x.detach() != 0  # padding stays padding
        direction /= direction.norm()
        slope, errors = float((gradient * direction).sum()), []
        for step in (1e-6, 1e-7, 1e-8):  # one stays on one side of the kinks of ReLU and maxima
            with torch.no_grad():
                tensor += step * direction
                up = loss()
                tensor -= 2 * step * direction
                down = loss()
                tensor += step * direction
            errors.append(abs(float((up - down) / (2 * step)) - slope))
            if errors[-1] <= 1e-7 * largest:
                break
        assert min(errors) <= 1e-7 * largest, (tuple(tensor.shape), slope, errors)


def test_state_goes_through_a_file_in_either_mode(case, net):
    x = case.inputs(3)
    expected = net.eval()(x)
    for saved_training in (True, False):
        file = io.BytesIO()
        torch.save(net.train(saved_training).state_dict(), file)
        for loading_training in (True, False):
            torch.manual_seed(99)
            other = case.build().train(loading_training)
            if not loading_training:
                other(x)  # whatever an evaluation may cache must not survive the load
            file.seek(0)
            other.load_state_dict(torch.load(file, weights_only=True), strict=True)
            assert torch.equal(other.eval()(x), expected)


def test_repr(net):
    assert type(net).__name__ in repr(net)
    assert "tensor(" not in repr(net)


def test_promised_symmetry_in_float32(symmetric_case, symmetric_net):
    assert_equivariant(
        symmetric_net,
        symmetric_case.inputs(4),
        symmetric_case.invariant_under,
        tolerance=1e-5,
        dtype=torch.float32,
    )


def test_promised_symmetry_in_float64(symmetric_case, symmetric_net):
    # relative to the spread over examples: a network that gives nearly the same for all could not
    # pass by that
    assert_equivariant(
        symmetric_net,
        symmetric_case.inputs(4),
        symmetric_case.invariant_under,
        tolerance=1e-9,
        relative_to="spread",
    )
