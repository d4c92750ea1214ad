"""Who is left to be fooled, and the nearest image found for each."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attacks import L2, Linf, Untargeted
from attacks.goals import met
from attacks.queries.gradients import asked_ids
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors

LABELS = torch.zeros(4, dtype=torch.int64)


class Identity:
    """Images (N, C) are their own logits; counts the images it is asked about."""

    def __init__(self):
        self.seen = []

    def __call__(self, x):
        self.seen.append(asked_ids().tolist())
        return x.clone()


def survivors(model=None, eps=0.5, ids=None):
    """Four images of which the third is fooled already."""
    x = torch.tensor([[0.9, 0.3], [0.8, 0.1], [0.2, 0.7], [0.6, 0.5]])
    goal = Untargeted(LABELS, ids=torch.arange(4) if ids is None else ids)
    return x, Survivors(model or Identity(), x, goal, Linf(), eps)


# --- Survivors ---


def test_the_fooled_leave_at_once():
    x, active = survivors(ids=torch.tensor([10, 11, 12, 13]))
    assert len(active) == 3
    assert active.rows.tolist() == [0, 1, 3]
    assert torch.equal(active.x, x[[0, 1, 3]])
    assert active.goal.ids.tolist() == [10, 11, 13]
    assert torch.equal(active.found, x)


def test_each_survivor_keeps_its_own_budget():
    _, active = survivors(eps=torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert active.eps.tolist() == pytest.approx([0.1, 0.2, 0.4])
    active.retire(torch.tensor([[0.9, 0.3], [0.1, 0.8], [0.6, 0.5]]), torch.tensor([False, True, False]))
    assert active.eps.tolist() == pytest.approx([0.1, 0.4])


@pytest.mark.parametrize(("eps", "expected"), [(0.25, 0.25), (None, torch.inf)])
def test_one_budget_or_none_is_for_all(eps, expected):
    _, active = survivors(eps=eps)
    assert active.eps.tolist() == [expected] * 3


def test_retire_takes_out_rows_of_everything_and_keeps_what_fooled_them():
    x, active = survivors()
    candidates = torch.tensor([[0.4, 0.6], [0.7, 0.2], [0.3, 0.9]])
    x_adv, numbers, pictures = active.retire(candidates, met(active.goal, candidates), torch.arange(3), candidates * 10)
    assert torch.equal(x_adv, candidates[[1]])
    assert numbers.tolist() == [1]
    assert torch.equal(pictures, candidates[[1]] * 10)
    assert active.rows.tolist() == [1]
    assert torch.equal(active.found, torch.stack([candidates[0], x[1], x[2], candidates[2]]))


def test_retire_without_success_changes_nothing():
    x, active = survivors()
    candidates, state = active.x + 0.05, torch.arange(3)
    kept = active.retire(candidates, met(active.goal, candidates), state)
    assert [item.tolist() for item in kept] == [candidates.tolist(), [0, 1, 2]]
    assert len(active) == 3
    assert torch.equal(active.found, x)


def test_a_later_success_never_replaces_the_first():
    _, active = survivors()
    first = torch.tensor([[0.4, 0.6], [0.7, 0.2], [0.6, 0.5]])
    active.retire(first, met(active.goal, first))
    second = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    active.retire(second, met(active.goal, second))
    assert torch.equal(active.found[0], first[0])
    assert not len(active)


def test_finish_puts_the_last_candidates_in_their_places_and_asks_nothing():
    model = Identity()
    x, active = survivors(model)
    last = torch.tensor([[0.4, 0.6], [0.7, 0.2], [0.5, 0.5]])
    result = active.finish(last)
    # Whether they fool anybody is for the caller to judge.
    assert torch.equal(result, torch.stack([last[0], last[1], x[2], last[2]]))
    assert model.seen == [[0, 1, 2, 3]]


def test_finish_asks_nothing_when_nobody_is_left():
    model = Identity()
    _, active = survivors(model)
    fooling = torch.tensor([[0.4, 0.6]] * 3)
    active.retire(fooling, met(active.goal, fooling))
    assert torch.equal(active.finish(fooling[:0]), active.found)
    assert len(model.seen) == 1


def test_the_callers_images_are_not_written_to():
    x, active = survivors()
    before = x.clone()
    active.finish(torch.tensor([[0.4, 0.6]] * 3))
    assert torch.equal(x, before)


def test_survivors_checks_its_arguments():
    with pytest.raises(ValueError, match="expected eps > 0 and finite, got -1"):
        survivors(eps=-1)


# --- Nearest ---


def test_nothing_is_found_at_first():
    x = torch.tensor([[0.1, 0.2]])
    best = Nearest(x, Linf())
    assert best.found.tolist() == [False]
    assert best.size.tolist() == [torch.inf]
    assert torch.equal(best.x_adv, x)


def test_takes_the_nearer_of_those_that_fool():
    best = Nearest(torch.zeros(3, 2), L2())
    far, near = torch.tensor([[0.3, 0.4]] * 3), torch.tensor([[0.1, 0.0]] * 3)
    assert best.offer(far, torch.tensor([True, True, False])).tolist() == [True, True, False]
    assert best.offer(near, torch.tensor([True, False, False])).tolist() == [True, False, False]
    assert best.offer(far, torch.tensor([True, True, False])).tolist() == [False, False, False]
    assert best.size.tolist() == pytest.approx([0.1, 0.5, torch.inf])
    assert torch.equal(best.x_adv, torch.stack([near[0], far[0], torch.zeros(2)]))
    assert best.found.tolist() == [True, True, False]


@pytest.mark.parametrize("eps", [0.3, torch.tensor([0.3, 0.3])], ids=["number", "tensor"])
def test_takes_nothing_from_beyond_the_limit_but_for_rounding(eps):
    best = Nearest(torch.zeros(2, 1), Linf(), eps)
    assert best.offer(torch.tensor([[0.3001], [0.3000001]]), torch.tensor([True, True])).tolist() == [False, True]


def test_each_image_has_its_own_limit():
    best = Nearest(torch.zeros(2, 1), Linf(), torch.tensor([0.1, 0.5]))
    assert best.offer(torch.tensor([[0.3], [0.3]]), torch.tensor([True, True])).tolist() == [False, True]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=3, max_size=3),
        min_size=1,
        max_size=6,
    )
)
def test_ends_with_the_nearest_of_all_offers(offers):
    best = Nearest(torch.zeros(3, 2), Linf(), eps=0.85)
    for offer in offers:
        sizes = torch.tensor([size / 10 for size, _ in offer])
        best.offer(torch.stack([sizes, -sizes / 2], 1), torch.tensor([fools for _, fools in offer]))
    for row, found in enumerate(best.size.tolist()):
        taken = [offer[row][0] / 10 for offer in offers if offer[row][1] and offer[row][0] <= 8]
        assert found == pytest.approx(min(taken, default=torch.inf))
        assert best.x_adv[row].tolist() == pytest.approx([found, -found / 2] if taken else [0, 0])


def test_nobody_leaves_a_wider_ball_and_the_images_in_it_stay_those_of_the_true_one():
    x = torch.tensor([[0.9, 0.3], [0.2, 0.8], [0.7, 0.1]])
    active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0, 0, 0])), Linf(), eps=0.1)
    wide = active.within(3 * active.eps)
    torch.testing.assert_close(wide.eps, torch.tensor([0.3, 0.3]))
    beyond = torch.tensor([[0.6, 0.7], [0.4, 0.5]])
    (kept,) = wide.retire(beyond, met(active.goal, beyond))
    assert torch.equal(kept, beyond)
    assert len(active) == len(wide) == 2
    assert torch.equal(active.found, x)
    torch.testing.assert_close(active.eps, torch.tensor([0.1, 0.1]))
