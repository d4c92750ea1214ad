"""What options of `advbench run` change about its suite: other models and data, more attacks, fewer images."""

from typing import Any

from advbench.catalog import ATTACKS
from advbench.cli.model_options import announce, description
from advbench.config.fields import Prove
from advbench.config.model_description import NOTHING
from advbench.config.models.model import ModelSpec
from advbench.config.suite import AttackSpec, Suite
from advbench.config.suite_files import on_other_models, on_surrogates, refuse_code
from advbench.errors import UserError

ADAPTIVE = "adaptive"
"""Name of the attack that `--adaptive` adds."""


def with_models(suite: Suite, names: tuple[str, ...], options: dict[str, Any]) -> Suite:
    """The suite with the models of the command line, if any were given."""
    about = description(options, names[0] if len(names) == 1 else None)
    if about != NOTHING and len(names) != 1:
        raise UserError("what is said of a model needs one --model", hint="in a suite each model has its own table")
    if not names:
        return suite
    for name in names:
        announce(name, about)
    return on_other_models(suite, tuple(ModelSpec(name=name, **about.said()) for name in names))


def with_surrogates(suite: Suite, names: tuple[str, ...], *, allow_code: bool) -> Suite:
    """The suite with attacks crafted on surrogate models, if any were given."""
    if not names:
        return suite
    suite = on_surrogates(suite, names)
    if not allow_code:
        refuse_code(suite)
    return suite


def with_proofs(suite: Suite) -> Suite:
    """The suite with proofs, using its own limits or the default ones."""
    return suite if suite.prove else suite.model_copy(update={"prove": Prove()})


def with_adaptive(suite: Suite) -> Suite:
    """The suite with the adaptive attack added, in those of its norms that the attack supports."""
    norms = [norm for norm in suite.norms if norm in ATTACKS[ADAPTIVE].norms]
    if any(attack.name == ADAPTIVE for attack in suite.attacks):
        return suite
    if not norms:
        works = ", ".join(ATTACKS[ADAPTIVE].norms)
        raise UserError(
            f"--adaptive supports {works}, and the suite uses {', '.join(suite.norms)}",
            hint=f"norms = ['{ATTACKS[ADAPTIVE].norms[0]}']",
        )
    return suite.model_copy(update={"attacks": (*suite.attacks, AttackSpec(name=ADAPTIVE, norms=tuple(norms)))})


def limited(suite: Suite, limit: int | None, **given: Any) -> Suite:
    """The suite with the changes of the command line."""
    changes: dict[str, Any] = {name: value for name, value in given.items() if value}
    if limit is not None:
        changes["images"] = min(limit, suite.images or limit)
        changes["datasets"] = tuple(
            data.model_copy(update={"images": min(limit, data.images)}) if data.images else data
            for data in suite.datasets
        )
    return suite.model_copy(update=changes)
