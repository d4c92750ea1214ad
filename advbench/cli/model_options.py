"""Options that describe a user's own model, shared by all commands with `--model`."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import click

from advbench.catalog.plugins import load_plugins
from advbench.cli.console import announce_code
from advbench.config.model_description import NOTHING, Description, describe, refuse_unread
from advbench.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])
"""A command, or the function that becomes one."""

_OPTIONS = (
    (("--num-classes",), "N", "Number of classes of your own model; checked."),
    (("--mean",), "R,G,B", "Mean subtracted from its images in [0, 1]: one number per channel, or one for all."),
    (
        ("--std",),
        "R,G,B",
        "Standard deviation to divide by. Without --mean and --std, images go in as they are, in [0, 1].",
    ),
    (("--input-size",), "PIXELS", "Size of its input: 224, or HEIGHTxWIDTH."),
    (("--classes", "--labels", "class_names"), "FILE", "Class names in the order of the logits: .txt or .json."),
    (
        ("--thresholds",),
        "LOGITS",
        "For multi-label models: the logit above which a label applies. One number, or one per label.",
    ),
    (
        ("--templates",),
        "FILE",
        "Prompts for a clip/ model, with {} in place of the class name: one per line, or .json.",
    ),
    (("--output",), "NAME", "Which of several outputs holds the logits: a name, or an index from 0."),
    (
        ("--gradients-from",),
        "MODEL",
        "Model to take gradients from if this one has none, such as the float twin of an int8 model.",
    ),
)
"""Names, placeholder and help of each option."""
_PARAMETERS = {
    name: name
    for name in ("num_classes", "mean", "std", "input_size", "thresholds", "output", "templates", "gradients_from")
}
_PARAMETERS["classes"] = "class_names"  # `advbench explain` has classes of another meaning
"""Field of the description -> parameter of the command."""


def with_options(options: Iterable[Callable[[F], F]]) -> Callable[[F], F]:
    """A decorator that gives a command several options, in their order.

    Args:
        options: Decorators, as `click.option` makes them.
    """

    def decorate(command: F) -> F:
        for option in reversed([*options]):
            command = option(command)
        return command

    return decorate


def plugin_option(*, kept: bool = False) -> Callable[[F], F]:
    """The option `--plugin`, which loads modules before any other option is read, so that these know their names.

    Args:
        kept: Whether the command gets the names of the modules, as `plugins`.
    """

    def load(_ctx: click.Context, _param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
        load_plugins(names)
        return names

    told = "Module with your own models, attacks or data sets; repeatable."
    return click.option(
        "--plugin",
        "plugins",
        multiple=True,
        is_eager=True,
        callback=load,
        expose_value=kept,
        metavar="MODULE",
        help=told,
    )


def described(*, labels: bool = True) -> Callable[[F], F]:
    """Add the options that describe a user's own model; :func:`description` reads them.

    Args:
        labels: Whether `--labels` is another name of `--classes`; False where the command has labels of images.
    """
    return with_options(
        [
            click.option(
                *(name for name in names if labels or name != "--labels"),
                type=int if placeholder == "N" else str,
                metavar=placeholder,
                help=text,
            )
            for names, placeholder, text in _OPTIONS
        ]
    )


def description(options: dict[str, Any], model: str | None) -> Description:
    """Remove the options of :func:`described` from those of a command, and check them.

    Args:
        options: Parameters of the command; those of :func:`described` are removed.
        model: Name of the model; None if it is not known yet.

    Raises:
        UserError: One cannot be read or has an impossible value, or the model takes no such description.
    """
    said = {field: options.pop(parameter) for field, parameter in _PARAMETERS.items()}
    for field, read in _READ.items():
        if said[field] is not None:
            said[field] = read(said[field], _spelled(field))
    about = describe(said, _spelled)
    if model is not None and about != NOTHING:
        refuse_unread(model, about)
    return about


def announce(model: str | None, about: Description) -> None:
    """Announce on standard error which of the user's files will be run as code.

    Raises:
        UserError: There is no such model.
    """
    announce_code(*(name for name in (model, about.gradients_from) if name is not None))


def _spelled(field: str) -> str:
    return "--" + field.replace("_", "-")


def _numbers(text: str, option: str, such: str = "0.485,0.456,0.406 or 0.5") -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text!r} is not a list of numbers such as {such}") from None


def _size(text: str, option: str) -> int | list[int]:
    sides = text.lower().split("x")
    if not all(side.isdecimal() for side in sides) or len(sides) > 2:
        raise UserError(f"{option} {text!r} is not a size in pixels such as 224 or 480x640 (height x width)")
    return int(sides[0]) if len(sides) == 1 else [int(side) for side in sides]


def _place(text: str, option: str) -> str | int:
    return int(text) if text.isdecimal() else text


_READ: dict[str, Callable[[str, str], Any]] = {
    "mean": _numbers,
    "std": _numbers,
    "thresholds": partial(_numbers, such="0, or 0,-1.5,2 of three labels"),
    "input_size": _size,
    "output": _place,
}
"""Field whose text has to be read -> what reads it, given the option for messages."""
