"""The matches of minimum-norm attacks."""

from attacks import CW, DDN, FAB, FMN, L0, L1, L2, PDPGD, DeepFool, HopSkipJump, Linf, SigmaZero, SuperDeepFool
from tests.peers.libraries import adv_lib, foolbox, torchattacks
from tests.peers.match import DIGITS, EASY, HARD, Match

NEAREST = (
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
        note="Foolbox's FMN for L2 is left out: its projection has no effect.",
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
    Match(
        name="sigma-zero",
        title="Sigma-zero, 100 steps",
        ours=SigmaZero(steps=100),
        peers={"adv-lib": adv_lib("sigma_zero", num_steps=100)},
        victims=(HARD, EASY),
    ),
    Match(
        name="pdpgd-l1",
        title="PDPGD, L1, 100 steps",
        ours=PDPGD(steps=100),
        peers={"adv-lib": adv_lib("pdpgd", norm=1, num_steps=100)},
        victims=(HARD, EASY),
    ),
    Match(
        name="pdpgd-l0",
        title="PDPGD, L0, 100 steps, proximal operator of the power 2/3",
        ours=PDPGD(norm=L0(), steps=100),
        peers={"adv-lib": adv_lib("pdpgd", norm=0, num_steps=100, proximal_operator=23)},
        victims=(HARD, EASY),
    ),
    Match(
        name="cw",
        title="Carlini and Wagner, L2, 5 constants of 50 steps",
        ours=CW(constants=5, steps=50),
        peers={
            "Foolbox": foolbox("L2CarliniWagnerAttack", binary_search_steps=5, steps=50, initial_const=0.1),
            "adv-lib": adv_lib("carlini_wagner_l2", binary_search_steps=5, max_iterations=50, initial_const=0.1),
        },
        victims=(HARD,),
        note="Foolbox and adv-lib stop a run that no longer improves; torchattacks, left out, tries only one constant.",
    ),
    Match(
        name="deepfool-l2",
        title="DeepFool, L2, 50 steps at most, 9 rivals",
        ours=DeepFool(candidates=9),
        peers={
            "Foolbox": foolbox("L2DeepFoolAttack", candidates=10),
            "torchattacks": torchattacks("DeepFool", steps=50),
            "adv-lib": adv_lib("df", steps=50),
        },
        victims=(HARD, EASY),
    ),
    Match(
        name="deepfool-linf",
        title="DeepFool, Linf, 50 steps at most, 9 rivals",
        ours=DeepFool(norm=Linf(), candidates=9),
        peers={
            "Foolbox": foolbox("LinfDeepFoolAttack", candidates=10),
            "adv-lib": adv_lib("df", steps=50, norm=float("inf")),
        },
        victims=(HARD, EASY),
        note="adv-lib adds 1e-4 to each step, 3 % of the size on the second network: fewer steps, larger sizes.",
    ),
    Match(
        name="superdeepfool",
        title="SuperDeepFool, 10 projections at most",
        ours=SuperDeepFool(steps=10),
        peers={"adv-lib": adv_lib("sdf", steps=10, df_steps=50)},
        victims=(HARD, EASY),
    ),
    *(
        Match(
            name=f"fab-{norm.name}",
            title=f"FAB, {norm.name.capitalize()}, 9 targets, 10 steps each",
            ours=FAB(norm=norm, steps=10),
            peers={"adv-lib": adv_lib("fab", norm=order, n_iter=10, targeted_restarts=True)},
            victims=(HARD,),
        )
        for norm, order in ((Linf(), float("inf")), (L2(), 2), (L1(), 1))
    ),
    Match(
        name="hop-skip-jump",
        title="HopSkipJump, L2, 5 steps",
        ours=HopSkipJump(steps=5),
        peers={"Foolbox": foolbox("HopSkipJumpAttack", steps=5)},
        victims=(EASY,),
    ),
)
"""Matches of minimum-norm attacks, in the order of the page."""
