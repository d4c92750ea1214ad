"""Side by side with an independent implementation: on a trained network nothing here is weaker than in Foolbox.

Foolbox's minimum-norm attack FMN in L2 is left out: its projection returns what it is given.
"""

import pytest
import torch
from torch import nn

from attacks import APGD, DDN, FMN, L0, L1, L2, PGD, Linf, Standard, Targeted, TopK, Untargeted
from attacks.goals import met

STEPS, RELATIVE_STEP = 20, 0.1


def samples(count, seed):
    """Images (count, 1, 8, 8) of ten classes: a pattern for each, and noise."""
    patterns = 0.2 + 0.6 * torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (count,), generator=generator)
    return (patterns[y] + 0.2 * torch.randn(count, 1, 8, 8, generator=generator)).clamp(0, 1), y


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
        )
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(60):
        x, y = samples(64, seed=1000 + step)
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def right(model):
    """Images that are classified correctly, and their labels."""
    x, y = samples(150, seed=1)
    kept = model(x).argmax(1) == y
    assert kept.float().mean() > 0.9
    return x[kept], y[kept]


def by_foolbox(model, x, y, name, eps=None, seed=0, **parameters):
    """Foolbox's candidates, for labels or for one of its criteria; where it found nothing, the original images."""
    import foolbox

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        attack = getattr(foolbox.attacks, name)(**parameters)
        _, x_adv, _ = attack(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=eps)
    return x_adv.detach()


def robust_accuracy(model, x_adv, y):
    return (model(x_adv).argmax(1) == y).float().mean().item()


def sizes(model, norm, x, x_adv, y):
    """Sizes of perturbations, infinite where the model is not fooled."""
    return torch.where(model(x_adv).argmax(1) != y, norm.measure(x_adv - x), torch.inf)


@pytest.mark.parametrize(
    ("norm", "eps"), [(Linf(), 0.05), (Linf(), 0.1), (L2(), 0.4), (L2(), 0.7)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("name", ["pgd", "pgd-ce", "apgd"])
def test_robust_accuracy_is_not_higher(name, norm, eps, model, right):
    attack = {
        "pgd": PGD(norm=norm, steps=STEPS, relative_step=RELATIVE_STEP),
        "pgd-ce": PGD(norm=norm, steps=STEPS, relative_step=RELATIVE_STEP, loss="ce"),
        "apgd": APGD(norm=norm, steps=STEPS),
    }[name]
    x, y = right
    ours = attack(model, x, Untargeted(y), eps=eps)
    foolbox_name = {"linf": "LinfPGD", "l2": "L2PGD"}[norm.name]
    theirs = by_foolbox(model, x, y, foolbox_name, eps, steps=STEPS, rel_stepsize=RELATIVE_STEP)
    assert norm.measure(ours - x).max() <= eps * (1 + 1e-5)
    assert 0.02 < robust_accuracy(model, theirs, y) < 0.98, "this eps tells nothing"
    # The random starts differ, and an image more or less is chance.
    assert robust_accuracy(model, ours, y) <= robust_accuracy(model, theirs, y) + 0.01


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (DDN(loss="ce"), "DDNAttack"),
        (FMN(), "LInfFMNAttack"),
        (FMN(norm=L1()), "L1FMNAttack"),
        (FMN(norm=L0()), "L0FMNAttack"),
        pytest.param(TopK(), "LInfFMNAttack", marks=pytest.mark.slow),
        pytest.param(TopK(norm=L1()), "L1FMNAttack", marks=pytest.mark.slow),
        (TopK(norm=L0()), "L0FMNAttack"),
    ],
    ids=["ddn", "fmn-linf", "fmn-l1", "fmn-l0", "topk-linf", "topk-l1", "topk-l0"],
)
def test_smallest_perturbations_are_not_larger(attack, name, model, right):
    x, y = right
    theirs = sizes(model, attack.norm, x, by_foolbox(model, x, y, name, steps=100), y)
    ours = sizes(model, attack.norm, x, attack(model, x, Untargeted(y)), y)
    both = theirs.isfinite()
    assert both.float().mean() > 0.8
    assert ours.isfinite().all()
    assert ours.median() <= 1.01 * theirs.median()
    assert ours[both].mean() <= 1.02 * theirs[both].mean()


def test_the_margin_costs_ddn_little(model, right):
    x, y = right
    with_margin, with_ce = (
        sizes(model, L2(), x, DDN(loss=loss)(model, x, Untargeted(y)), y) for loss in ("margin", "ce")
    )
    assert with_margin.median() <= 1.05 * with_ce.median()


@pytest.mark.parametrize(
    "targeted", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["untargeted", "targeted"]
)
@pytest.mark.parametrize(
    ("norm", "eps", "names"),
    [
        (Linf(), 0.08, ["LinfPGD", "LInfFMNAttack", "LinfDeepFoolAttack"]),
        pytest.param(L2(), 0.6, ["L2PGD", "DDNAttack"], marks=pytest.mark.slow),
        pytest.param(L1(), 3.0, ["L1PGD", "L1FMNAttack"], marks=pytest.mark.slow),
    ],
    ids=lambda value: str(getattr(value, "name", "")),
)
def test_the_standard_verdict_leaves_nothing_that_many_attacks_together_break(norm, eps, names, targeted, model, right):
    from foolbox.criteria import TargetedMisclassification

    x, y = (part[:40] for part in right)
    target = (y + 1) % 10
    goal = Targeted(target) if targeted else Untargeted(y)
    broken = torch.zeros(len(x), dtype=torch.bool)
    for name in names:
        if targeted and "DeepFool" in name:  # knows no targets
            continue
        budget = {"eps": eps, "steps": 100} if "PGD" in name else {}
        for seed in range(3 if "PGD" in name else 1):
            found = by_foolbox(
                model, x, TargetedMisclassification(target) if targeted else y, name, seed=seed, **budget
            )
            broken |= met(goal, model(found)) & (norm.measure(found - x) <= eps)
    assert 0.05 < broken.float().mean() < 0.95, "this eps tells nothing"
    ours = Standard(norm=norm)(model, x, goal, eps=eps)
    assert norm.measure(ours - x).max() <= eps * (1 + 1e-5)
    assert not (broken & ~met(goal, model(ours))).any()
