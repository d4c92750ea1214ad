"""Several copies of each image at once: what they find comes back to their image, and to no other."""

import pytest
import torch
from counting import Counting
from oracles import images, mlp

from attacks import L1, Linf, Untargeted
from attacks.searches import track
from attacks.searches.hopping import _walk, hop, kick, rounds
from attacks.searches.lowest import Lowest
from attacks.searches.track import Survivors
from attacks.standard_by_answers import by_decisions, change_squares, mute
from attacks.standard_descents import Rivals


def identity(x):
    return x


def survivors(rows=4, classes=5, eps=0.25):
    x = images(rows, (classes,), seed=3)
    return Survivors(identity, x, Untargeted(x.argmax(1)), Linf(), eps)


def test_copies_of_an_image_stand_side_by_side():
    active = survivors()
    crowd = active.copies(3)
    assert crowd.rows.tolist() == list(range(12))
    assert torch.equal(crowd.x, active.x.repeat_interleave(3, 0))
    assert torch.equal(crowd.goal.labels, active.goal.labels.repeat_interleave(3))
    assert torch.equal(crowd.eps, active.eps.repeat_interleave(3))
    torch.testing.assert_close(Lowest(crowd).margin, Lowest(active).margin.repeat_interleave(3))


def test_all_copies_leave_with_the_one_that_is_fooled():
    active = survivors()
    crowd = active.copies(2)
    x_adv = crowd.x.clone()
    x_adv[3] = x_adv[3].roll(1)  # the second image's second copy
    found = Lowest(crowd)
    found.look(crowd, x_adv)
    assert crowd.rows.tolist() == [0, 1, 4, 5, 6, 7]
    best = Lowest(active)
    best.gather(active, crowd, found)
    assert active.rows.tolist() == [0, 2, 3]
    assert torch.equal(active.found[1], x_adv[3])


def test_what_a_descent_takes_out_comes_back_though_nobody_looked_at_it():
    active = survivors()
    crowd = active.copies(2)
    fooling = crowd.x.clone()
    fooling[0] = fooling[0].roll(1)
    found = Lowest(crowd)
    crowd.take_out(fooling, torch.arange(8) == 0)
    best = Lowest(active)
    best.gather(active, crowd, found)
    assert active.rows.tolist() == [1, 2, 3]
    assert torch.equal(active.found[0], fooling[0])


def test_the_best_of_the_copies_is_kept():
    active = survivors(rows=2)
    crowd, best = active.copies(3), Lowest(active)
    found = Lowest(crowd)
    nearer = torch.tensor([0.0, 0.3, 0.1, 0.2, 0.0, 0.1], dtype=crowd.x.dtype).unsqueeze(1)
    mean = crowd.x.mean(1, keepdim=True)
    x_adv = crowd.x + nearer * (mean - crowd.x)  # all margins shrink by that share
    clean = best.margin.clone()
    found.look(crowd, x_adv)
    best.gather(active, crowd, found)
    torch.testing.assert_close(best.margin, clean * torch.tensor([0.7, 0.8], dtype=clean.dtype))
    assert torch.equal(best.x_adv, x_adv[[1, 3]])


def test_what_leaves_a_part_leaves_the_whole(monkeypatch):
    monkeypatch.setattr(track, "AT_ONCE", 10)  # one image of five values at a time, twice
    active, sizes = survivors(), []
    for part in active.parts(2):
        sizes.append(len(part))
        part.retire(part.x.roll(1, 1), part.rows == 2)
    assert sizes == [1, 1, 1, 1]
    assert active.rows.tolist() == [0, 1, 3]
    assert torch.equal(active.found[2], images(4, (5,), seed=3)[2].roll(1))


def test_some_images_are_searched_for_a_while_and_the_others_wait():
    active = survivors()
    with active.only(torch.tensor([False, True, True, False])) as some:
        assert some.rows.tolist() == [1, 2]
        some.give_up(torch.tensor([True, False]), some.x)
    assert active.rows.tolist() == [0, 2, 3]


@pytest.mark.parametrize("at_once", [2**20, 1])
def test_hops_side_by_side_are_those_that_would_be_made_one_after_the_other(at_once, monkeypatch):
    monkeypatch.setattr(track, "AT_ONCE", at_once)
    model, x = mlp(48, seed=2), images(3, (48,), seed=2)
    goal = Untargeted(model(x).argmax(1))
    active = Survivors(model, x, goal, Linf(), eps=0.01)
    kicked = kick(active, x, seed=5, count=3).view(3, 3, -1)
    assert len({tuple(row.tolist()) for row in kicked.flatten(0, 1)}) == 9
    together = Lowest(active)
    hop(active, together, seed=5, kicks=3)
    lowest = torch.full_like(together.margin, torch.inf)
    for i in range(3):
        one = Lowest(active)
        _walk(active, one, kicked[:, i], steps=10)
        lowest = torch.minimum(lowest, one.margin)
    torch.testing.assert_close(together.margin, lowest)


def test_each_image_hops_as_often_as_asked_first_by_itself_then_side_by_side():
    turns = list(rounds(200))
    assert [kicks for _, kicks in turns[:6]] == [1, 1, 1, 1, 2, 3]
    assert sum(kicks for _, kicks in turns) == 200
    assert [done for done, _ in turns] == [sum(k for _, k in turns[:i]) for i in range(len(turns))]
    assert list(rounds(1)) == [(0, 1)]


def test_rivals_at_once_find_what_they_find_one_after_the_other():
    # Class 3 alone can be reached, and only by a descent that aims at it: elsewhere it falls behind.
    def model(x):
        first = torch.full_like(x[:, 0], 0.3)
        return torch.stack([first, 0.2 - 0.1 * x[:, 0], 0.1 - 0.1 * x[:, 0], 4 * x[:, 1] - 2.1], 1)

    x = torch.full((2, 2), 0.5, dtype=torch.float64)
    found = []
    for at_once in (True, False):
        active = Survivors(model, x, Untargeted(torch.zeros(2, dtype=torch.int64)), Linf(), eps=0.15)
        best = Lowest(active)
        rivals, legs, which = Rivals(active, best, 3), [(1, 10)], range(3)
        if at_once:
            rivals.descend_at_once(active, best, 0, legs, which)
        else:
            for _ in rivals.descend(active, best, iter(range(3)), legs, which):
                pass
        found.append(len(active))
    assert found == [0, 0]
    rivals.descend_at_once(active, best, 0, legs, range(0))  # none is asked for, none is left


def test_a_model_that_tells_more_than_its_first_class_is_not_mute():
    inner, x = mlp(48, seed=2), images(6, (48,), seed=2)
    goal = Untargeted(inner(x).argmax(1))

    def decides(x):
        return 3 * torch.nn.functional.one_hot(inner(x).argmax(1), 5).to(x)

    for model, expected in ((inner, False), (decides, True)):
        active = Survivors(model, x, goal, Linf(), eps=1e-4)
        assert mute(active, Lowest(active)).tolist() == [expected] * 6


def test_decisions_are_asked_for_where_they_are_wanted_alone():
    model, x = mlp(48, seed=2), images(4, (48,), seed=2)
    metered = Counting(model, torch.arange(4))
    goal = Untargeted(model(x).argmax(1))
    active = Survivors(metered, x, goal, Linf(), eps=1e-3)
    best, before = Lowest(active), metered.forwards.clone()
    by_decisions(active, best, torch.tensor([False, True, False, False]), queries=3, seed=0)
    assert (metered.forwards - before > 0).tolist() == [False, True, False, False]


def test_in_l1_values_are_changed_at_random_as_in_l0_and_stay_within_the_budget():
    model, x = mlp(48, seed=2), images(6, (48,), seed=2)
    goal = Untargeted(model(x).argmax(1))
    eps = torch.tensor([0.5, 1.0, 2.0, 2.5, 3.0, 20.0], dtype=x.dtype)
    active = Survivors(model, x, goal, L1(), eps)
    best = Lowest(active)
    clean = best.margin.clone()
    change_squares(active, best, 100, iter(range(9)))
    nearer = (best.margin < clean) | active.fooled
    assert not nearer[0]  # the budget is less than one value
    assert nearer[2:].all()
    for found in (best.x_adv, active.found):
        assert (L1().measure(found - x) <= eps).all()
    assert active.norm == L1()
    assert torch.equal(active.eps, eps[active.rows])
