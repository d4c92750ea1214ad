"""The table of matches: an attack of ours, and the same attack of other libraries at the same settings.

Equal are steps, step length, loss, random start and restarts, as far as the libraries' parameters go; what cannot be
made equal stands in the note.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from attacks import APGD, DDN, FGSM, FMN, L0, L1, L2, PGD, Attack, Linf, Noise
from tests.peers.libraries import Call, adv_lib, art, autoattack, foolbox, torchattacks

STEP = 0.0625
"""Length of a step of PGD as a fraction of eps."""
EASY, HARD, PHOTOGRAPHS = "cifar10-resnet20", "cifar10-cnn-a-adv", "efficientnet_lite0"
DIGITS = "mnist-lenet5-adv-linf0.3"


@dataclass(frozen=True, kw_only=True)
class Match:
    """One attack against those of the same kind."""

    name: str
    """Short, for `--only`."""
    title: str
    """What is equal."""
    ours: Attack
    """The attack of this project."""
    peers: Mapping[str, Call]
    """Library, and its attack's name if it has several -> the call."""
    victims: tuple[str, ...]
    """Names in `tests.peers.victims.VICTIMS`."""
    eps_factor: float = 1.0
    """Of the victim's eps."""
    note: str = ""
    """What is not equal."""


_PGD_LINF = {
    "Foolbox": foolbox("LinfPGD", steps=40, rel_stepsize=STEP),
    "torchattacks": torchattacks("PGD", steps=40, relative_step=STEP),
    "ART": art(
        "ProjectedGradientDescentPyTorch", norm="inf", max_iter=40, relative_step=STEP, num_random_init=1, verbose=False
    ),
    "adv-lib": adv_lib("pgd_linf", steps=40, relative_step_size=STEP),
}

MATCHES = (
    Match(
        name="pgd-linf",
        title="PGD, Linf, 40 steps, cross-entropy, random start",
        ours=PGD(norm=Linf(), steps=40, relative_step=STEP, loss="ce"),
        peers=_PGD_LINF,
        victims=(HARD, EASY, DIGITS, PHOTOGRAPHS),
    ),
    Match(
        name="pgd-linf-none-falls",
        title="PGD, Linf, 40 steps, cross-entropy, random start, eps so small that no image falls",
        ours=PGD(norm=Linf(), steps=40, relative_step=STEP, loss="ce"),
        peers=_PGD_LINF,
        victims=(HARD, EASY, PHOTOGRAPHS),
        eps_factor=1e-4,
    ),
    Match(
        name="pgd-linf-margin",
        title="PGD, Linf, 40 steps, margin, random start",
        ours=PGD(norm=Linf(), steps=40, relative_step=STEP),
        peers={"adv-lib": adv_lib("pgd_linf", steps=40, relative_step_size=STEP, loss_function="dl")},
        victims=(HARD,),
    ),
    Match(
        name="pgd-l2",
        title="PGD, L2, 40 steps, cross-entropy, random start",
        ours=PGD(norm=L2(), steps=40, relative_step=STEP, loss="ce"),
        peers={
            "Foolbox": foolbox("L2PGD", steps=40, rel_stepsize=STEP),
            "torchattacks": torchattacks("PGDL2", steps=40, relative_step=STEP),
            "ART": art(
                "ProjectedGradientDescentPyTorch",
                norm=2,
                max_iter=40,
                relative_step=STEP,
                num_random_init=1,
                verbose=False,
            ),
        },
        victims=(HARD, EASY),
    ),
    Match(
        name="pgd-l2-none-falls",
        title="PGD, L2, 40 steps, cross-entropy, random start, eps so small that no image falls",
        ours=PGD(norm=L2(), steps=40, relative_step=STEP, loss="ce"),
        peers={
            "Foolbox": foolbox("L2PGD", steps=40, rel_stepsize=STEP),
            "torchattacks": torchattacks("PGDL2", steps=40, relative_step=STEP),
        },
        victims=(HARD,),
        eps_factor=1e-4,
    ),
    Match(
        name="pgd-l1",
        title="PGD, L1, 40 sparse steps, cross-entropy",
        ours=PGD(norm=L1(), steps=40, relative_step=STEP, loss="ce"),
        peers={
            "Foolbox": foolbox("SparseL1DescentAttack", steps=40, rel_stepsize=STEP),
            "ART": art(
                "ProjectedGradientDescentPyTorch",
                norm=1,
                max_iter=40,
                relative_step=STEP,
                num_random_init=1,
                verbose=False,
            ),
        },
        victims=(HARD,),
        note="Foolbox spreads a step over 1 % of the values, ART gives it to one, ours fills one value after another.",
    ),
    Match(
        name="fgsm",
        title="FGSM, Linf",
        ours=FGSM(),
        peers={
            "Foolbox": foolbox("LinfFastGradientAttack"),
            "torchattacks": torchattacks("FGSM"),
            "ART": art("FastGradientMethod", norm="inf"),
        },
        victims=(HARD, EASY, PHOTOGRAPHS),
    ),
    Match(
        name="noise",
        title="Uniform noise, Linf, 100 draws",
        ours=Noise(),
        peers={"Foolbox": foolbox("LinfRepeatedAdditiveUniformNoiseAttack", repeats=100)},
        victims=(HARD,),
    ),
    Match(
        name="apgd-ce",
        title="APGD, Linf, 100 steps, cross-entropy, one start",
        ours=APGD(steps=100, loss="ce"),
        peers={
            "AutoAttack": autoattack(norm="Linf", n_iter=100, loss="ce"),
            "torchattacks": torchattacks("APGD", steps=100, loss="ce"),
            "ART": art(
                "AutoProjectedGradientDescent",
                norm="inf",
                max_iter=100,
                relative_step=2.0,
                nb_random_init=1,
                loss_type="cross_entropy",
                verbose=False,
            ),
            "adv-lib": adv_lib("apgd", norm=float("inf"), n_iter=100, loss_function="ce"),
        },
        victims=(HARD, EASY),
    ),
    Match(
        name="apgd-dlr",
        title="APGD, Linf, 100 steps, DLR, one start",
        ours=APGD(steps=100, loss="dlr"),
        peers={
            "AutoAttack": autoattack(norm="Linf", n_iter=100, loss="dlr"),
            "torchattacks": torchattacks("APGD", steps=100, loss="dlr"),
            "adv-lib": adv_lib("apgd", norm=float("inf"), n_iter=100, loss_function="dlr"),
        },
        victims=(HARD, DIGITS),
    ),
    Match(
        name="apgd-l2",
        title="APGD, L2, 100 steps, cross-entropy, one start",
        ours=APGD(norm=L2(), steps=100, loss="ce"),
        peers={
            "AutoAttack": autoattack(norm="L2", n_iter=100, loss="ce"),
            "torchattacks": torchattacks("APGD", norm="L2", steps=100, loss="ce"),
            "adv-lib": adv_lib("apgd", norm=2, n_iter=100, loss_function="ce"),
        },
        victims=(HARD,),
    ),
    Match(
        name="apgd-l1",
        title="APGD, L1, 100 steps, cross-entropy, one start",
        ours=APGD(norm=L1(), steps=100, loss="ce"),
        peers={
            "AutoAttack": autoattack(norm="L1", n_iter=100, loss="ce"),
            "adv-lib": adv_lib("apgd", norm=1, n_iter=100, loss_function="ce"),
        },
        victims=(HARD,),
        note="The others follow the later paper's scheme for L1.",
    ),
    Match(
        name="ddn",
        title="DDN, 100 steps, cross-entropy",
        ours=DDN(steps=100, loss="ce"),
        peers={"Foolbox": foolbox("DDNAttack", steps=100), "adv-lib": adv_lib("ddn", steps=100, levels=None)},
        victims=(HARD, EASY, DIGITS),
    ),
    Match(
        name="fmn-linf",
        title="FMN, Linf, 100 steps",
        ours=FMN(norm=Linf(), steps=100),
        peers={
            "Foolbox": foolbox("LInfFMNAttack", steps=100),
            "adv-lib": adv_lib("fmn", norm=float("inf"), steps=100),
        },
        victims=(HARD, EASY, DIGITS),
    ),
    Match(
        name="fmn-l2",
        title="FMN, L2, 100 steps",
        ours=FMN(norm=L2(), steps=100),
        peers={"adv-lib": adv_lib("fmn", norm=2, steps=100)},
        victims=(HARD, EASY),
        note="Foolbox's FMN for L2 is left out: its projection leaves everything as it is.",
    ),
    Match(
        name="fmn-l1",
        title="FMN, L1, 100 steps",
        ours=FMN(norm=L1(), steps=100),
        peers={"Foolbox": foolbox("L1FMNAttack", steps=100), "adv-lib": adv_lib("fmn", norm=1, steps=100)},
        victims=(HARD, EASY),
    ),
    Match(
        name="fmn-l0",
        title="FMN, L0, 100 steps",
        ours=FMN(norm=L0(), steps=100),
        peers={"Foolbox": foolbox("L0FMNAttack", steps=100), "adv-lib": adv_lib("fmn", norm=0, steps=100)},
        victims=(HARD, EASY),
    ),
)
