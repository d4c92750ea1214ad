"""The option `--data`, which names a data set, and the options that choose among its images."""

from collections.abc import Callable
from typing import Any

import click

from advbench.cli.model_options import plugin_option, with_options
from advbench.config.data.name import DATA_FORM, ChosenImages, parse_data
from advbench.errors import UserError

HELP = "see `advbench datasets`; such as folder:val/ or cifar10,split=test."


def data_option(text: str, *, multiple: bool = False) -> Callable[..., Any]:
    """The option `--data`.

    Args:
        text: What the command does with it.
        multiple: Whether it may be given several times.
    """

    def understood(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        """The data sets that the texts name."""
        if multiple:
            return tuple(map(parse_data, value))
        return None if value is None else parse_data(value)

    told = f"{text}; {HELP}"
    return click.option("--data", callback=understood, multiple=multiple, metavar=DATA_FORM, help=told)


DEFAULT_LIMIT = 10
"""Number of images taken from a data set by default."""


def chosen_options(text: str, *, limit: int | None = DEFAULT_LIMIT) -> Callable[..., Any]:
    """The options `--data`, `--image` and `--limit`, which :func:`chosen_images` reads together, and `--plugin`.

    Args:
        text: What the command does with the images.
        limit: Number of images if nothing is said; None: all.
    """
    usual = "all" if limit is None else str(limit)
    at_most = f"Attack at most N images of --data. Default: {usual}."
    return with_options(
        [
            data_option(text),
            click.option(
                "--image", multiple=True, metavar="IMAGE", help="Name or index of an image in --data; repeatable."
            ),
            click.option("--limit", type=click.IntRange(min=1), metavar="N", help=at_most),
            plugin_option(),
        ]
    )


def chosen_images(options: dict[str, Any], *, limit: int | None = DEFAULT_LIMIT) -> ChosenImages | None:
    """The images that the options of :func:`chosen_options` name, which are taken out of the options.

    Args:
        options: Options of the command, by name.
        limit: Number of images if nothing is said; None: all.

    Returns:
        None without `--data`.

    Raises:
        UserError: Images or a limit without a data set, or both.
    """
    data, images, most = options.pop("data"), options.pop("image"), options.pop("limit")
    if data is None:
        if images or most:
            raise UserError("--image and --limit choose from a data set", hint="name one with --data")
        return None
    if images and most:
        raise UserError("--image names the images, so that --limit says nothing", hint="leave one of them out")
    return ChosenImages(data, images, most or data.images or limit)
