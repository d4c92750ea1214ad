"""Models that attacks are made on, instead of the one that is judged. Does not import torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from advbench.catalog.user_models import model_card
from advbench.config.fields import Strict, listed, named
from advbench.config.models.model import ModelSpec

SURROGATE = "surrogate"
"""Key, among an attack's parameters, of the label of the surrogate that it is made on."""
Average = Literal["logits", "probabilities", "losses"]
"""What is averaged over the members of an ensemble."""


class SurrogateSpec(Strict):
    """A surrogate, which attacks are made on instead of the model that is judged: one model, or several as an ensemble.

    Example:
        >>> SurrogateSpec(models=["vgg16", "vgg19"]).label
        'vgg16 + vgg19'
    """

    models: Annotated[
        tuple[Annotated[ModelSpec, BeforeValidator(named)], ...], BeforeValidator(listed), Field(min_length=1)
    ]
    """Models, as names or tables; several form an ensemble."""
    average: Average = "logits"
    """What is averaged over the members of an ensemble: logits, probabilities or losses; see `attacks.ensemble`."""
    label: str = ""
    """Name in records and reports; default: the labels of the models, joined by plus signs."""

    @model_validator(mode="after")
    def _label(self) -> "SurrogateSpec":
        if not self.label:
            names = " + ".join(model.label for model in self.models)
            how = "" if self.average == "logits" or len(self.models) == 1 else f", {self.average}"
            object.__setattr__(self, "label", f"{names}{how}")
        return self


def surrogate_named(text: str) -> SurrogateSpec:
    """A surrogate from the name of a model, or of several joined by plus signs.

    Raises:
        UserError: There is no such model.

    Example:
        >>> surrogate_named("vgg13+vgg16").label
        'vgg13 + vgg16'
    """
    return SurrogateSpec(models=[{"name": model_card(part.strip()).name} for part in text.split("+")])  # type: ignore[arg-type]


def _surrogates(values: Any, info: ValidationInfo) -> Any:
    """Tables of surrogates from names, tables and lists of them; the label of a suite's model refers to it."""
    own = {model.label: model for model in info.data.get("models", ())}

    def member(value: Any) -> Any:
        return own.get(value, value) if isinstance(value, str) else value

    def table(value: Any) -> Any:
        if isinstance(value, SurrogateSpec):
            return value
        if isinstance(value, Mapping) and "models" in value:
            return {**value, "models": [member(each) for each in listed(value["models"])]}
        return {"models": [member(each) for each in listed(value)]}

    return [table(value) for value in listed(values)]


Surrogates = Annotated[tuple[SurrogateSpec, ...], BeforeValidator(_surrogates)]
"""The surrogates of a suite."""
