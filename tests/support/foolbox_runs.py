"""Foolbox's attacks run on three images, for the tests of what they give and what they leave behind."""

import functools
import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
from counting import Counting
from foolbox_quick import NET, QUICK, eps_of, goal_of, images, quick

import attacks
from attacks import Untargeted
from attacks.queries.gradients import asked_ids

X = images(3)
LOGITS = NET(X).detach()
FIRST = Untargeted(LOGITS.argmax(1))
each_quick = pytest.mark.parametrize("name", QUICK)
IDS = torch.tensor([5, -3, 2**40])


def attacked(name, network=NET, x=X, ids=None, seed=0, kind=None, **parameters):
    attack = quick(name, **parameters)
    goal = goal_of(name, NET(x), ids, kind)
    return attack(network, x, goal, eps=eps_of(attack), seed=seed), goal


class Run(NamedTuple):
    """One run on three images, and what it left behind."""

    x_adv: torch.Tensor
    goal: attacks.Goal
    asked: list[list[int]]
    """Ids of the images of each pass."""
    meter: Counting
    disturbed: list[str]
    """What is not as it was before."""


@functools.cache
def a_run(name) -> Run:
    asked = []

    def network(x):
        assert len(x) == len(asked_ids())
        asked.append(asked_ids().tolist())
        return NET(x)

    for parameter in NET.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    weights = [parameter.clone() for parameter in NET.parameters()]
    before = generators()
    meter = Counting(network, IDS)
    x_adv, goal = attacked(name, meter, ids=IDS, seed=4)
    checks = {
        "random numbers": generators() == before,
        "weights": all(map(torch.equal, NET.parameters(), weights)),
        "gradients": all(bool((parameter.grad == 3).all()) for parameter in NET.parameters()),
        "requires_grad": all(parameter.requires_grad for parameter in NET.parameters()),
    }
    for parameter in NET.parameters():
        parameter.grad = None
    return Run(x_adv, goal, asked, meter, [what for what, kept in checks.items() if not kept])


def generators():
    """States of those of torch, numpy and Python."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), numpy_state[1].tobytes(), numpy_state[2], random.getstate()


def unfoolable(*which):
    """The network, but images with these ids are never fooled."""

    def network(x):
        fixed = torch.isin(asked_ids(), torch.tensor(which)).unsqueeze(1)
        return torch.where(fixed, 9 * torch.eye(6)[FIRST.labels[asked_ids()]], NET(x))

    return network
