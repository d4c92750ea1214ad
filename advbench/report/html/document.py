"""Self-contained HTML pages: everything is escaped, pictures are inlined, and there are no scripts and no network.

`templates/base.html` holds what all pages share: typography, colours for light, dark and print, a header, a footer,
and a policy that forbids a browser to load anything. A page extends it and fills its blocks.
"""

import base64
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from advbench import __version__
from advbench.sanitize import display_name

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Fill in one of the templates; all values are escaped.

    Args:
        template: Name of the template in `templates/`, such as "run.html".
        **values: Values of the variables in the template.

    Returns:
        The page.

    Example:
        >>> render("base.html").startswith("<!doctype html>")
        True
    """
    return _environment().get_template(template).render(values)


def data_uri(content: bytes, kind: Literal["image/png", "image/svg+xml", "image/webp"]) -> str:
    """A picture as the address of an `<img>`, inlined in the page. Scripts in an SVG do not run there.

    Example:
        >>> data_uri(b"<svg/>", "image/svg+xml")
        'data:image/svg+xml;base64,PHN2Zy8+'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("advbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["version"] = __version__
    environment.filters["shown"] = _shown
    return environment


def _shown(name: object, limit: int = 80) -> str:
    """The filter for untrusted names: one line of bounded length."""
    return display_name(str(name), limit=limit)
