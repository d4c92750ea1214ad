"""What a user says of a network in a file: in Python, or in `net.toml` beside `net.onnx`."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from advbench.config.image_size import Size, checked_size
from advbench.errors import UserError


def _checked(size: Any) -> Size:
    return checked_size("input_size", size)


_Values = Annotated[tuple[float, ...], Field(min_length=1)]


class Description(BaseModel):
    """Description of a network, for what its file does not state.

    Example:
        >>> Description(input_size=32, mean=[0.5], std=[0.25]).mean
        (0.5,)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_size: Annotated[Any, AfterValidator(_checked)] = None
    """Size of the input in pixels: the side of a square, or [height, width]; None: as in the file."""
    mean: _Values | None = None
    """Mean subtracted from images in [0, 1], for each channel; one value makes the images grey. None: no mean."""
    std: _Values | None = None
    """Divisor after that, for each channel; None: no division."""
    classes: tuple[str, ...] | None = None
    """Names of the classes, in the order of the logits; None: numbers."""
    output: str | int | None = None
    """Output that holds the logits, of several: its name, or its place from 0 where outputs have no names."""
    templates: tuple[str, ...] | None = None
    """Prompts of a zero-shot classifier, with {} for the name of a class; None: those of the model."""

    @property
    def channels(self) -> int | None:
        """Number of channels of the images; None: as in the file."""
        given = [len(values) for values in (self.mean, self.std) if values]
        return max(given) if given else None

    def over(self, other: "Description") -> "Description":
        """This description, completed by another where it says nothing.

        Example:
            >>> Description(mean=[0.5]).over(Description(mean=[0.1], std=[0.25])).std
            (0.25,)
        """
        return other.model_copy(update=self.model_dump(exclude_none=True))


NOTHING = Description()
"""The description of a network of which the user says nothing."""


def read_description(file: Path) -> Description:
    """Read the description from a file; an empty one if there is no file.

    Raises:
        UserError: It cannot be read, or says what no description says.
    """
    if not file.is_file():
        return Description()
    try:
        return Description(**tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"description {file} cannot be read: {error}") from None
    except ValidationError as error:
        raise UserError(f"description {file} is wrong: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
