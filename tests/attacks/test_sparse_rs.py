"""Sparse-RS: random exchanges of the changed values."""

import pytest
import torch
from counting import Counting
from oracles import Constant, Recorder, images, led, linear

from attacks import L0, NORMS, Masked, SparseRS, Targeted, Untargeted
from attacks.searches.track import Survivors
from attacks.sparse_rs import scatter, schedule, search


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


def never(x):
    """A model that cannot be fooled and remembers what it was asked, and the goal."""
    model = Recorder(Constant(torch.tensor([2.0, 0.0])))
    return model, Untargeted(torch.zeros(len(x), dtype=torch.int64))


@pytest.mark.parametrize("goal", [Untargeted, lambda label: Targeted(label + 1)], ids=["untargeted", "targeted"])
def test_finds_the_values_that_gain_most(goal):
    model, x = led(48, lead=3.0, seed=3), images(6, (3, 4, 4), seed=3)
    goal = goal(model(x).argmax(1))
    radius = model.smallest(x, goal, "l0")
    assert fooled(model, goal, SparseRS(steps=500)(model, x, goal, eps=radius + 1)).all()
    assert not fooled(model, goal, SparseRS(steps=100)(model, x, goal, eps=radius - 0.5)).any()


def test_as_many_values_are_changed_as_allowed_to_black_or_white():
    x = images(3, (3, 4, 4), low=0, high=1)
    x[:, 0] = 0
    model, goal = never(x)
    eps = torch.tensor([1.0, 5.5, 48.0])
    SparseRS(steps=50, initial_fraction=1.0)(model, x, goal, eps=eps)
    for seen in model.seen[1:]:
        changed = seen != x
        assert changed.flatten(1).sum(1).tolist() == [1, 5, 48]
        assert ((seen == 0) | (seen == 1))[changed].all()


def test_an_exchange_takes_its_share_of_the_changed_values():
    x = images(4, (1, 10, 10))
    active = Survivors(Constant(torch.tensor([2.0, 0.0])), x, Untargeted(torch.zeros(4, dtype=torch.int64)), L0(), 20)
    recorder = active.model = Recorder(active.model)
    start = scatter(active, seed=1)
    search(active, start, [0.5, 0.25, 0.01], seed=2)
    moved = [((seen != x) & (start == x)).flatten(1).sum(1).tolist() for seen in recorder.seen]
    assert moved == [[0] * 4, [10] * 4, [5] * 4, [1] * 4]


@pytest.mark.parametrize("shape", [(3, 9, 9), (81,)], ids=["pixels", "vector"])
def test_every_second_exchange_is_close_to_what_is_changed_if_asked(shape):
    x = images(4, shape)
    active = Survivors(Constant(torch.tensor([2.0, 0.0])), x, Untargeted(torch.zeros(4, dtype=torch.int64)), L0(), 2)
    recorder = active.model = Recorder(active.model)
    start = x.clone()
    start[(slice(None), *(side // 2 for side in shape))] = 1.0  # in the middle, and one more may change
    search(active, start, [0.5] * 40, seed=2, reach=1)
    far = []
    for seen in recorder.seen[1:]:
        entered = ((seen != x) & (start == x)).view(4, *[1] * (4 - x.ndim), *shape).any(1).nonzero()[:, 1:]
        middle = torch.tensor([shape[-2] // 2 if len(shape) > 1 else 0, shape[-1] // 2])
        far.append(int((entered - middle).abs().amax()))
    assert all(distance <= 1 for distance in far[1::2])
    assert any(distance > 2 for distance in far[::2])


def test_images_draw_their_own_exchanges():
    x = images(1, (1, 10, 10)).repeat(2, 1, 1, 1)
    model, goal = never(x)
    SparseRS(steps=5)(model, x, goal, eps=10)
    for seen in model.seen[1:]:
        assert not torch.equal(seen[0], seen[1])


def test_the_schedule_is_the_papers_at_any_length():
    parts = [round(1 / share) for share in schedule(10001, 1.0)]
    assert parts[::1000] == [2, 8, 10, 10, 12, 12, 15, 15, 20, 20]
    assert [parts[i] for i in (40, 100, 300, 700)] == [2, 4, 5, 6]
    assert schedule(101, 0.8)[0] == 0.8 / 4


def test_no_passes_are_spent_on_images_that_are_fooled():
    model, x = linear(num_classes=2, values=27, seed=1), images(4, (3, 3, 3), seed=1)
    goal = Untargeted(model(x).argmax(1))
    metered = Counting(model, goal.ids)
    eps = torch.tensor([27.0, 27.0, 0.5, 0.5], dtype=torch.float64)
    SparseRS(steps=60)(metered, x, goal, eps=eps)
    assert (metered.forwards[:2] < 50).all()
    assert (metered.forwards[2:] == 61).all()
    assert not metered.backwards.any()


def test_the_mask_of_a_norm_is_kept_to():
    allowed = torch.zeros(4, 4, dtype=torch.bool)
    allowed[1:3, 1:3] = True
    x = images(2, (3, 4, 4))
    model, goal = never(x)
    SparseRS(norm=Masked(L0(), allowed), steps=20)(model, x, goal, eps=5)
    for seen in model.seen[1:]:
        assert ((seen != x).flatten(1).sum(1) == 5).all()
        assert not (seen != x)[:, :, ~allowed].any()


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match=r"expected initial_fraction of SparseRS <= 1, got 1\.5"):
        SparseRS(initial_fraction=1.5)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_is_made_for_l0_alone(norm):
    with pytest.raises(ValueError, match=f"expected norm of SparseRS to be one of l0, got {norm}"):
        SparseRS(norm=NORMS[norm]())
