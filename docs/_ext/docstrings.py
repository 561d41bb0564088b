"""Docstrings as this project writes them, made fit for reStructuredText and napoleon.

Formulas in plain text, such as |dL/dpi-|, are no substitutions; what follows `Returns:` is prose,
and so is the line of a property, where napoleon would take words before a colon for a type.
"""

import re
from typing import Any

from sphinx.application import Sphinx

_BARS = re.compile(r"\|(?=\S)([^|`]*\S)\|")
_TRAILING = re.compile(r"(?<=[A-Za-z])_(?=$|[^\w`])")
_QUOTED = re.compile(r"(``.*?``|`[^`]*`)")
_PLAIN = ("attribute", "property")


def _code_begins(line: str) -> bool:
    return line.lstrip().startswith((">>>", "...", ".. math::")) or line.rstrip().endswith("::")


def _escape(text: str) -> str:
    """Bars and trailing underscores, unless the text is quoted."""
    if text.startswith("`"):
        return text
    return _TRAILING.sub(r"\\_", _BARS.sub(r"\\|\1\\|", text))


def _escaped(lines: list[str]) -> list[str]:
    """Bars and trailing underscores in prose lose their meaning; code and formulas stay."""
    result, code = [], None
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if code is not None and line.strip() and depth <= code:
            code = None
        if code is None and _code_begins(line):
            code = depth
        if code is None and line.count("`") % 2 == 0:
            line = "".join(map(_escape, _QUOTED.split(line)))
        result.append(line)
    return result


def _returns_as_field(lines: list[str]) -> list[str]:
    """`Returns:` and its indented lines as the field that napoleon would make, with no type."""
    result, inside = [], False
    for line in lines:
        if line == "Returns:":
            inside, line = True, ":returns:"
        elif inside and line and not line.startswith(" "):
            inside = False
        result.append(line)
    return result


def before(
    app: Sphinx, what: str, name: str, thing: object, options: Any, lines: list[str]
) -> None:
    """Prepare a docstring for napoleon; a property's is kept to be put back."""
    lines[:] = _returns_as_field(_escaped(lines))
    if what in _PLAIN:
        app.env.temp_data["plain", name] = list(lines)


def after(app: Sphinx, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    """Put a property's prose back as it was."""
    if what in _PLAIN:
        lines[:] = app.env.temp_data.pop(("plain", name))


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect before and after napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", before, priority=400)
    app.connect("autodoc-process-docstring", after, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
