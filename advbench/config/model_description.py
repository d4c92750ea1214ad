"""Descriptions of the user's own models: on the command line, in a suite, or in `net.toml` next to `net.onnx`."""

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, PositiveInt, ValidationError, ValidationInfo

from advbench.catalog.registry import did_you_mean
from advbench.catalog.user_models import described_fields
from advbench.config.fields import Strict
from advbench.config.image_size import Size, checked_size
from advbench.errors import UserError


def _checked(size: Any) -> Size | None:
    return None if size is None else checked_size("input_size", size)


def _from_file(names: Any, info: ValidationInfo) -> Any:
    """The lines of a text file, or the list in a JSON file; relative paths start from the folder of the context."""
    if not isinstance(names, str | Path):
        return names
    file = (info.context or {}).get("folder", Path()) / names
    try:
        text = file.read_text(encoding="utf-8-sig")
        found = json.loads(text) if file.suffix == ".json" else text.splitlines()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not {'JSON' if file.suffix == '.json' else 'text'}: {error}") from None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"expected a list of names in {file}, got something else")
    return [each.strip() for each in found if each.strip()]


def _list(values: Any) -> Any:
    return [values] if isinstance(values, int | float) and not isinstance(values, bool) else values


Values = Annotated[
    tuple[FiniteFloat, ...], BeforeValidator(_list, json_schema_input_type=float | list[float]), Field(min_length=1)
]
"""One number for each channel, or one for all."""
Side = Annotated[Any, AfterValidator(_checked)]
"""Side of a square in pixels, or [height, width]."""
Names = Annotated[
    tuple[str, ...], BeforeValidator(_from_file, json_schema_input_type=str | list[str]), Field(min_length=1)
]
"""Strings, or the file that holds them: .txt with one per line, or .json with a list."""


class Description(Strict):
    """Description of a network: what its file or code does not state.

    Example:
        >>> Description(input_size=32, mean=[0.5], std=[0.25]).mean
        (0.5,)
    """

    num_classes: PositiveInt | None = None
    """Number of classes, which is checked; None: the number that the network outputs."""
    input_size: Side = None
    """Size of the input in pixels: the side of a square, or [height, width]; None: as in the file, or a common size
    that the network accepts."""
    mean: Values | None = None
    """Mean subtracted from images in [0, 1], for each channel, or one for all. None: no mean. If neither file nor
    network defines the number of channels, one value means greyscale images."""
    std: Values | None = None
    """Divisor after subtracting the mean, for each channel, or one for all; None: no division."""
    classes: Names | None = None
    """Names of the classes, in the order of the logits, or the file that holds them: .txt with one per line, or
    .json with a list. None: numbers."""
    thresholds: Values | None = None
    """Logit above which each class applies, one for all or one for each, for a multi-label network, whose images have
    several classes, or none; 0 is a probability of one half. None: an image has the class of the largest logit."""
    output: str | int | None = None
    """Output that holds the logits, if there are several: its name, or its position from 0 if outputs have no names."""
    templates: Names | None = None
    """Prompts of a zero-shot classifier, with {} for the name of a class, or the file that holds them; None: the
    model's own."""
    gradients_from: str | None = None
    """Name of a model for the same task whose gradients replace those that this one lacks; None: its own."""

    @property
    def channels(self) -> int | None:
        """Number of channels of the images; None: as in the file."""
        given = [len(values) for values in (self.mean, self.std) if values]
        return max(given) if given else None

    def over(self, other: "Description") -> "Description":
        """This description, with unset fields taken from another.

        Example:
            >>> Description(mean=[0.5]).over(Description(mean=[0.1], std=[0.25])).std
            (0.25,)
        """
        return other.model_copy(update=self.model_dump(include=_FIELDS, exclude_none=True))

    def said(self) -> dict[str, Any]:
        """The fields that are set, as plain data.

        Example:
            >>> Description(input_size=32).said()
            {'input_size': 32}
        """
        return self.model_dump(mode="json", include=_FIELDS, exclude_none=True)

    def without(self, *names: str) -> "Description":
        """This description without some of its fields.

        Example:
            >>> Description(input_size=32, output=1).without("output").said()
            {'input_size': 32}
        """
        return self.model_copy(update=dict.fromkeys(names))


_FIELDS = set(Description.model_fields)
NOTHING = Description()
"""The empty description, of a network about which the user says nothing."""


def refuse_unread(name: str, about: Description) -> None:
    """Refuse a description of a model that states all of it itself, since it would be ignored.

    Args:
        name: Name of the model.
        about: The user's description of it; `gradients_from` is allowed for any model.

    Raises:
        UserError: There is no such model, or it does not take such a description.

    Example:
        >>> refuse_unread("vgg16", Description(mean=[0.5]))
        Traceback (most recent call last):
        advbench.errors.UserError: model vgg16 takes no mean: it already defines its input and its classes
        leave it out; file.py:function, .onnx, .keras, .pt2, .pt and .ts files take a description
    """
    read = (*described_fields(name), "gradients_from")
    if unread := [field for field in about.said() if field not in read]:
        it = "it" if len(unread) == 1 else "them"
        raise UserError(
            f"model {name} takes no {' and no '.join(unread)}: it already defines its input and its classes",
            hint=f"leave {it} out; file.py:function, .onnx, .keras, .pt2, .pt and .ts files take a description",
        )


def describe(said: Mapping[str, Any], spelled: Callable[[str], str] = str) -> Description:
    """The description that a user gives as options.

    Args:
        said: Fields of :class:`Description`; None for each that is not set.
        spelled: Name of a field -> how the user spells it, for messages.

    Raises:
        UserError: There is no such field, or it has an impossible value.

    Example:
        >>> describe({"num_classes": 0}, spelled=lambda name: "--" + name.replace("_", "-"))
        Traceback (most recent call last):
        advbench.errors.UserError: --num-classes: Input should be greater than 0
    """
    try:
        return Description(**{name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        raise UserError(_first(error, spelled)) from None


def read_description(file: Path) -> Description:
    """Read a description from a file; an empty one if there is no file.

    Raises:
        UserError: It cannot be read, or is not a valid description.
    """
    if not file.is_file():
        return NOTHING
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
        found = Description.model_validate(said, context={"folder": file.parent})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"description {file} cannot be read: {error}") from None
    except ValidationError as error:
        raise UserError(f"description {file} is wrong: {_first(error)}") from None
    if found.templates is not None:
        raise UserError(f"description {file} is wrong: templates: a network in a file has no prompts")
    return found


def _first(error: ValidationError, spelled: Callable[[str], str] = str) -> str:
    first = error.errors()[0]
    name, *rest = map(str, first["loc"])
    if first["type"] == "extra_forbidden":
        meant = did_you_mean(name, Description.model_fields) or f"there are {', '.join(Description.model_fields)}"
        return f"{spelled(name)}: unknown key; {meant}"
    place = f" (number {int(rest[0]) + 1})" if rest and rest[0].isdecimal() else ""
    return f"{spelled(name)}{place}: {first['msg'].removeprefix('Value error, ')}"
