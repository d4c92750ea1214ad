"""Fewer changed values, always within one less than is known to be enough."""

import pytest
import torch
from oracles import Recorder, images, led, mlp

from attacks import L0, Masked, Untargeted
from attacks.searches.fewer import LENGTH, fewer
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


def begun(model, x, norm=None, eps=None):
    """Images, the most that may change, and their nearest fooling images: none so far."""
    active = Survivors(model, x, Untargeted(model(x).argmax(1)), norm or L0(), eps)
    return active, Nearest(active.x, active.norm, active.eps)


def test_all_that_is_changed_falls_to_the_few_values_that_are_needed():
    model, x = led(192, num_classes=2, seed=3), images(8, (3, 8, 8), seed=3)
    active, best = begun(model, x)
    ends = 1 - (torch.autograd.grad(model(xs := x.clone().requires_grad_())[:, 0].sum(), xs)[0] > 0).to(x)
    ends = torch.where((active.goal.margin(model(ends)) < 0).view(-1, 1, 1, 1), ends, 1 - ends)
    best.offer(ends, active.goal.margin(model(ends)) < 0)
    assert (best.size > 150).all()
    fewer(active, best, [active.goal], 3 * LENGTH, seed=0)
    smallest = model.smallest(x, active.goal, "l0")
    assert ((best.size - smallest >= 0) & (best.size - smallest <= 1)).all()


@pytest.mark.parametrize("masked", [False, True])
def test_nothing_is_asked_about_that_could_not_be_better(masked):
    model, x = mlp(48, seed=3), images(6, (3, 4, 4), seed=3)
    allowed = torch.arange(16).view(4, 4) % 3 > 0
    active, best = begun(model, x, Masked(L0(), allowed) if masked else None)
    recorder = active.model = Recorder(model)
    fewer(active, best, [active.goal], 4 * LENGTH, seed=0)
    assert len(recorder.seen) == 4 * LENGTH
    enough = torch.full((6,), torch.inf)
    for i, seen in enumerate(recorder.seen):
        size = L0().measure(seen - x)
        # the first descent begins at what is known already
        assert i == 0 or (size < enough.clamp_min(2)).all()
        fools = active.goal.margin(model(seen)) < 0
        enough = torch.where(fools, torch.minimum(enough, size), enough)
        assert not masked or torch.equal(seen[:, :, ~allowed], x[:, :, ~allowed])
    assert torch.equal(best.size, enough)
    assert best.complete


def test_a_bound_holds_where_nothing_is_known_yet():
    model, x = mlp(48, seed=3), images(6, (3, 4, 4), seed=3)
    active, best = begun(model, x, eps=3)
    recorder = active.model = Recorder(model)
    fewer(active, best, [active.goal], LENGTH, seed=0)
    assert all((L0().measure(seen - x) <= 3).all() for seen in recorder.seen)
