"""What a value in a settings file may be: held against an annotation, and said in words."""

import types
import typing
from collections.abc import Mapping
from typing import Any

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def fits(value: Any, kind: Any) -> bool:
    """Whether a value read from TOML is of an annotated kind.

    Args:
        value: text, number, switch, list or table.
        kind: an annotation, such as ``int | None``.

    Example:
        >>> fits(3, float), fits(True, int), fits(["a"], list[str] | str)
        (True, False, True)
    """
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if isinstance(value, bool):
        return origin in (bool, Any)
    if origin is list:
        return isinstance(value, list) and all(fits(v, one) for v in value for one in inner)
    if origin is dict:
        return isinstance(value, Mapping)
    if origin is float:
        return isinstance(value, int | float)
    return origin is Any or (origin in _WORDS and isinstance(value, origin))


def words(kind: Any) -> str:
    """An annotation as an error should say it.

    Example:
        >>> words(int | None), words(list[str] | str)
        ('a whole number', 'a list or a text')
    """
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        found = [words(one) for one in inner if one is not type(None)]
        return " or ".join(dict.fromkeys(word for word in found if word))
    if origin is typing.Literal:
        return ""
    return {list: "a list", dict: "a table"}.get(origin, _WORDS.get(origin, ""))
