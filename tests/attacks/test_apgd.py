"""APGD: momentum steps that shrink when progress stalls."""

from itertools import pairwise

import torch
from oracles import Recorder, images, mlp

from attacks import APGD, Linf, Untargeted
from attacks.apgd import _checkpoints


class Valley(torch.nn.Module):
    """Two logits whose margin is a narrow valley: 1 plus the distances from grey, each with its own weight."""

    def forward(self, x):
        depth = 1 + ((x - 0.5).abs() * torch.arange(1.0, 13.0, dtype=x.dtype)).sum(1)
        return torch.stack([depth, torch.zeros_like(depth)], 1)


def test_checkpoints_of_the_paper():
    # 22 %, then intervals that shrink by 3 % of the steps down to 6 %.
    assert _checkpoints(100) == {22: 22, 41: 19, 57: 16, 70: 13, 80: 10, 87: 7, 93: 6, 99: 6}


def test_checkpoints_of_any_number_of_steps():
    for steps in range(1, 300):
        places = list(_checkpoints(steps))
        assert places == sorted(set(places))
        assert all(0 < place < steps for place in places)
        gaps = [place - before for before, place in pairwise([0, *places])]
        assert gaps == list(_checkpoints(steps).values())
        assert gaps == sorted(gaps, reverse=True)


def test_steps_shrink_where_longer_ones_do_not_help():
    model, x = Recorder(Valley()), images(2, (12,), low=0.45, high=0.55)
    APGD(steps=100, loss="margin")(model, x, Untargeted(torch.tensor([0, 0])), eps=0.1)
    moves = [float(Linf().measure(b - a).max()) for a, b in pairwise(model.seen[1:])]
    assert max(moves[:10]) > 0.05
    assert max(moves[-6:]) < max(moves[:10]) / 16


def test_comes_closer_than_steps_of_one_length():
    model, x = Valley(), images(4, (12,), low=0.45, high=0.55)
    goal = Untargeted(torch.zeros(4, dtype=torch.int64))
    x_adv = APGD(steps=100, loss="margin")(model, x, goal, eps=0.1)
    # The valley's floor has a margin of 1; what is left above it comes from the last, short steps.
    assert (goal.margin(model(x_adv)) < 1.35).all()
    assert (goal.margin(model(x_adv)) < goal.margin(model(x))).all()


def test_hands_over_the_best_point_it_has_seen():
    model, x = mlp(12, seed=2), images(3, (12,), seed=2)
    recorder, goal, eps = Recorder(model), Untargeted(model(x).argmax(1)), 1e-3
    x_adv = APGD(steps=30, loss="margin")(recorder, x, goal, eps=eps)
    seen = torch.stack([goal.margin(model(point)) for point in recorder.seen])
    torch.testing.assert_close(goal.margin(model(x_adv)), seen.amin(0))
    # In so small a ball the network is linear: the best corner is found.
    assert (Linf().measure(x_adv - x) > 0.999 * eps).all()
