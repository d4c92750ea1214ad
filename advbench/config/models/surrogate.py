"""Models that attacks are made on, in place of the one that is judged. No torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from advbench.config.fields import Strict, listed, named
from advbench.config.models.model import ModelSpec

SURROGATE = "surrogate"
"""Key, among the parameters of an attack, for the label of the surrogate that it is made on."""
Average = Literal["logits", "probabilities", "losses"]
"""What of the members of an ensemble is averaged."""


class SurrogateSpec(Strict):
    """What attacks are made on in place of the model that is judged: another model, or several as one.

    Example:
        >>> SurrogateSpec(models=["vgg16", "vgg19"]).label
        'vgg16 + vgg19'
    """

    models: Annotated[
        tuple[Annotated[ModelSpec, BeforeValidator(named)], ...], BeforeValidator(listed), Field(min_length=1)
    ]
    """Models, as names or tables; several are an ensemble."""
    average: Average = "logits"
    """What of the members of an ensemble is averaged: logits, probabilities or losses; see `attacks.ensemble`."""
    label: str = ""
    """Name in records and reports; default: the labels of the models, with plus signs between."""

    @model_validator(mode="after")
    def _label(self) -> "SurrogateSpec":
        if not self.label:
            names = " + ".join(model.label for model in self.models)
            how = "" if self.average == "logits" or len(self.models) == 1 else f", {self.average}"
            object.__setattr__(self, "label", f"{names}{how}")
        return self


def _surrogates(values: Any, info: ValidationInfo) -> Any:
    """Names, tables and lists of them as tables of surrogates; the label of a model of the suite stands for it."""
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
"""Surrogates of a suite."""
