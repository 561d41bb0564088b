"""Names for swappable parts: one registry class serves scenarios, policies and losses.

A registered dataclass can be named (`get`), described as plain data (`describe`) and rebuilt from
that description (`rebuild`), which is how the command line, saved runs and settings files work.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from toymodel._errors import InputError, refuse, unknown

Factory = TypeVar("Factory", bound=Callable[..., Any])


class Registry(Generic[Factory]):
    """A mapping from names to factories, whose errors suggest the nearest name.

    Args:
        kind: what the entries are, as errors should call them ("loss", "scenario").
        parts: registries of what entries may hold, so that they are described with it.
    """

    def __init__(self, kind: str, parts: Sequence["Registry[Any]"] = ()) -> None:
        self.kind = kind
        self._parts = {part.kind: part for part in parts}
        self._entries: dict[str, Factory] = {}

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """A decorator that files its function or class under `name`."""

        def add(factory: Factory) -> Factory:
            if name in self._entries and self._entries[name] is not factory:
                raise InputError(
                    f"{self.kind}: {name!r} is registered already, as "
                    f"{self._entries[name].__qualname__}. To mend it: choose another name."
                )
            self._entries[name] = factory
            return factory

        return add

    def key(self, name: str) -> str:
        """The name as registered; an unknown one is refused with the nearest."""
        key = str(name).replace("-", "_")
        if key not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return key

    def __getitem__(self, name: str) -> Factory:
        return self._entries[self.key(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str, /, **arguments: Any) -> Any:
        """Build the entry called `name`; an unknown argument is refused with the known ones."""
        factory = self[name]
        if dataclasses.is_dataclass(factory):
            fields = {field.name: field for field in dataclasses.fields(factory)}
            for argument in arguments:
                if argument not in fields:
                    raise unknown(f"argument of {self.kind} {name!r}", argument, fields)
            for argument, field in fields.items():
                if field.default is dataclasses.MISSING and argument not in arguments:
                    expected = f"one with {argument}: {field.metadata.get('doc', '')}"
                    raise refuse(self.kind, name, expected, f"pass {argument}=...")
        return factory(**arguments)

    def name_of(self, instance: Any) -> str:
        """The name under which an instance's class is registered, else the class's own name."""
        for name, factory in self._entries.items():
            if factory is type(instance):
                return name
        return type(instance).__name__

    def require(self, instance: Any) -> None:
        """Refuse an instance whose class is not registered."""
        if self.name_of(instance) not in self._entries:
            name = type(instance).__name__
            raise InputError(
                f"{self.kind}: got {name}, expected a registered {self.kind}. To mend it: "
                "register the class under a name, before saving and before loading."
            )

    def describe(self, instance: Any) -> dict[str, Any]:
        """An instance as plain data: its registered name and its fields (JSON can hold it)."""
        fields = {
            f.name: self.plain(getattr(instance, f.name)) for f in dataclasses.fields(instance)
        }
        return {"name": self.name_of(instance), **fields}

    def plain(self, value: Any) -> Any:
        """`plain`, with instances of registered classes described in turn."""
        if type(value) in self._entries.values():
            return self.describe(value)
        for kind, part in self._parts.items():
            if type(value) in part._entries.values():
                return {"kind": kind, **part.describe(value)}
        return [self.plain(item) for item in value] if isinstance(value, tuple) else plain(value)

    def rebuild(self, description: Mapping[str, Any]) -> Any:
        """The instance that `describe` described."""
        given = {k: value for k, value in description.items() if k not in ("name", "kind")}
        fields = {k: self._restore(value) for k, value in given.items()}
        return self.get(description["name"], **fields)

    def _restore(self, value: Any) -> Any:
        """Descriptions were instances; lists of lists were arrays; other lists were tuples."""
        if isinstance(value, Mapping) and "name" in value:
            registry = self._parts[value["kind"]] if "kind" in value else self
            return registry.rebuild(value)
        if isinstance(value, list) and value and isinstance(value[0], list):
            return np.asarray(value)
        return tuple(map(self._restore, value)) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Arrays and tuples as lists and numbers, the rest as it is."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return np.asarray(value).tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
