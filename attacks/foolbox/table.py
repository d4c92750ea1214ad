"""What each of the 58 attacks of Foolbox 3.3.4 is, takes, needs and gets wrong. Plain data; Foolbox is not imported.

Everything here was found in Foolbox's code and tried out; the tests try it again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

UNTARGETED = ("untargeted",)
TARGETED = ("targeted",)
CLASSES = (*UNTARGETED, *TARGETED)
ANY = (*CLASSES, "topk-exclusion", "label-out-of-topk", "ordered-topk")
"""Goals of an attack that only asks whether an image fools."""

Need = Literal["targets", "starting points", "feed", "numba", "4-D input", "steps"]
"""Target classes; images that fool already; other images to choose from; the package numba; images (N, C, H, W); a
number of steps, which Foolbox asks for."""
Draws = Literal["never", "always", "random_start", "init_attack", "no grid_search"]
"""When an attack draws random numbers; the last three name the parameter that decides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One attack class of Foolbox."""

    name: str
    """As in ``attacks.foolbox.get(name)``."""
    attack: str
    """Name of the class in ``foolbox.attacks``."""
    kind: Literal["budget", "minimum norm", "plain"]
    """Given an ``eps``; looks for the smallest perturbation; or neither, and run like a minimum-norm attack."""
    norms: tuple[str, ...]
    """The default first. Where it is all four, the attack makes none of them small: they only measure what it found."""
    goals: tuple[str, ...] = CLASSES
    """Names of the goals it takes."""
    needs: tuple[Need, ...] = ()
    """What it cannot do without."""
    draws: Draws = "never"
    """When it draws random numbers."""
    mixes: str = ""
    """How the other images of a batch change an image's result; empty where they do not."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Parameters that get another default here than in Foolbox, or have none there."""
    start: str = ""
    """Attack that finds the starting points, unless the parameter ``init_attack`` names another."""
    start_parameters: Mapping[str, Any] = field(default_factory=dict)
    """With what parameters that attack runs."""
    black: bool = False
    """A black image stands for "found nothing"."""
    faults: tuple[str, ...] = ()
    """Known errors and limits, with files and lines of ``foolbox/attacks``."""


_MEASURED = ("l2", "l1", "linf", "l0")
_CLASS_PREFIX = {"l0": "L0", "l1": "L1", "l2": "L2", "linf": "Linf"}
_LP = ("l1", "l2", "linf")


def _family(name: str, attack: str, norms: tuple[str, ...], **facts: Any) -> tuple[Row, ...]:
    """A row for each norm of attacks that Foolbox names alike."""
    return tuple(
        Row(name=f"{norm}-{name}", attack=_CLASS_PREFIX[norm] + attack, norms=(norm,), **facts) for norm in norms
    )


def _descent(name: str, attack: str, norms: tuple[str, ...] = _LP, **facts: Any) -> tuple[Row, ...]:
    """Those of one base class, gradient_descent_base.py."""
    return _family(name, attack, norms, kind="budget", draws="random_start", **facts)


def _noise(name: str, attack: str, norms: tuple[str, ...] = ("l2",), **facts: Any) -> tuple[Row, ...]:
    """Noise drawn once, and the same drawn until it fools."""
    shared = {"kind": "budget", "goals": ANY, "draws": "always", **facts}
    once = _family(name.format(""), attack.format(""), norms, **shared)
    return once + _family(name.format("repeated-"), attack.format("Repeated"), norms, **shared)


def _search(name: str, attack: str, norms: tuple[str, ...] = _MEASURED, **facts: Any) -> Row:
    """A minimum-norm attack that takes any goal."""
    return Row(name=name, attack=attack, kind="minimum norm", norms=norms, goals=ANY, **facts)


def _fmn(norm: str, *faults: str) -> tuple[Row, ...]:
    return _family("fmn", "FMNAttack", (norm,), kind="minimum norm", draws="init_attack", faults=faults)


_BUDGET = (
    *_descent("pgd", "ProjectedGradientDescentAttack"),
    *_descent("adam-pgd", "AdamProjectedGradientDescentAttack"),
    *_descent("basic-iterative", "BasicIterativeAttack"),
    *_descent(
        "adam-basic-iterative",
        "AdamBasicIterativeAttack",
        ("l1", "l2"),
        faults=("basic_iterative_method.py:88,121: Adam is never used; the attack is basic-iterative",),
    ),
    *_descent("adam-basic-iterative", "AdamBasicIterativeAttack", ("linf",)),
    *_descent(
        "mi-fgsm",
        "MomentumIterativeFastGradientMethod",
        faults=("mi_fgsm.py:38: sums gradients up without their sizes; the paper divides each by its L1 norm",),
    ),
    *_descent("fast-gradient", "FastGradientAttack", goals=UNTARGETED),
    Row(
        name="sparse-l1-descent",
        attack="SparseL1DescentAttack",
        kind="budget",
        norms=("l1",),
        draws="random_start",
        mixes="while one image is outside its ball, those inside are pushed outwards",
        faults=("sparse_l1_descent_attack.py:52: the projection enlarges what is inside the ball",),
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
    *_family(
        "contrast-reduction",
        "ContrastReductionAttack",
        ("l2",),
        kind="budget",
        goals=ANY,
        faults=("contrast.py: reduces the contrast by eps, whether or not less would do",),
    ),
    Row(
        name="virtual-adversarial",
        attack="VirtualAdversarialAttack",
        kind="budget",
        norms=("l2",),
        goals=UNTARGETED,
        needs=("steps",),
        draws="always",
        defaults={"steps": 10},
        faults=(
            "virtual_adversarial_attack.py:101: NaN where the gradient vanishes, as float32 has no 1e-64",
            "xi=1e-6 is near the resolution of float32: rounding changes the direction",
        ),
    ),
    Row(
        name="gen-attack",
        attack="GenAttack",
        kind="budget",
        norms=("linf",),
        goals=TARGETED,
        needs=("targets",),
        draws="always",
        faults=("gen_attack.py:158: takes a logit for its exponential; ValueError where a logit is above 88",),
    ),
)

_BLACK = "where it finds nothing it returns a black image"
_BRENDEL_BETHGE: dict[str, Any] = {
    "kind": "minimum norm",
    "needs": ("starting points", "numba"),
    "draws": "always",
    "mixes": "the trust region grows with the size of the batch",
    "start": "linear-search-blended-uniform-noise",
    "faults": (
        "brendel_bethge.py:165,1836,2061: endless loops that no time limit reaches, as they never ask the model",
        "brendel_bethge.py:431: AssertionError for the batch where one image has no starting point",
    ),
}
_DEEPFOOL: dict[str, Any] = {
    "kind": "minimum norm",
    "goals": ANY,
    "faults": ("deepfool.py:118: leaves the first class for the nearest; other goals only tell it when to stop",),
}

_GRADIENT = (
    Row(
        name="ddn",
        attack="DDNAttack",
        kind="minimum norm",
        norms=("l2",),
        draws="always",
        faults=("ddn.py:25: a random direction where the gradient vanishes",),
    ),
    Row(
        name="l2-carlini-wagner",
        attack="L2CarliniWagnerAttack",
        kind="minimum norm",
        norms=("l2",),
        mixes="abort_early watches the loss of the whole batch",
        black=True,
        faults=(f"carlini_wagner.py:147: {_BLACK}",),
    ),
    Row(
        name="ead",
        attack="EADAttack",
        kind="minimum norm",
        norms=("l1",),
        mixes="abort_early watches the loss of the whole batch",
        black=True,
        faults=(f"ead.py:144: {_BLACK}", "ead.py:118: asks the model about images outside of [0, 1]"),
    ),
    *_fmn("l0", "fast_minimum_norm.py:501: IndexError once the radius reaches all values, soon on small images"),
    *_fmn("l1"),
    *_fmn("l2", "fast_minimum_norm.py:398: the projection does nothing, so its results are far from the nearest"),
    Row(name="linf-fmn", attack="LInfFMNAttack", kind="minimum norm", norms=("linf",), draws="init_attack"),
    *_family("brendel-bethge", "BrendelBethgeAttack", ("l0", "l1", "l2"), **_BRENDEL_BETHGE),
    Row(name="linf-brendel-bethge", attack="LinfinityBrendelBethgeAttack", norms=("linf",), **_BRENDEL_BETHGE),
    *_family("deepfool", "DeepFoolAttack", ("l2", "linf"), **_DEEPFOOL),
    Row(
        name="newtonfool",
        attack="NewtonFoolAttack",
        kind="minimum norm",
        norms=("l2",),
        goals=UNTARGETED,
        faults=(
            "newtonfool.py:100: divides by the fourth power of the gradient's norm, the paper by the second",
            "newtonfool.py:100: NaN where the gradient vanishes",
        ),
    ),
)

_DECISION = (
    _search("inversion", "InversionAttack"),
    _search("binary-search-contrast-reduction", "BinarySearchContrastReductionAttack"),
    _search("linear-search-contrast-reduction", "LinearSearchContrastReductionAttack"),
    _search("gaussian-blur", "GaussianBlurAttack", needs=("4-D input",)),
    _search("linear-search-blended-uniform-noise", "LinearSearchBlendedUniformNoiseAttack", draws="always"),
    _search("salt-and-pepper-noise", "SaltAndPepperNoiseAttack", ("l2",), draws="always"),
    _search(
        "dataset",
        "DatasetAttack",
        needs=("feed",),
        draws="always",
        mixes="an image is offered as many of the fed images as its batch is long",
        faults=("dataset_attack.py:95: IndexError where fewer images were fed than the batch has",),
    ),
    _search(
        "binarization-refinement",
        "BinarizationRefinementAttack",
        needs=("starting points",),
        draws="always",
        mixes="one image whose starting point is no longer adversarial ends the batch",
        start="salt-and-pepper-noise",
        faults=("binarization.py:119: ValueError unless the model rounds its images at the threshold",),
    ),
    _search(
        "boundary",
        "BoundaryAttack",
        ("l2",),
        needs=("starting points",),
        draws="always",
        mixes="all images of a batch share their random directions",
        start="linear-search-blended-uniform-noise",
        start_parameters={"steps": 50},
        faults=("boundary_attack.py:132: ValueError for the batch where one image has no starting point",),
    ),
    _search(
        "hop-skip-jump",
        "HopSkipJumpAttack",
        ("l2", "linf"),
        needs=("starting points",),
        draws="always",
        mixes="directions and gradients are normalised over the whole batch",
        start="linear-search-blended-uniform-noise",
        start_parameters={"steps": 50},
        faults=(
            "hop_skip_jump.py:131: ValueError for the batch where one image has no starting point",
            "hop_skip_jump.py:169: endless loop where one image of the batch stops being adversarial",
            "hop_skip_jump.py:245: holds 800 noise images at once, about 2 GB for an image of 224 x 224",
        ),
    ),
    _search(
        "pointwise",
        "PointwiseAttack",
        needs=("starting points",),
        draws="always",
        start="salt-and-pepper-noise",
        faults=(
            "pointwise.py:32: takes no eps",
            "pointwise.py:77: AssertionError for the batch where one image has no starting point",
            "pointwise.py:149: asks the model several times for every changed value: hours for a photograph",
        ),
    ),
    Row(
        name="spatial",
        attack="SpatialAttack",
        kind="plain",
        norms=_MEASURED,
        goals=ANY,
        needs=("4-D input",),
        draws="no grid_search",
        faults=("spatial_attack.py:113: returns the first turn of the grid that fools, from -30 degrees up",),
    ),
)

ROWS: dict[str, Row] = {row.name: row for row in (*_BUDGET, *_GRADIENT, *_DECISION)}
"""Name -> row."""
