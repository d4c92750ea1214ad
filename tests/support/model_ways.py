"""Every attack, and all else that asks a model, on a small network."""

import torch
from norm_rows import EPS
from oracles import images, mlp

from attacks import (
    PGD,
    Linf,
    Noise,
    UniversalDeepFool,
    UniversalPerturbation,
    Untargeted,
    binary_search_eps,
    capped,
    expectation,
    multi_targeted,
    quantize,
    restarts,
    worst_case,
)

STEPS = 4
SHAPE = (3, 2, 2)


def network(dtype=torch.float32):
    model = mlp(12, seed=1)
    with torch.no_grad():
        model[1].weight.mul_(4)
    return model.to(dtype)


def pictures(count=5, dtype=torch.float32):
    return images(count, SHAPE, low=0, high=1).to(dtype)


def run(attack, model, x, goal, **options):
    """Candidates; the images have to stay as they were."""
    before = x.clone()
    eps = EPS[attack.norm.name] if attack.kind == "budget" else None
    x_adv = attack(model, x, goal, **({"eps": eps} | options))
    assert torch.equal(x, before)
    if eps is not None:
        assert (attack.norm.measure(x_adv - x) <= eps * (1 + 1e-5) + 1e-6).all()
    return x_adv


def wrapped_attacks():
    return {
        "capped": capped(PGD(steps=STEPS), 7),
        "worst case": worst_case([Noise(draws=2), PGD(steps=STEPS)]),
        "restarts": restarts(PGD(steps=STEPS), 2),
        "towards rivals": multi_targeted(PGD(steps=STEPS), 2),
        "search": binary_search_eps(PGD(steps=STEPS), 3),
    }


def slow_universal(model, x):
    return UniversalPerturbation(eps=0.1, steps=6, looks=2).fit(model, [x], held_out=[x]).delta


def universal_deepfool(model, x):
    return UniversalDeepFool(eps=0.1, passes=2, steps=STEPS).fit(model, [x]).delta


def rounded(model, x):
    goal = Untargeted(torch.zeros(len(x), dtype=torch.long))
    return quantize(model, x, (x + 0.03).clamp(0, 1), goal, Linf(), eps=0.05)


ELSEWHERE = {
    **{name: lambda model, x, attack=attack: run(attack, model, x, Untargeted(torch.tensor([0, 1, 2, 3, 4])))
       for name, attack in wrapped_attacks().items()},
    "universal": slow_universal,
    "universal deepfool": universal_deepfool,
    "rounding": rounded,
    "expectation": lambda model, x: run(
        PGD(steps=STEPS), expectation(model, 2), x, Untargeted(torch.tensor([0, 1, 2, 3, 4]))
    ),
}  # fmt: skip
"""What asks models beside the attacks of the table."""
