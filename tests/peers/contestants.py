"""Minimum-norm attacks, by norm: the best of every library, and ours, at equal cost.

Each gets the equivalent of 1,000 forward and 1,000 backward passes per image, spent as its authors would; other
parameters are the library's defaults unless these make no sense at this length.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from attacks import (
    APGD,
    CW,
    DDN,
    FAB,
    FMN,
    L0,
    L1,
    L2,
    PDPGD,
    Attack,
    Closest,
    Linf,
    Norm,
    SigmaZero,
    SuperDeepFool,
    Untargeted,
    binary_search_eps,
)
from attacks.geometry.rows import column
from attacks.searches.bisection import Bisection
from tests.peers.libraries import Call, adv_lib, attackbench, foolbox, torchattacks

STEPS = 998
"""Steps of our attacks: the clean images and the last candidates take one more forward pass each."""

CIFAR10, DIGITS = (
    ("cifar10-cnn-a-adv", "cifar10-resnet2b-adv2", "cifar10-kw-linf8", "cifar10-resnet20"),
    ("mnist-cnn-a-adv", "mnist-lenet5-clean"),
)
FIELDS = dict.fromkeys(CIFAR10 + DIGITS, 100) | {"cifar10-resnet20": 10}
"""Name in `tests.peers.victims.VICTIMS` -> number of images; fewer where a pass is slow."""


def _bim_search(calls: int = 20, steps: int = 49, first: float = 1 / 255) -> Call:
    """Foolbox's basic iterative method, called repeatedly with a different eps for each image."""

    def call(model: object, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
        from foolbox import Misclassification, PyTorchModel
        from foolbox.attacks import LinfBasicIterativeAttack

        attack = LinfBasicIterativeAttack(steps=steps, random_start=False)
        wrapped, criterion = PyTorchModel(model, bounds=(0, 1)), Misclassification(y)
        search, best = Bisection(x.new_full((len(x),), first)), x.clone()
        for _ in range(calls):
            x_adv = attack.run(wrapped, x, criterion, epsilon=column(search.value.clamp_max(1), x))
            with torch.no_grad():
                fooled = model(x_adv).argmax(1) != y  # type: ignore[operator]
            nearer = fooled & (search.value < search.high)
            best[nearer] = x_adv[nearer]
            search.tell(fooled)
        return best

    return call


def _ours(attack: Attack) -> Call:
    """Our attack, wrapped in the same call as the others."""

    def call(model: object, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
        return attack(model, x, Untargeted(y), eps=eps)  # type: ignore[arg-type]

    return call


def _searched(norm: Norm) -> Call:
    return _ours(binary_search_eps(APGD(norm=norm, steps=96, loss="dlr"), 10))


def _apgd(norm: float, most: float) -> Call:
    return adv_lib("auto_pgd.minimal_apgd", norm=norm, max_eps=most, binary_search_steps=10, n_iter=98)


def _trust_region(norm: str) -> Call:
    return attackbench("trust_region.tr_attack", threat_model=norm, adaptive=True, iter=495)


PEERS: dict[str, dict[str, Callable[..., Tensor]]] = {
    "l0": {
        "adv-lib sigma_zero": adv_lib("sigma_zero", num_steps=1000),
        "adv-lib fmn": adv_lib("fmn", norm=0, steps=1000),
        "adv-lib pdpgd": adv_lib("pdpgd", norm=0, num_steps=1000, proximal_operator=23),
        "AttackBench pgd0": attackbench("pgd_lzero.PGD0_minimal", search_steps=10, num_steps=98),
    },
    "l1": {
        "adv-lib pdpgd": adv_lib("pdpgd", norm=1, num_steps=1000),
        "adv-lib fmn": adv_lib("fmn", norm=1, steps=1000),
        "adv-lib apgd, searched": _apgd(1, 50.0),
        "adv-lib alma": adv_lib("alma", distance="l1", num_steps=1000, lr_init=0.5, init_lr_distance=1.0),
        "adv-lib fab": adv_lib("fab", norm=1, n_iter=55, targeted_restarts=True),
        "Foolbox EAD": foolbox("EADAttack", binary_search_steps=9, steps=55),
    },
    "l2": {
        "Foolbox DDN": foolbox("DDNAttack", steps=1000),
        "adv-lib ddn": adv_lib("ddn", steps=1000, levels=None),
        "adv-lib fmn": adv_lib("fmn", norm=2, steps=1000),
        "adv-lib pdgd": adv_lib("pdgd", num_steps=1000),
        "adv-lib alma": adv_lib("alma", distance="l2", num_steps=1000, init_lr_distance=0.3),
        "adv-lib apgd, searched": _apgd(2, 5.0),
        "adv-lib fab": adv_lib("fab", norm=2, n_iter=55, targeted_restarts=True),
        "adv-lib superdeepfool": adv_lib("sdf", steps=10, df_steps=11),
        "torchattacks CW": torchattacks("CW", steps=1000),
        "AttackBench trust region": _trust_region("l2"),
    },
    "linf": {
        "Foolbox BIM, searched": _bim_search(),
        "adv-lib fmn": adv_lib("fmn", norm=float("inf"), steps=1000),
        "adv-lib pdpgd": adv_lib("pdpgd", norm=float("inf"), num_steps=1000),
        "adv-lib apgd, searched": _apgd(float("inf"), 0.5),
        "adv-lib fab": adv_lib("fab", norm=float("inf"), n_iter=55, targeted_restarts=True),
        "AttackBench trust region": _trust_region("linf"),
    },
}
"""Norm -> library and attack -> the call."""

OURS: dict[str, dict[str, Call]] = {
    "l0": {
        "closest": _ours(Closest(norm=L0())),
        "sigma_zero": _ours(SigmaZero(steps=STEPS)),
        "pdpgd": _ours(PDPGD(norm=L0(), steps=STEPS)),
        "fmn": _ours(FMN(norm=L0(), steps=STEPS)),
    },
    "l1": {
        "closest": _ours(Closest(norm=L1())),
        "pdpgd": _ours(PDPGD(steps=STEPS - 10)),
        "fab": _ours(FAB(norm=L1(), steps=54)),
        "fmn": _ours(FMN(norm=L1(), steps=STEPS)),
        "apgd, searched": _searched(L1()),
    },
    "l2": {
        "closest": _ours(Closest(norm=L2())),
        "fab": _ours(FAB(norm=L2(), steps=54)),
        "superdeepfool": _ours(SuperDeepFool(steps=10, inner_steps=11)),
        "ddn": _ours(DDN(steps=STEPS)),
        "fmn": _ours(FMN(norm=L2(), steps=STEPS)),
        "cw": _ours(CW(steps=110)),
        "apgd, searched": _searched(L2()),
    },
    "linf": {
        "closest": _ours(Closest(norm=Linf())),
        "fab": _ours(FAB(norm=Linf(), steps=54)),
        "fmn": _ours(FMN(norm=Linf(), steps=STEPS)),
        "apgd, searched": _searched(Linf()),
    },
}
"""Norm -> name -> the call; in the report, their names are prefixed with the project's."""
