"""The input and the output of every explanation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from advbench.config.explain import Options
from advbench.errors import UserError
from advbench.explain.figures.frame import Array
from advbench.explain.subject import Subject
from advbench.models.classifier import Classifier
from advbench.pictures.outcome import first_classes


class Scene(NamedTuple):
    """The input of every explanation."""

    model: Classifier
    """Classifier to explain."""
    picture: Subject | None
    """The picture, with or without an adversarial one; None: only explanations that need no picture."""
    options: Options
    """Options of the explanations."""
    context: tuple[tuple[str, Tensor], ...] = ()
    """Other images with their class, to compare the picture with: (name, (C, H, W))."""

    @property
    def subject(self) -> Subject:
        """The picture, which this explanation needs.

        Raises:
            UserError: There is none.
        """
        if self.picture is None:
            raise UserError("this needs a picture, but none was given", hint="name one: advbench explain PICTURE")
        return self.picture

    @property
    def first(self) -> list[int]:
        """The predicted classes of the clean and the adversarial picture."""
        with torch.no_grad():
            found: list[int] = self.model(self.subject.both).argmax(1).tolist()
        return found

    @property
    def asked(self) -> list[int]:
        """The classes to draw maps and class images for, without repeats."""
        named = [self.model.class_index(name) for name in self.options.classes]
        return list(dict.fromkeys(named or self.first))

    def title(self, what: str) -> str:
        """The title of a figure about the picture."""
        how = f" · {self.subject.how}" if self.subject.how else ""
        return f"{what} · {self.subject.name} · {self.model.name}{how}"

    def heading(self, row: int) -> str:
        """Clean or adversarial, with the predicted class."""
        with torch.no_grad():
            best = first_classes(self.model(self.subject.both[row : row + 1]), 1, self.model)[0][0]
        return f"{('clean', 'adversarial')[row]}: {best.name} {best.confidence:.0%}"


class Section(NamedTuple):
    """One explanation, ready to show."""

    name: str
    """Name, as in `--what`."""
    title: str
    """Title of the section."""
    text: str
    """How to read the section; if it is impossible, the reason."""
    figures: Mapping[str, bytes] = MappingProxyType({})
    """File name without suffix -> PNG file."""
    table: tuple[tuple[str, ...], ...] = ()
    """Rows of text, headings first; empty: no table."""


def arrays(values: Tensor) -> Array:
    """Convert a tensor for drawing."""
    return np.asarray(values.detach().cpu().numpy(), dtype=np.float32)
