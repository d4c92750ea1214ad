"""Type, goals, requirements and faults of the 58 attacks of Foolbox 3.3.4. Plain data; does not import Foolbox.

Everything here was found in Foolbox's code and verified; the tests verify it again. Faults that cannot show here are
left out: boxes other than [0, 1], TensorFlow and JAX, a list of ``epsilons``, seeds, gradients of the model's
parameters.
"""

import difflib
from typing import Any

from attacks.foolbox.budget import BUDGET
from attacks.foolbox.row import ANY, UNTARGETED, Row, family

_MEASURED = ("l2", "l1", "linf", "l0")
_STEPS: dict[str, Any] = {"kind": "minimum norm", "access": "gradients"}


def _search(name: str, attack: str, norms: tuple[str, ...] = _MEASURED, **facts: Any) -> Row:
    """A minimum-norm attack that takes any goal."""
    shared = {"kind": "minimum norm", "access": "decisions", "norms": norms, "goals": ANY}
    return Row(name=name, attack=attack, **shared | facts)


def _fmn(norm: str, *faults: str) -> tuple[Row, ...]:
    return family("fmn", "FMNAttack", (norm,), **_STEPS, draws="init_attack", faults=faults)


_BLACK = "returns a black image if it finds nothing"
_BRENDEL_BETHGE: dict[str, Any] = {
    **_STEPS,
    "needs": ("starting points", "numba"),
    "draws": "always",
    "mixes": "the trust region grows with the size of the batch",
    "start": "linear-search-blended-uniform-noise",
    "faults": (
        "brendel_bethge.py:165,1836,2061: endless loops that no time limit can stop, as they never query the model",
        "brendel_bethge.py:431: AssertionError for the batch if one image has no starting point",
    ),
}
_BB_L0 = "brendel_bethge.py:738: does not count changes of up to 1e-4"
_DEEPFOOL: dict[str, Any] = {
    **_STEPS,
    "goals": ANY,
    "faults": ("deepfool.py:118: moves from the top class to the nearest one; other goals only decide when it stops",),
}

_GRADIENT = (
    Row(
        name="ddn",
        attack="DDNAttack",
        **_STEPS,
        norms=("l2",),
        draws="always",
        faults=(
            "ddn.py:25: a random direction where the gradient vanishes",
            "ddn.py:118: returns the original image if it finds nothing",
        ),
    ),
    Row(
        name="l2-carlini-wagner",
        attack="L2CarliniWagnerAttack",
        **_STEPS,
        norms=("l2",),
        mixes="abort_early depends on the loss of the whole batch",
        black=True,
        faults=(f"carlini_wagner.py:147: {_BLACK}",),
    ),
    Row(
        name="ead",
        attack="EADAttack",
        **_STEPS,
        norms=("l1",),
        mixes="abort_early depends on the loss of the whole batch",
        black=True,
        faults=(
            f"ead.py:144: {_BLACK}",
            "ead.py:118: queries the model with images outside [0, 1]",
            'ead.py:224: decision_rule="EN" keeps the nearest by squared L2 plus a hundredth of L1',
        ),
    ),
    *_fmn(
        "l0",
        "fast_minimum_norm.py:501: IndexError once the radius reaches all values, soon on small images",
        "fast_minimum_norm.py:503: changes one value more than the radius allows, so hardly ever only one",
    ),
    *_fmn("l1"),
    *_fmn("l2", "fast_minimum_norm.py:398: the projection has no effect, so its results are far from minimal"),
    Row(name="linf-fmn", attack="LInfFMNAttack", **_STEPS, norms=("linf",), draws="init_attack"),
    *family(
        "brendel-bethge",
        "BrendelBethgeAttack",
        ("l0",),
        **_BRENDEL_BETHGE | {"faults": (*_BRENDEL_BETHGE["faults"], _BB_L0)},
    ),
    *family("brendel-bethge", "BrendelBethgeAttack", ("l1", "l2"), **_BRENDEL_BETHGE),
    Row(name="linf-brendel-bethge", attack="LinfinityBrendelBethgeAttack", norms=("linf",), **_BRENDEL_BETHGE),
    *family("deepfool", "DeepFoolAttack", ("l2", "linf"), **_DEEPFOOL),
    Row(
        name="newtonfool",
        attack="NewtonFoolAttack",
        **_STEPS,
        norms=("l2",),
        goals=UNTARGETED,
        faults=(
            "newtonfool.py:100: divides by the fourth power of the gradient's norm, the paper by the second",
            "newtonfool.py:100: NaN where the gradient vanishes",
        ),
    ),
)

_DECISION = (
    _search(
        "inversion",
        "InversionAttack",
        search="blind",
        faults=("inversion.py:40: returns the negative of the image, whether it fools or not",),
    ),
    _search(
        "binary-search-contrast-reduction",
        "BinarySearchContrastReductionAttack",
        search="blind",
        faults=("contrast_min.py:66: returns a grey image if it finds nothing",),
    ),
    _search(
        "linear-search-contrast-reduction",
        "LinearSearchContrastReductionAttack",
        search="blind",
        faults=("contrast_min.py:118: returns a grey image if it finds nothing",),
    ),
    _search("gaussian-blur", "GaussianBlurAttack", search="blind", needs=("4-D input",)),
    _search(
        "linear-search-blended-uniform-noise",
        "LinearSearchBlendedUniformNoiseAttack",
        search="blind",
        draws="always",
        faults=("blended_noise.py:93: returns noise if it finds nothing",),
    ),
    _search("salt-and-pepper-noise", "SaltAndPepperNoiseAttack", ("l2",), search="blind", draws="always"),
    _search(
        "dataset",
        "DatasetAttack",
        search="blind",
        needs=("feed",),
        draws="always",
        mixes="an image is offered only as many of the fed images as its batch has",
        faults=(
            "dataset_attack.py:95: IndexError if fewer images were fed than the batch has",
            "dataset_attack.py:111: takes the first image that fools, not the nearest",
        ),
    ),
    _search(
        "binarization-refinement",
        "BinarizationRefinementAttack",
        search="blind",
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
        faults=("boundary_attack.py:132: ValueError for the batch if one image has no starting point",),
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
            "hop_skip_jump.py:131: ValueError for the batch if one image has no starting point",
            "hop_skip_jump.py:144,184,189: AssertionError for the batch if one image stops being adversarial",
            "hop_skip_jump.py:169: endless loop if one image of the batch stops being adversarial",
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
            "pointwise.py:77: AssertionError for the batch if one image has no starting point",
            "pointwise.py:149: queries the model several times per changed value: hours for a photograph",
        ),
    ),
    Row(
        name="spatial",
        attack="SpatialAttack",
        kind="plain",
        access="decisions",
        search="blind",
        norms=_MEASURED,
        goals=ANY,
        needs=("4-D input",),
        draws="no grid_search",
        faults=(
            "spatial_attack.py:113: returns the first rotation of the grid that fools, from -30 degrees up",
            "spatial_attack_transformations.py:40: confuses height and width: non-square images are also sheared",
        ),
    ),
)

ROWS: dict[str, Row] = {row.name: row for row in (*BUDGET, *_GRADIENT, *_DECISION)}
"""Name -> row."""


def near_names(name: str) -> str:
    """A suggestion of similar names to end a message; Foolbox's class names are understood too.

    Example:
        >>> near_names("EADAttack"), near_names("zzz")
        (': did you mean ead, gen-attack, ddn?', '')
    """
    names = {row.attack.casefold(): row.name for row in ROWS.values()} | {row: row for row in ROWS}
    wanted = name.casefold().replace("_", "-").removeprefix("foolbox/")
    close = [each for each in names if wanted in each] + difflib.get_close_matches(wanted, names, n=3)
    found = dict.fromkeys(names[each] for each in close)
    return f": did you mean {', '.join(list(found)[:3])}?" if found else ""
