"""Attacks on image classifiers: any goal, any norm, any algorithm that supports the norm.

An attack takes a model (any callable from images in [0, 1] to logits), images, and a goal, and returns candidate
images. Whether they succeed is for the caller to judge.

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
from attacks.apgd import APGD
from attacks.cap import Capped, capped
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
from attacks.mifgsm import MIFGSM
from attacks.noise import Noise
from attacks.norms import L0, L1, L2, NORMS, Linf, Masked, Norm
from attacks.pdpgd import PDPGD
from attacks.pgd import PGD
from attacks.protocols import Attack, AttackError, BudgetAttack, MinNormAttack, Model
from attacks.search import EpsSearch, binary_search_eps
from attacks.searches.bisection import Bisection
from attacks.sigma_zero import SigmaZero
from attacks.spatial import Spatial
from attacks.square import Square
from attacks.standard import Standard
from attacks.standins.defences import expectation, straight_through
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
from attacks.universal.universal import FitState, UniversalPerturbation
from attacks.universal.universal_deepfool import UniversalDeepFool

ATTACKS: dict[str, type[BudgetAttack] | type[MinNormAttack]] = {
    "noise": Noise,
    "fgsm": FGSM,
    "pgd": PGD,
    "apgd": APGD,
    "mifgsm": MIFGSM,
    "difgsm": DIFGSM,
    "tifgsm": TIFGSM,
    "square": Square,
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
    "topk": TopK,
    "hop_skip_jump": HopSkipJump,
    "spatial": Spatial,
}
"""Name -> class; the name is also the attack's file and its name on the command line and in reports."""

__all__ = [
    "APGD",
    "ATTACKS",
    "CW",
    "DDN",
    "DIFGSM",
    "FAB",
    "FGSM",
    "FMN",
    "L0",
    "L1",
    "L2",
    "MIFGSM",
    "NORMS",
    "PDPGD",
    "PGD",
    "TIFGSM",
    "Adaptive",
    "AdaptiveReport",
    "AnyLabelFlips",
    "Attack",
    "AttackError",
    "Bisection",
    "BudgetAttack",
    "Capped",
    "DeepFool",
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
    "Perturbation",
    "SigmaZero",
    "Spared",
    "Spatial",
    "Square",
    "Standard",
    "Stored",
    "SuperDeepFool",
    "Targeted",
    "Thorough",
    "TopK",
    "TopKExclusion",
    "Tried",
    "Universal",
    "UniversalDeepFool",
    "UniversalPerturbation",
    "Untargeted",
    "WorstCase",
    "binary_search_eps",
    "capped",
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
