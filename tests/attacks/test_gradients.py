"""Asking a model: right gradients, no trace left behind, and every pass booked on its images."""

import pytest
import torch
from oracles import RowByRow, convnet, goals, images, mlp

from attacks import Targeted, Untargeted
from attacks.losses import LOSSES, margin
from attacks.queries.gradients import asked_ids, booked_on, forward, slope

MODEL = mlp(12)


@pytest.mark.parametrize("loss", LOSSES)
def test_slope_is_the_derivative_of_each_images_own_loss(loss):
    x = images(3, (3, 2, 2))
    goal = Untargeted(MODEL(x).argmax(1))
    at = slope(MODEL, x, goal, LOSSES[loss])
    assert at.gradient.shape == x.shape
    torch.testing.assert_close(at.logits, MODEL(x).detach())
    torch.testing.assert_close(at.loss, LOSSES[loss](MODEL(x), goal).detach())
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        way = 1e-5 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        ahead, behind = (LOSSES[loss](MODEL(point), goal).detach() for point in (x + way, x - way))
        torch.testing.assert_close((at.gradient * way).flatten(1).sum(1), (ahead - behind) / 2, rtol=1e-4, atol=1e-11)


def test_nothing_returned_has_a_graph():
    x = images(2, (12,)).requires_grad_()
    goal = Untargeted(torch.tensor([0, 1]))
    assert not any(tensor.requires_grad for tensor in slope(MODEL, x, goal, margin))
    assert not forward(MODEL, x, goal).requires_grad
    assert x.requires_grad
    assert x.grad is None


def test_parameters_get_no_gradient_and_keep_the_one_they_have():
    model = convnet()
    first, *others = model.parameters()
    first.grad = torch.ones_like(first)
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    slope(model, x, Untargeted(torch.tensor([0, 1])), margin)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in others)
    assert torch.equal(first.grad, torch.ones_like(first))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("made_in", [torch.no_grad, torch.inference_mode])
def test_works_in_whatever_mode_the_caller_is_and_the_tensors_were_made(mode, made_in):
    plain_x = images(3, (12,))
    for name, plain in goals(MODEL(plain_x)).items():
        expected = slope(MODEL, plain_x, plain, margin)
        with made_in():
            x, goal = plain_x.clone(), plain.select(torch.arange(3))
        with mode():
            found = slope(MODEL, x, goal, margin)
            before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
            forward(MODEL, x, goal)
            assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
        assert torch.equal(found.gradient, expected.gradient), name


@pytest.mark.parametrize("model", [lambda x: x.detach().flatten(1), lambda x: torch.ones(len(x), 3)])
def test_refuses_a_model_without_gradient(model):
    with pytest.raises(ValueError, match=r"differentiable with respect to its images.*such as Square"):
        slope(model, images(2, (12,)), Untargeted(torch.tensor([0, 0])), margin)


def test_a_gradient_that_is_not_finite_gives_no_direction():
    # The square root is infinitely steep at 0; further back that becomes 0 * inf.
    x = torch.tensor([[0.0, 0.0, 0.25]])
    at = slope(lambda x: (x * torch.tensor([0.0, 1.0, 1.0])).sqrt(), x, Untargeted(torch.tensor([2])), margin)
    assert at.gradient.tolist() == [[0, 0, 1]]


# --- whose passes they are ---


class Listener:
    """Writes down which images it is asked about."""

    def __init__(self):
        self.heard = []

    def __call__(self, x):
        ids = asked_ids()
        self.heard.append(None if ids is None else ids.tolist())
        return MODEL(x)


def test_a_model_hears_whose_images_it_sees():
    model, x = Listener(), images(3, (12,))
    goal = Targeted(torch.tensor([0, 1, 2]), ids=torch.tensor([40, 7, 12]))
    forward(model, x, goal)
    slope(model, x[:2], goal.select(torch.tensor([2, 0])), margin)
    model(x)
    assert model.heard == [[40, 7, 12], [12, 40], None]


def test_nobody_is_booked_after_a_crash():
    def crash(x):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        forward(crash, images(1, (12,)), Untargeted(torch.tensor([0])))
    assert asked_ids() is None


def test_bookings_nest():
    with booked_on(torch.tensor([1])):
        with booked_on(torch.tensor([2])):
            assert asked_ids().tolist() == [2]
        assert asked_ids().tolist() == [1]
    assert asked_ids() is None


def test_rows_of_a_batch_do_not_mix():
    x, model = images(5, (3, 2, 2)), RowByRow(MODEL)
    goal = Untargeted(torch.tensor([0, 1, 2, 3, 4]))
    whole = slope(model, x, goal, margin)
    alone = slope(model, x[3:4], goal.select(torch.tensor([3])), margin)
    assert torch.equal(whole.gradient[3:4], alone.gradient)
