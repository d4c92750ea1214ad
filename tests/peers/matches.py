"""The table of matches: our attacks, and the same attacks of other libraries at the same settings.

Steps, step length, loss, random start and restarts are equal as far as the libraries' parameters allow; remaining
differences are in the note.
"""

from attacks import APGD, DIFGSM, FGSM, L1, L2, MIFGSM, PGD, TIFGSM, Linf, Noise, Square
from tests.peers.libraries import adv_lib, art, autoattack, foolbox, torchattacks
from tests.peers.match import DIGITS, EASY, HARD, PHOTOGRAPHS, Match
from tests.peers.nearest import NEAREST

STEP = 0.0625
"""Length of a step of PGD as a fraction of eps."""

_TRANSFER = "Made for transfer to other models, so images stay in the batch once they are fooled."

_PGD_LINF = {
    "Foolbox": foolbox("LinfPGD", steps=40, rel_stepsize=STEP),
    "torchattacks": torchattacks("PGD", steps=40, relative_step=STEP),
    "ART": art(
        "ProjectedGradientDescentPyTorch", norm="inf", max_iter=40, relative_step=STEP, num_random_init=1, verbose=False
    ),
    "adv-lib": adv_lib("pgd_linf", steps=40, relative_step_size=STEP),
}

_BUDGET = (
    Match(
        name="pgd-linf",
        title="PGD, Linf, 40 steps, cross-entropy, random start",
        ours=PGD(norm=Linf(), steps=40, relative_step=STEP, loss="ce"),
        peers=_PGD_LINF,
        victims=(HARD, EASY, DIGITS, PHOTOGRAPHS),
    ),
    Match(
        name="pgd-linf-none-falls",
        title="PGD, Linf, 40 steps, cross-entropy, random start, eps so small that no image is fooled",
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
        title="PGD, L2, 40 steps, cross-entropy, random start, eps so small that no image is fooled",
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
        note="Foolbox and our attack spread a step over 1 % of the values; ART changes a single value.",
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
    ),
    Match(
        name="square-linf",
        title="Square, Linf, 300 queries, margin",
        ours=Square(steps=300),
        peers={
            "AutoAttack": autoattack("square.SquareAttack", norm="Linf", n_queries=300, seed=0),
            "torchattacks": torchattacks("Square", n_queries=300),
            "ART": art("SquareAttack", norm="inf", max_iter=300, verbose=False),
        },
        victims=(HARD, EASY),
    ),
    Match(
        name="square-l2",
        title="Square, L2, 300 queries, margin",
        ours=Square(norm=L2(), steps=300),
        peers={
            "AutoAttack": autoattack("square.SquareAttack", norm="L2", n_queries=300, seed=0),
            "torchattacks": torchattacks("Square", norm="L2", n_queries=300),
        },
        victims=(HARD, EASY),
    ),
    Match(
        name="mifgsm",
        title="MI-FGSM, Linf, 10 steps, cross-entropy",
        ours=MIFGSM(relative_step=0.1),
        peers={"torchattacks": torchattacks("MIFGSM", relative_step=0.1)},
        victims=(HARD, EASY),
        note=_TRANSFER,
    ),
    Match(
        name="difgsm",
        title="DI-FGSM, Linf, 10 steps, cross-entropy",
        ours=DIFGSM(),
        peers={"torchattacks": torchattacks("DIFGSM", relative_step=0.1, decay=1.0)},
        victims=(HARD, EASY),
        note=_TRANSFER,
    ),
    Match(
        name="tifgsm",
        title="TI-FGSM, Linf, 10 steps, cross-entropy",
        ours=TIFGSM(kernel_size=15),
        peers={"torchattacks": torchattacks("TIFGSM", relative_step=0.1, decay=1.0, diversity_prob=0.0)},
        victims=(HARD, EASY),
        note=_TRANSFER,
    ),
)

MATCHES = _BUDGET + NEAREST
"""All matches, in the order of the page."""
