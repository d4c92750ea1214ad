"""Foolbox's attacks with parameters under which each takes a moment, and a small network to run them on."""

import importlib.util

import torch
from torch import Tensor, nn

from attacks import LabelOutOfTopK, Linf, OrderedTopK, Targeted, TopKExclusion, Untargeted
from attacks.foolbox import ROWS, FoolboxAttack, get

HAS_NUMBA = importlib.util.find_spec("numba") is not None
RUNNING = [name for name, row in ROWS.items() if HAS_NUMBA or "numba" not in row.needs]
"""The attacks that run here quickly; those that need numba take a minute to be compiled."""
QUICK = [name for name in RUNNING if "numba" not in ROWS[name].needs]

PARAMETERS: dict[str, dict[str, object]] = {
    **{name: {"repeats": 5} for name in ROWS if "repeated" in name},
    **{name: {"steps": 10} for name in ROWS if name.endswith(("pgd", "fmn", "brendel-bethge", "newtonfool"))},
    "l2-carlini-wagner": {"steps": 30, "binary_search_steps": 3, "initial_const": 1.0, "stepsize": 0.05},
    "ead": {"steps": 30, "binary_search_steps": 3, "initial_const": 1.0},
    "virtual-adversarial": {"steps": 3, "xi": 0.01},
    "gen-attack": {"steps": 5},
    "ddn": {"steps": 20},
    "linear-search-contrast-reduction": {"steps": 20},
    "gaussian-blur": {"steps": 10, "max_sigma": 4.0},
    "linear-search-blended-uniform-noise": {"directions": 50, "steps": 20},
    "salt-and-pepper-noise": {"steps": 30},
    "boundary": {"steps": 20},
    "hop-skip-jump": {"steps": 2, "initial_gradient_eval_steps": 10},
    "pointwise": {"l2_binary_search": False, "init_attack": "inversion"},
    "binarization-refinement": {"init_attack": "inversion"},
}


def quick(name: str, **others: object) -> FoolboxAttack:
    """The attack with quick parameters."""
    return get(name, **(PARAMETERS.get(name, {}) | others))


class Net(nn.Module):
    """A convolution and a linear layer with seeded weights; sees differences alone."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.kernel = nn.Parameter(torch.randn(4, 1, 3, 3, generator=generator))
        self.weight = nn.Parameter(torch.randn(classes, 4 * 16, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.conv2d(x - x.mean((1, 2, 3), keepdim=True), self.kernel.to(x), stride=2, padding=1)
        return nn.functional.elu(x).flatten(1) @ self.weight.T.to(x)


NET = Net()


def images(count: int = 3) -> Tensor:
    """Random images (count, 1, 8, 8)."""
    return 0.2 + 0.6 * torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def goal_of(name: str, logits: Tensor, ids: Tensor | None = None, kind: str | None = None):
    """A goal that ``logits`` do not meet, of the first kind that the attack takes."""
    ids = torch.arange(len(logits)) if ids is None else ids
    order = logits.detach().argsort(1, descending=True)
    match kind or ROWS[name].goals[0]:
        case "untargeted":
            return Untargeted(order[:, 0], ids=ids)
        case "targeted":
            return Targeted(order[:, 1], ids=ids)
        case "topk-exclusion":
            return TopKExclusion(order[:, :2], ids=ids)
        case "label-out-of-topk":
            return LabelOutOfTopK(order[:, 0], 2, ids=ids)
        case "ordered-topk":
            return OrderedTopK(order[:, [1, 0]], ids=ids)


def eps_of(attack: FoolboxAttack) -> float | None:
    """A budget for the budget attacks."""
    return {"linf": 0.2, "l2": 1.0, "l1": 8.0}[attack.norm.name] if attack.kind == "budget" else None


__all__ = ["HAS_NUMBA", "NET", "PARAMETERS", "QUICK", "RUNNING", "Linf", "Net", "eps_of", "goal_of", "images", "quick"]
