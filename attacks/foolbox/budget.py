"""Foolbox's budget attacks: rows of :mod:`attacks.foolbox.table`."""

from typing import Any

from attacks.foolbox.row import ANY, TARGETED, UNTARGETED, Row, family

_LP = ("l1", "l2", "linf")
_L1_STEP = "gradient_descent_base.py:240,243: steps along the whole gradient, and rescales instead of projecting"


def _descent(
    name: str, attack: str, norms: tuple[str, ...] = _LP, faults: tuple[str, ...] = (), **facts: Any
) -> tuple[Row, ...]:
    """Rows of the attacks that share a base class, gradient_descent_base.py."""
    shared = {"kind": "budget", "access": "gradients", "draws": "random_start", **facts}
    every = ((norm, (*faults, *((_L1_STEP,) if norm == "l1" else ()))) for norm in norms)
    return tuple(row for norm, known in every for row in family(name, attack, (norm,), faults=known, **shared))


def _noise(name: str, attack: str, norms: tuple[str, ...] = ("l2",), **facts: Any) -> tuple[Row, ...]:
    """Rows of the attacks that draw noise once, and of those that repeat until it fools."""
    shared = {"kind": "budget", "access": "decisions", "search": "blind", "goals": ANY, "draws": "always", **facts}
    once = family(name.format(""), attack.format(""), norms, **shared)
    return once + family(name.format("repeated-"), attack.format("Repeated"), norms, **shared)


BUDGET: tuple[Row, ...] = (
    *_descent("pgd", "ProjectedGradientDescentAttack"),
    *_descent(
        "adam-pgd",
        "AdamProjectedGradientDescentAttack",
        ("l1", "l2"),
        faults=("gradient_descent_base.py:63: a step moves every value by the step size, which is far too long",),
    ),
    *_descent("adam-pgd", "AdamProjectedGradientDescentAttack", ("linf",)),
    *_descent("basic-iterative", "BasicIterativeAttack"),
    *_descent(
        "adam-basic-iterative",
        "AdamBasicIterativeAttack",
        ("l1", "l2"),
        faults=("basic_iterative_method.py:88,121: Adam is never used; the attack is basic-iterative",),
    ),
    *_descent("adam-basic-iterative", "AdamBasicIterativeAttack", ("linf",)),
    *_descent("mi-fgsm", "MomentumIterativeFastGradientMethod", ("l1",)),
    *_descent(
        "mi-fgsm",
        "MomentumIterativeFastGradientMethod",
        ("l2",),
        faults=("mi_fgsm.py:38: accumulates gradients divided by their L2 norms, the paper by their L1 norms",),
    ),
    *_descent(
        "mi-fgsm",
        "MomentumIterativeFastGradientMethod",
        ("linf",),
        faults=("mi_fgsm.py:38: accumulates signs of the gradients, the paper gradients divided by their L1 norms",),
    ),
    *_descent("fast-gradient", "FastGradientAttack", search="one step", goals=UNTARGETED),
    Row(
        name="sparse-l1-descent",
        attack="SparseL1DescentAttack",
        kind="budget",
        access="gradients",
        norms=("l1",),
        draws="random_start",
        mixes="while one image is outside its ball, those inside are pushed outwards",
        faults=(
            "sparse_l1_descent_attack.py:33: with targets, values at 0 and at 1 stay there",
            "sparse_l1_descent_attack.py:52: the projection enlarges perturbations inside the ball",
        ),
    ),
    *_noise("{}additive-gaussian-noise", "{}AdditiveGaussianNoiseAttack"),
    *_noise("{}additive-uniform-noise", "{}AdditiveUniformNoiseAttack"),
    *_noise("clipping-aware-{}additive-gaussian-noise", "ClippingAware{}AdditiveGaussianNoiseAttack"),
    *_noise("clipping-aware-{}additive-uniform-noise", "ClippingAware{}AdditiveUniformNoiseAttack"),
    *_noise(
        "{}additive-uniform-noise",
        "{}AdditiveUniformNoiseAttack",
        ("linf",),
        faults=("additive_noise.py:91: negative values of the noise may be larger than eps; they are clipped here",),
    ),
    *family(
        "contrast-reduction",
        "ContrastReductionAttack",
        ("l2",),
        kind="budget",
        access="nothing",
        search="blind",
        goals=ANY,
        faults=("contrast.py: reduces the contrast by eps, even if less would suffice",),
    ),
    Row(
        name="virtual-adversarial",
        attack="VirtualAdversarialAttack",
        kind="budget",
        access="gradients",
        search="one step",
        norms=("l2",),
        goals=UNTARGETED,
        needs=("steps",),
        draws="always",
        defaults={"steps": 10},
        faults=(
            "virtual_adversarial_attack.py:101: NaN where the gradient vanishes, as float32 has no 1e-64",
            "virtual_adversarial_attack.py:78: queries the model with images outside [0, 1], by at most xi",
            "xi=1e-6 is near the resolution of float32: rounding changes the direction",
        ),
    ),
    Row(
        name="gen-attack",
        attack="GenAttack",
        kind="budget",
        access="scores",
        norms=("linf",),
        goals=TARGETED,
        needs=("targets",),
        draws="always",
        mixes="an image that fools keeps changing until all images of the batch fool",
        faults=("gen_attack.py:158: takes a logit for its exponential; ValueError where a logit is above 88",),
    ),
)
"""Rows of the budget attacks, in the order of the listing."""
