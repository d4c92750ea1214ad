"""The attacks of Foolbox 3.3.4: rows for the table of attacks. Plain data.

A copy of what `attacks.foolbox.ROWS` says, because importing that would import torch; a test compares the two.
"""

from typing import Literal

UNTARGETED = ("untargeted",)
TARGETED = ("targeted",)
CLASSES = (*UNTARGETED, *TARGETED)
ANY = (*CLASSES, "topk-exclusion", "label-out-of-topk", "ordered-topk")
EACH = ("l2", "l1", "linf", "l0")

FOOLBOX: list[tuple[str, Literal["budget", "minimum norm"], tuple[str, ...], tuple[str, ...]]] = [
    ("l1-pgd", "budget", ("l1",), CLASSES),
    ("l2-pgd", "budget", ("l2",), CLASSES),
    ("linf-pgd", "budget", ("linf",), CLASSES),
    ("l1-adam-pgd", "budget", ("l1",), CLASSES),
    ("l2-adam-pgd", "budget", ("l2",), CLASSES),
    ("linf-adam-pgd", "budget", ("linf",), CLASSES),
    ("l1-basic-iterative", "budget", ("l1",), CLASSES),
    ("l2-basic-iterative", "budget", ("l2",), CLASSES),
    ("linf-basic-iterative", "budget", ("linf",), CLASSES),
    ("l1-adam-basic-iterative", "budget", ("l1",), CLASSES),
    ("l2-adam-basic-iterative", "budget", ("l2",), CLASSES),
    ("linf-adam-basic-iterative", "budget", ("linf",), CLASSES),
    ("l1-mi-fgsm", "budget", ("l1",), CLASSES),
    ("l2-mi-fgsm", "budget", ("l2",), CLASSES),
    ("linf-mi-fgsm", "budget", ("linf",), CLASSES),
    ("l1-fast-gradient", "budget", ("l1",), UNTARGETED),
    ("l2-fast-gradient", "budget", ("l2",), UNTARGETED),
    ("linf-fast-gradient", "budget", ("linf",), UNTARGETED),
    ("sparse-l1-descent", "budget", ("l1",), CLASSES),
    ("l2-additive-gaussian-noise", "budget", ("l2",), ANY),
    ("l2-repeated-additive-gaussian-noise", "budget", ("l2",), ANY),
    ("l2-additive-uniform-noise", "budget", ("l2",), ANY),
    ("l2-repeated-additive-uniform-noise", "budget", ("l2",), ANY),
    ("l2-clipping-aware-additive-gaussian-noise", "budget", ("l2",), ANY),
    ("l2-clipping-aware-repeated-additive-gaussian-noise", "budget", ("l2",), ANY),
    ("l2-clipping-aware-additive-uniform-noise", "budget", ("l2",), ANY),
    ("l2-clipping-aware-repeated-additive-uniform-noise", "budget", ("l2",), ANY),
    ("linf-additive-uniform-noise", "budget", ("linf",), ANY),
    ("linf-repeated-additive-uniform-noise", "budget", ("linf",), ANY),
    ("l2-contrast-reduction", "budget", ("l2",), ANY),
    ("virtual-adversarial", "budget", ("l2",), UNTARGETED),
    ("gen-attack", "budget", ("linf",), TARGETED),
    ("ddn", "minimum norm", ("l2",), CLASSES),
    ("l2-carlini-wagner", "minimum norm", ("l2",), CLASSES),
    ("ead", "minimum norm", ("l1",), CLASSES),
    ("l0-fmn", "minimum norm", ("l0",), CLASSES),
    ("l1-fmn", "minimum norm", ("l1",), CLASSES),
    ("l2-fmn", "minimum norm", ("l2",), CLASSES),
    ("linf-fmn", "minimum norm", ("linf",), CLASSES),
    ("l0-brendel-bethge", "minimum norm", ("l0",), CLASSES),
    ("l1-brendel-bethge", "minimum norm", ("l1",), CLASSES),
    ("l2-brendel-bethge", "minimum norm", ("l2",), CLASSES),
    ("linf-brendel-bethge", "minimum norm", ("linf",), CLASSES),
    ("l2-deepfool", "minimum norm", ("l2",), ANY),
    ("linf-deepfool", "minimum norm", ("linf",), ANY),
    ("newtonfool", "minimum norm", ("l2",), UNTARGETED),
    ("inversion", "minimum norm", EACH, ANY),
    ("binary-search-contrast-reduction", "minimum norm", EACH, ANY),
    ("linear-search-contrast-reduction", "minimum norm", EACH, ANY),
    ("gaussian-blur", "minimum norm", EACH, ANY),
    ("linear-search-blended-uniform-noise", "minimum norm", EACH, ANY),
    ("salt-and-pepper-noise", "minimum norm", ("l2",), ANY),
    ("dataset", "minimum norm", EACH, ANY),
    ("binarization-refinement", "minimum norm", EACH, ANY),
    ("boundary", "minimum norm", ("l2",), ANY),
    ("hop-skip-jump", "minimum norm", ("l2", "linf"), ANY),
    ("pointwise", "minimum norm", EACH, ANY),
    ("spatial", "minimum norm", EACH, ANY),
]
"""Name, kind, norms (the default first), goals that it takes."""
