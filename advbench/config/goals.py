"""Parse and check a goal. Does not import torch."""

import re
from dataclasses import dataclass

from advbench.catalog.cards import GOALS, LABEL_GOALS
from advbench.catalog.registry import near_misses
from advbench.errors import UserError

DEFAULT_GOAL = "topk-exclusion:7"
"""The goal if none is named."""
DEFAULT_LABEL_GOAL = "any-label-flips"
"""The goal for a multi-label model if none is named."""
NO_LABEL = "none"
"""The word that means no label at all in the goal labels-equal, unless a label has that name."""

GOAL_FORMS = {name: f"{name}:{argument}" if argument else name for name, argument in GOALS.items()}
"""Goal -> its syntax."""


def _in_words(forms: list[str]) -> str:
    return f"{', '.join(forms[:-1])} or {forms[-1]}"


FORMS_TEXT = _in_words([form for name, form in GOAL_FORMS.items() if name not in LABEL_GOALS])
"""The syntax of the single-label goals, for the help of an option."""
LABEL_FORMS_TEXT = _in_words([GOAL_FORMS[name] for name in LABEL_GOALS])
"""The syntax of the multi-label goals."""


@dataclass(frozen=True)
class GoalSpec:
    """A goal as the user writes it, before the model's classes are known."""

    kind: str
    """A key of `GOAL_FORMS`."""
    k: int = 1
    """The k of topk-exclusion and label-out-of-topk."""
    classes: tuple[str, ...] = ()
    """Classes of targeted and ordered-topk, labels of the multi-label goals: names or indices, in order."""

    @property
    def several(self) -> bool:
        """Whether it is a goal for multi-label models."""
        return self.kind in LABEL_GOALS

    def __str__(self) -> str:
        if self.classes:
            return f"{self.kind}:{','.join(self.classes)}"
        return f"{self.kind}:{self.k}" if GOALS[self.kind] else self.kind


def goal_with_k(goal: str | None, k: int | None) -> str | None:
    """Parse a goal whose k is given separately; top-k exclusion if no other goal is named.

    Raises:
        UserError: The goal already has a k, or takes none.

    Example:
        >>> goal_with_k(None, 7), goal_with_k("label-out-of-topk", 5), goal_with_k("untargeted", None)
        ('topk-exclusion:7', 'label-out-of-topk:5', 'untargeted')
    """
    if k is None:
        return goal
    if goal not in (None, "topk-exclusion", "label-out-of-topk"):
        raise UserError(f"--k {k} does not go with --goal {goal}", hint="leave one of them out")
    return f"{goal or 'topk-exclusion'}:{k}"


def parse_goal(text: str) -> GoalSpec:
    """Parse a goal; classes stay as written until the model is loaded.

    Raises:
        UserError: The syntax is wrong, or k is not a positive integer.

    Example:
        >>> parse_goal("topk-exclusion:7")
        GoalSpec(kind='topk-exclusion', k=7, classes=())
        >>> parse_goal("ordered-topk:tiger, 12").classes
        ('tiger', '12')
        >>> parse_goal("label-off:boat").several
        True
    """
    kind, _, argument = text.strip().partition(":")
    kind, argument = kind.strip().lower(), argument.strip()
    if kind not in GOAL_FORMS:
        close = near_misses(kind, GOAL_FORMS)
        guess = f"did you mean {GOAL_FORMS[close[0]]}? " if close else ""
        raise UserError(f"unknown goal '{text}'", hint=f"{guess}goals: {', '.join(GOAL_FORMS.values())}")
    if not GOALS[kind]:
        if argument:
            raise UserError(f"goal '{kind}' takes no argument, got '{argument}'")
        return GoalSpec(kind)
    if not argument:
        raise UserError(f"goal '{kind}' needs an argument", hint=f"write it as {GOAL_FORMS[kind]}")
    if GOALS[kind] != "K":
        # A class name may contain a comma, so a single target is not split.
        parts = [argument] if GOALS[kind] in ("CLASS", "LABEL") else [part.strip() for part in argument.split(",")]
        if not all(parts):
            raise UserError(f"goal '{text}' has an empty class name", hint=f"write it as {GOAL_FORMS[kind]}")
        return GoalSpec(kind, classes=tuple(parts))
    if not re.fullmatch("0*[1-9][0-9]{0,8}", argument):
        raise UserError(f"goal '{kind}': K is a whole number >= 1, got '{argument}'", hint="such as topk-exclusion:7")
    return GoalSpec(kind, k=int(argument))
