"""Files that `advbench train` writes: weights whose header names their network. No code is run."""

from pathlib import Path

from advbench.catalog import MODELS
from advbench.catalog.cards import ModelCard
from advbench.catalog.registry import resolve
from advbench.catalog.user_models import FACTORY, TIMM, model_card
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.files.contents import contents_of, filled
from advbench.models.sources.user_code import own_file


def load(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load a network that `advbench train` wrote.

    Args:
        card: Card whose name is the file.
        weights: Refused, because the file holds its own weights.

    Raises:
        UserError: The file is damaged, holds only weights, or belongs to a network that is unknown or whose code would
            have to be run.
    """
    file = own_file(card, weights)
    contents = contents_of(file)
    if contents is None:
        raise UserError(
            f"{file} holds only weights, and does not say what network they belong to",
            hint="name the network: --model NAME --weights FILE",
        )
    return filled(_fresh(contents.model, file), contents, file, card.name)


def _fresh(name: str, file: Path) -> Classifier:
    """The network that a file says it belongs to."""
    if FACTORY.fullmatch(name):
        # An untrusted file must not decide what code is run.
        raise UserError(
            f"{file} belongs to a network that is built by your own code: {name}",
            hint=f"if you would run that code, name it too: --model {name} --weights {file}",
        )
    if name not in MODELS and not name.startswith(TIMM):
        raise UserError(f"{file} belongs to an unknown network: {name!r}")
    card = model_card(name)
    base: Classifier = resolve(card.builder)(card)
    return base
