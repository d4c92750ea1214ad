"""The names that others give to what is measured: NIST, MITRE, OWASP, and article 15 of the AI Act. No torch.

Which number can serve as evidence of what; nothing here says that anything conforms to anything.
"""

from collections.abc import Iterable
from typing import NamedTuple

from advbench.analysis.metrics import NOISE
from advbench.catalog import ATTACKS
from advbench.catalog.cards import Access

AS_OF = "2026-11-29"
"""Day on which the names and editions below were last compared with what is published."""


class Scheme(NamedTuple):
    """A list of names kept by somebody else."""

    name: str
    """Name by which the list is quoted."""
    edition: str
    """Edition that was read."""
    publisher: str
    """Organisation that keeps the list."""
    url: str
    """Address at which it is published."""


NIST = Scheme("NIST AI 100-2", "E2025, March 2025", "NIST", "https://doi.org/10.6028/NIST.AI.100-2e2025")
ATLAS = Scheme("MITRE ATLAS", "names of November 2026", "MITRE", "https://atlas.mitre.org")
CWE = Scheme("CWE", "4.17", "MITRE", "https://cwe.mitre.org")
OWASP = Scheme(
    "OWASP Machine Learning Security Top Ten",
    "2023 draft",
    "OWASP",
    "https://owasp.org/www-project-machine-learning-security-top-10/",
)
SCHEMES = (NIST, ATLAS, CWE, OWASP)
"""The lists, in the order in which reports quote them."""


class Reference(NamedTuple):
    """One entry of such a list."""

    scheme: Scheme
    """List that it stands in."""
    id: str
    """Identifier of the entry."""
    title: str
    """Title of the entry."""
    when: tuple[Access, ...] = ()
    """Kinds of access to the model of which an attack must have one for the entry to be about it; empty: any."""


WEAKNESS = Reference(
    CWE,
    "CWE-1039",
    "Inadequate Detection or Handling of Adversarial Input Perturbations in Automated Recognition Mechanism",
)
"""The weakness that a low robust accuracy is evidence of."""
_NATURAL = (f"{NOISE} ", "corruption/")
_BLACK_BOX: tuple[Access, ...] = ("scores", "decisions")
REFERENCES = (
    Reference(NIST, "NISTAML.022", "Evasion"),
    Reference(NIST, "NISTAML.025", "Black-box Evasion", when=_BLACK_BOX),
    Reference(ATLAS, "AML.T0015", "Evade AI Model"),
    Reference(ATLAS, "AML.T0043", "Craft Adversarial Data"),
    Reference(ATLAS, "AML.T0043.000", "Craft Adversarial Data: White-Box Optimization", when=("gradients",)),
    Reference(ATLAS, "AML.T0043.001", "Craft Adversarial Data: Black-Box Optimization", when=_BLACK_BOX),
    WEAKNESS,
    Reference(OWASP, "ML01:2023", "Input Manipulation Attack"),
)
"""Every entry that can be about a number of a run."""


def access_of(attack: str) -> Access | None:
    """The most that an attack asks of a model; None for one that says nothing of it.

    Args:
        attack: Name of the attack, with or without parameters behind it.

    Example:
        >>> access_of("pgd"), access_of("square"), access_of("mine")
        ('gradients', 'scores', None)
    """
    name = attack.partition(" ")[0]
    return ATTACKS[name].access if name in ATTACKS else None


def references(attacks: Iterable[str]) -> tuple[Reference, ...]:
    """The entries that are about a number.

    Args:
        attacks: Names of the attacks that it is made of.

    Returns:
        The entries in the order of `REFERENCES`; none of noise and corruptions, which nobody aims.

    Example:
        >>> [reference.id for reference in references(["square"])][:2]
        ['NISTAML.022', 'NISTAML.025']
        >>> references(["noise"])
        ()
    """
    found = {access_of(attack) for attack in attacks if attack != NOISE and not attack.startswith(_NATURAL)}
    return tuple(each for each in REFERENCES if found and (not each.when or found & set(each.when)))


class Support(NamedTuple):
    """A number of a report, and the paragraph of article 15 of the AI Act that it can be evidence for."""

    number: str
    """Kind of number, as tables head it."""
    paragraph: str
    """Paragraph of the article."""
    subject: str
    """Subject of the paragraph."""
    can: str
    """Statement that the number supports."""
    cannot: str
    """Statement that it does not support, and that is easily read into it."""


AI_ACT = "Regulation (EU) 2024/1689 (AI Act), article 15"
"""Name of the article."""
ARTICLE_15 = (
    Support(
        "clean accuracy",
        "15(1), 15(3)",
        "an appropriate level of accuracy, and its declaration in the instructions for use",
        "the accuracy on these images, with its interval",
        "the accuracy on the data of the intended purpose, unless the images are a sample of them",
    ),
    Support(
        "robust accuracy",
        "15(1), 15(5)",
        "robustness; measures against inputs made to mislead the model (adversarial examples, model evasion)",
        "a share of these images that is certainly not exceeded under perturbations of this size: each image that "
        "counts as broken has a perturbation that was measured",
        "that these images withstand every attack: another may find what these did not",
    ),
    Support(
        "proved accuracy",
        "15(1), 15(5)",
        "robustness; measures against inputs made to mislead the model",
        "a share of images that no perturbation of this size changes, whatever the attack",
        "anything about other sizes, norms, or changes of an image",
    ),
    Support(
        "median",
        "15(5)",
        "measures against inputs made to mislead the model",
        "how large a perturbation was enough for half of the images",
        "that smaller ones are harmless",
    ),
    Support(
        "noise",
        "15(4)",
        "resilience to errors, faults and inconsistencies",
        "the behaviour under random noise of this size, one of many disturbances that nobody intends",
        "resilience to blur, weather, sensors or shifted data",
    ),
    Support(
        "corruption error",
        "15(4)",
        "resilience to errors, faults and inconsistencies",
        "the behaviour under these corruptions, at these severities, as they are made on the computer",
        "resilience to other disturbances, to sensors, or to shifted data",
    ),
)
"""What each kind of number can support."""
NO_CONFORMITY = (
    "The tables say for which requirement a number can be offered as evidence. They do not say that a requirement is "
    "met, and nothing in this report states conformity: what is appropriate depends on the intended purpose, and the "
    "article is about high-risk AI systems as a whole, not about a network alone. Paragraph 15(2) is addressed to the "
    "Commission; data poisoning, model poisoning, confidentiality attacks and feedback loops are not tested here."
)
"""What the table does not say."""
