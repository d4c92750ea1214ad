"""A model as a suite names it. No torch."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ValidationInfo, model_validator

from advbench.catalog.user_models import model_card
from advbench.config.fields import known, listed, plain, waived, with_label
from advbench.config.model_description import NOTHING, Description, refuse_unread
from advbench.errors import UserError


class ModelSpec(Description):
    """A model of the suite; of one of your own, also what its file or its function does not say.

    Example:
        >>> ModelSpec(name="vgg16").label
        'vgg16'
        >>> ModelSpec(name="nets.py:net", num_classes=10, mean=[0.5], std=[0.25], input_size=28).about.channels
        1
    """

    name: Annotated[str, known(model_card)]
    """One that `advbench models` lists, or your own: file.py:function, net.onnx, net.keras, net.pt2, net.pt
    (TorchScript) or timm/NAME, a relative path starting at the suite file. Code is run only with --allow-code."""
    gradients_from: Annotated[str, known(model_card)] | None = None
    """A model of the same task whose gradients stand in for those that this one lacks, named as above. None: its
    own."""
    weights: Path | None = None
    """A file with the model's weights, in place of the published ones; a relative path starts at the suite file."""
    attacks: Annotated[tuple[str, ...], BeforeValidator(listed)] | None = None
    """Names of the suite's attacks that are run on it, for a model on which others cannot work; None: all of them."""
    label: str = ""
    """Name in records and reports; default: the name above."""

    @property
    def about(self) -> Description:
        """What the suite says of the model, for :func:`advbench.models.load_model`."""
        return self.over(NOTHING)

    @model_validator(mode="before")
    @classmethod
    def _label(cls, values: Any) -> Any:
        return with_label(values)

    @model_validator(mode="after")
    def _read(self, info: ValidationInfo) -> Self:
        try:
            if not waived(info, self.name):
                refuse_unread(self.name, self)
        except UserError as error:
            raise plain(error) from None
        return self
