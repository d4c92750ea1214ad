"""All 58 attacks of Foolbox on a trained network and real digits; `pytest -s` shows the table."""

from typing import NamedTuple

import foolbox as fb
import pytest
import torch
from foolbox_quick import HAS_NUMBA
from rich.console import Console
from rich.table import Table
from rich.text import Text

from advbench.evaluation.meter import Meter
from advbench.models import load_model
from attacks import AttackError, Goal, Targeted, Untargeted
from attacks.foolbox import ROWS, get

PARAMETERS = {
    **{name: {"repeats": 10} for name in ROWS if "repeated" in name},
    **{name: {"steps": 30} for name in ROWS if "brendel-bethge" in name},
    "ddn": {"steps": 50},
    "l2-carlini-wagner": {"steps": 100, "binary_search_steps": 3, "initial_const": 1.0, "stepsize": 0.05},
    "ead": {"steps": 100, "binary_search_steps": 3, "initial_const": 1.0},
    "virtual-adversarial": {"xi": 0.01},
    "gen-attack": {"steps": 50},
    "linear-search-contrast-reduction": {"steps": 50},
    "gaussian-blur": {"steps": 50},
    "linear-search-blended-uniform-noise": {"steps": 50},
    "salt-and-pepper-noise": {"steps": 100},
    "boundary": {"steps": 200},
    "hop-skip-jump": {"steps": 3, "initial_gradient_eval_steps": 50},
    "pointwise": {"init_attack": "linear-search-contrast-reduction", "l2_binary_search": False},
    "binarization-refinement": {"init_attack": "dataset"},
}
EPS = {"linf": 0.3, "l2": 4.0, "l1": 60.0}
FAR = {"linf": 0.9, "l2": 20.0, "l1": 120.0}
BLUNT = {
    *(name for name in ROWS if "noise" in name and ROWS[name].kind == "budget"),
    "l2-contrast-reduction",
    "virtual-adversarial",
    "gen-attack",
    "l1-adam-pgd",
}
"""Those that fool a digit from afar only."""
HOUR = 3600.0
"""Seconds for an image: on a busy machine those that need numba take minutes to be compiled."""


class Result(NamedTuple):
    """A line of the table."""

    name: str
    kind: str
    goal: str
    success: str
    norm: str
    """Median size of what was found."""
    cost: str
    """Mean passes for an image, forward and backward."""
    remark: str = ""


@pytest.fixture(scope="module")
def digits():
    """A small network trained on MNIST, and digits that Foolbox carries."""
    network = load_model("mnist_convnet").eval()
    x, labels = fb.samples(fb.PyTorchModel(network, bounds=(0, 1)), dataset="mnist", batchsize=3)
    assert (network(x).argmax(1) == labels).all()
    return network, x


def goal_for(name: str, logits: torch.Tensor) -> Goal:
    order = logits.argsort(1, descending=True)
    return Untargeted(order[:, 0]) if "untargeted" in ROWS[name].goals else Targeted(order[:, 1])


def attack_all(network, x, names) -> list[Result]:
    logits = network(x).detach()
    results = []
    for name in names:
        goal, kind = goal_for(name, logits), ROWS[name].kind
        about = (f"foolbox/{name}", kind, type(goal).__name__)
        try:
            attack = get(name, time_limit=HOUR, **PARAMETERS.get(name, {}))
        except ModuleNotFoundError as error:
            results.append(Result(*about, "", "", "", str(error)))
            continue
        budgets, remark = FAR if name in BLUNT else EPS, ""
        eps = budgets[attack.norm.name] if kind == "budget" else None
        with Meter(network, goal.ids) as meter:
            try:
                x_adv = attack(meter, x, goal, eps=eps)
            except AttackError as error:
                x_adv, remark = error.x_adv, str(error)
        size, met = attack.norm.measure(x_adv - x), goal.margin(network(x_adv)) < 0
        found = f"{attack.norm.name} {size[met].median():.3g}" if met.any() else ""
        cost = f"{meter.forwards.mean():.0f} + {meter.backwards.mean():.0f}"
        results.append(Result(*about, f"{int(met.sum())} of {len(x)}", found, cost, remark))
        assert ((x_adv != x).flatten(1).any(1) == met).all(), name
        assert eps is None or (size <= eps * (1 + 1e-5) + 1e-6).all(), name
    return results


def show(results, capsys) -> None:
    table = Table(*(field for field in Result._fields), box=None, pad_edge=False)
    for result in results:
        table.add_row(*map(Text, result))
    with capsys.disabled():
        Console(width=180, markup=False, highlight=False).print("", table)


@pytest.mark.slow
def test_all_58_run_on_real_digits(digits, capsys):
    results = attack_all(*digits, [name for name in ROWS if not ("numba" in ROWS[name].needs and HAS_NUMBA)])
    show(results, capsys)
    assert len(results) == (54 if HAS_NUMBA else 58)
    for result in results:
        name = result.name.removeprefix("foolbox/")
        if "numba" in ROWS[name].needs:
            assert result.remark == f'{result.name} needs numba: pip install "advbench[brendel-bethge]"'
            continue
        # The network does not round, so that this one works where it finds nothing to refine.
        rounds = name == "binarization-refinement" and "threshold does not match" in result.remark
        assert rounds or result.remark == ""
        assert not result.success.startswith("0"), result


@pytest.mark.slow
@pytest.mark.skipif(not HAS_NUMBA, reason='needs pip install "advbench[brendel-bethge]"; the message is tested above')
def test_those_that_need_numba_run_on_real_digits(digits, capsys):
    results = attack_all(*digits, [name for name in ROWS if "numba" in ROWS[name].needs])
    show(results, capsys)
    assert [(result.success, result.remark) for result in results] == [("3 of 3", "")] * 4
