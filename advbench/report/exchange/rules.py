"""The rules of a SARIF report: one for each gate and for each trust check, with its help. No torch."""

from typing import Any, NamedTuple

from advbench.analysis.verdict import Gate
from advbench.records.flag import CHECKS, Flag
from advbench.report.exchange.schemes import CWE, WEAKNESS

_TAGS = ["adversarial-robustness", "external/cwe/cwe-1039"]
"""Tags of rules about robustness; GitHub reads the weakness from the second."""
LEVELS = {"E": "error", "F": "warning", "I": "note"}
"""Severity of a trust flag -> level of its result."""


class Help(NamedTuple):
    """Name and text of a rule."""

    name: str
    """Name in one word."""
    short: str
    """Requirement in one sentence."""
    help: str
    """Advice on a failure."""


GATES: dict[Gate, Help] = {
    "min_robust_accuracy": Help(
        "RobustAccuracyTooLow",
        "Robust accuracy in the worst case over all attacks is at least what the suite asks for.",
        "The share of images that are classified correctly and that no attack of the run broke within eps is below the "
        "gate. Look at the broken images in `advbench report DIR --format html`; adversarial training and larger "
        "margins raise it, and a gate that was never reached may be too high.",
    ),
    "min_proved_accuracy": Help(
        "ProvedAccuracyTooLow",
        "Proved accuracy is at least what the suite asks for.",
        "Of too few images it is proved that nothing within eps changes their class. Give the proofs more time "
        "(`prove.seconds`, `prove.domains`), a smaller eps, or a network that is easier to prove.",
    ),
    "max_open": Help(
        "TooManyOpenImages",
        "Few images are neither broken nor proved.",
        "Between what attacks broke and what was proved lies a gap larger than the gate allows. Stronger attacks and "
        "more time for the proofs close it.",
    ),
    "max_corruption_error": Help(
        "CorruptionErrorTooLarge",
        "The mean error under common corruptions is at most what the suite allows.",
        "Too many images are misclassified under noise, blur, weather or compression. The heat map of `advbench report "
        "DIR --format html` shows which corruptions it is; augmentation by changes of that kind lowers it.",
    ),
    "max_drop_pp": Help(
        "RobustAccuracyDropped",
        "Robust accuracy has not dropped against the baseline by more than the suite allows.",
        "The model is less robust than the baseline by more than chance. `advbench compare BASELINE DIR` names the "
        "images that changed; `advbench baseline update DIR` accepts the change.",
    ),
    "max_unknown": Help(
        "TooManyUnknownResults",
        "At most the share of results that the suite allows is unknown.",
        "Some attacks or passes failed or took too long, so that nothing is known of their images. `advbench report "
        "DIR --format html` lists the errors; `advbench resume DIR` tries units of work again that failed.",
    ),
}
"""Gate -> its rule; the one about flags has none, since each flag is a finding itself."""
_FLAG_HELP = (
    "The check doubts the numbers that it names: severity E means not to use them, F to doubt them until the finding "
    "is understood, I that it is good to know. The message of each result says what was measured and what to do next."
)


def rules() -> list[dict[str, Any]]:
    """The rules as `reportingDescriptor` objects of SARIF: gates first, then trust checks.

    Example:
        >>> [rule["id"] for rule in rules()][:6]
        ['min_robust_accuracy', 'min_proved_accuracy', 'max_open', 'max_corruption_error', 'max_drop_pp', 'max_unknown']
    """
    gates = [_rule(gate, text, "error") for gate, text in GATES.items()]
    return gates + [_rule(name, _check(name, check.asks), "warning") for name, check in CHECKS.items()]


def rule_index() -> dict[str, int]:
    """Id of each rule -> its place among `rules`."""
    return {rule: place for place, rule in enumerate((*GATES, *CHECKS))}


def describe_flag(flag: Flag) -> str:
    """The finding of a flag and its advice, without the id that is the rule already."""
    return str(flag).partition(" ")[2]


def taxonomy() -> dict[str, Any]:
    """The list of weaknesses that rules refer to, as a `toolComponent` of SARIF."""
    return {
        "name": CWE.name,
        "version": CWE.edition,
        "organization": CWE.publisher,
        "informationUri": CWE.url,
        "shortDescription": {"text": "Common Weakness Enumeration"},
        "isComprehensive": False,
        "taxa": [{"id": WEAKNESS.id, "name": WEAKNESS.id, "shortDescription": {"text": WEAKNESS.title}}],
    }


def _check(name: str, wanted: str) -> Help:
    return Help(f"TrustCheck{name}", f"Trust check {name}: {wanted}.", _FLAG_HELP)


def _rule(name: str, text: Help, level: str) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": name,
        "name": text.name,
        "shortDescription": {"text": text.short},
        "fullDescription": {"text": text.short},
        "help": {"text": text.help, "markdown": text.help},
        "defaultConfiguration": {"level": level},
    }
    if name in CHECKS:
        return rule | {"properties": {"tags": ["measurement"]}}
    target = {"id": WEAKNESS.id, "index": 0, "toolComponent": {"name": CWE.name, "index": 0}}
    return rule | {
        "properties": {"tags": _TAGS},
        "relationships": [{"target": target, "kinds": ["relevant"]}],
    }
