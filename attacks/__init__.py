"""Attacks on image classifiers: any goal, any norm, any algorithm that supports the norm.

An attack takes a model (any callable from images in [0, 1] to logits), images, and a goal, and returns candidate
images. Whether these succeed is for the caller to judge.

Example:
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
    >>> x = torch.rand(2, 3, 2, 2)
    >>> goal = Untargeted(model(x).argmax(1))
    >>> x_adv = PGD(norm=Linf(), steps=40)(model, x, goal, eps=8 / 255)
    >>> bool((Linf().measure(x_adv - x) <= 8 / 255 + 1e-6).all())
    True
    >>> nearest = FMN(norm=L2())(model, x, TopKExclusion.from_logits(model(x), k=2))
    >>> nearest.shape
    torch.Size([2, 3, 2, 2])
"""

from attacks import foolbox
from attacks.adaptive import Adaptive, AdaptiveReport, Tried
from attacks.adba import ADBA
from attacks.apgd import APGD
from attacks.bsr import BSR
from attacks.cap import Capped, capped
from attacks.closest import Closest
from attacks.compose import MultiTargeted, WorstCase, multi_targeted, restarts, worst_case
from attacks.cw import CW
from attacks.ddn import DDN
from attacks.deepfool import DeepFool
from attacks.difgsm import DIFGSM
from attacks.fab import FAB
from attacks.fgsm import FGSM
from attacks.fmn import FMN
from attacks.geometry.quantize import quantize
from attacks.goals import (
    AnyLabelFlips,
    Goal,
    LabelOff,
    LabelOn,
    LabelOutOfTopK,
    LabelsEqual,
    OrderedTopK,
    Spared,
    Targeted,
    TopKExclusion,
    Untargeted,
)
from attacks.hop_skip_jump import HopSkipJump
from attacks.masking import MaskedEach, masked, masked_each
from attacks.mef import MEF
from attacks.mifgsm import MIFGSM
from attacks.noise import Noise
from attacks.norms import L0, L1, L2, NORMS, Linf, Masked, Norm, Patched
from attacks.patch import Patch
from attacks.pdpgd import PDPGD
from attacks.pgd import PGD
from attacks.protocols import Attack, AttackError, BudgetAttack, MinNormAttack, Model
from attacks.search import EpsSearch, binary_search_eps
from attacks.searches.bisection import Bisection
from attacks.sia import SIA
from attacks.sigma_zero import SigmaZero
from attacks.sparse_rs import SparseRS
from attacks.spatial import Spatial
from attacks.spgd import SPGD
from attacks.square import Square
from attacks.standard import Standard
from attacks.standins.defences import expectation, straight_through
from attacks.standins.ensemble import Ensemble, ensemble
from attacks.standins.fast import Fast, fast
from attacks.standins.inside import Inside, inside
from attacks.standins.jpeg import jpeg
from attacks.standins.twin import with_gradients_of
from attacks.stored import Stored, stored
from attacks.superdeepfool import SuperDeepFool
from attacks.thorough import Thorough
from attacks.tifgsm import TIFGSM
from attacks.topk import TopK
from attacks.universal.fooling import FoolingCounts, fooled
from attacks.universal.perturbation import Perturbation, Universal
from attacks.universal.placing import Placing
from attacks.universal.sticker import Sticker, Stuck
from attacks.universal.universal import FitState, UniversalPerturbation
from attacks.universal.universal_deepfool import UniversalDeepFool
from attacks.universal.universal_patch import UniversalPatch
from attacks.vmi import VMI

ATTACKS: dict[str, type[BudgetAttack] | type[MinNormAttack]] = {
    "noise": Noise,
    "fgsm": FGSM,
    "pgd": PGD,
    "apgd": APGD,
    "mifgsm": MIFGSM,
    "difgsm": DIFGSM,
    "tifgsm": TIFGSM,
    "vmi": VMI,
    "mef": MEF,
    "sia": SIA,
    "bsr": BSR,
    "square": Square,
    "spgd": SPGD,
    "sparse_rs": SparseRS,
    "standard": Standard,
    "thorough": Thorough,
    "adaptive": Adaptive,
    "ddn": DDN,
    "fmn": FMN,
    "pdpgd": PDPGD,
    "sigma_zero": SigmaZero,
    "cw": CW,
    "deepfool": DeepFool,
    "superdeepfool": SuperDeepFool,
    "fab": FAB,
    "closest": Closest,
    "topk": TopK,
    "hop_skip_jump": HopSkipJump,
    "adba": ADBA,
    "spatial": Spatial,
    "patch": Patch,
}
"""Name -> class; the name is also the attack's file and its name on the command line and in reports."""

__all__ = [
    "ADBA",
    "APGD",
    "ATTACKS",
    "BSR",
    "CW",
    "DDN",
    "DIFGSM",
    "FAB",
    "FGSM",
    "FMN",
    "L0",
    "L1",
    "L2",
    "MEF",
    "MIFGSM",
    "NORMS",
    "PDPGD",
    "PGD",
    "SIA",
    "SPGD",
    "TIFGSM",
    "VMI",
    "Adaptive",
    "AdaptiveReport",
    "AnyLabelFlips",
    "Attack",
    "AttackError",
    "Bisection",
    "BudgetAttack",
    "Capped",
    "Closest",
    "DeepFool",
    "Ensemble",
    "EpsSearch",
    "Fast",
    "FitState",
    "FoolingCounts",
    "Goal",
    "HopSkipJump",
    "Inside",
    "LabelOff",
    "LabelOn",
    "LabelOutOfTopK",
    "LabelsEqual",
    "Linf",
    "Masked",
    "MaskedEach",
    "MinNormAttack",
    "Model",
    "MultiTargeted",
    "Noise",
    "Norm",
    "OrderedTopK",
    "Patch",
    "Patched",
    "Perturbation",
    "Placing",
    "SigmaZero",
    "Spared",
    "SparseRS",
    "Spatial",
    "Square",
    "Standard",
    "Sticker",
    "Stored",
    "Stuck",
    "SuperDeepFool",
    "Targeted",
    "Thorough",
    "TopK",
    "TopKExclusion",
    "Tried",
    "Universal",
    "UniversalDeepFool",
    "UniversalPatch",
    "UniversalPerturbation",
    "Untargeted",
    "WorstCase",
    "binary_search_eps",
    "capped",
    "ensemble",
    "expectation",
    "fast",
    "foolbox",
    "fooled",
    "inside",
    "jpeg",
    "masked",
    "masked_each",
    "multi_targeted",
    "quantize",
    "restarts",
    "stored",
    "straight_through",
    "with_gradients_of",
    "worst_case",
]
