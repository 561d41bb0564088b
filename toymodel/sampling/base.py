"""The registry of the parts of data collection, so that runs with them can be saved."""

from typing import Any, TypeVar

from toymodel._errors import not_by_name
from toymodel._registry import Registry

Part = TypeVar("Part")

#: Annotators and ways to choose what is compared, by name.
REGISTRY: Registry[Any] = Registry("sampling")


def part(kind: str, given: Any, base: type[Part]) -> Part:
    """An annotator or a comparison, by name or as it is; anything else is refused.

    Raises:
        InputError: no such name, or no `base`.
    """
    made = REGISTRY.get(given) if isinstance(given, str) else given
    if not isinstance(made, base):
        own = [name for name in REGISTRY if issubclass(REGISTRY[name], base)]
        raise not_by_name(kind, given, base, own)
    return made
