"""Frozen dataclasses that JAX understands: numbers are leaves, structure is static.

`struct` registers a dataclass as a pytree. Its fields are declared with `number` (a traced leaf
with a range and a line of documentation), `static` (structure: part of the compilation key),
`choice` (structure that is one of some names) or `label` (a name for people that compilation must
not see). Ranges and names are checked once, here; the same documentation feeds docstrings, the
command line and tables.
"""

import dataclasses
import numbers
from collections.abc import Callable, Collection
from typing import Any, TypeVar, dataclass_transform, overload

import jax
import numpy as np

from toymodel._errors import refuse, unknown

T = TypeVar("T")


def number(
    default: Any = dataclasses.MISSING,
    *,
    doc: str,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> Any:
    """A field that holds a number: a leaf of the pytree, so sweeping it never recompiles."""
    bounds = {"above": above, "at_least": at_least, "below": below, "at_most": at_most}
    return dataclasses.field(default=default, metadata={"doc": doc, "bounds": bounds})


def static(default: Any = dataclasses.MISSING, *, doc: str) -> Any:
    """A field that is structure: hashable, and part of what JAX compiles for."""
    return dataclasses.field(default=default, metadata={"doc": doc, "static": True})


def choice(default: str, *, among: Collection[str]) -> Any:
    """A field of structure that holds one of some names, such as those of a registry."""
    metadata = {"doc": f"one of {', '.join(among)}", "static": True, "choices": among}
    return dataclasses.field(default=default, metadata=metadata)


def optional(default: None = None, *, doc: str) -> Any:
    """A field that holds an array, or None: then JAX sees no leaf there."""
    return dataclasses.field(default=default, metadata={"doc": doc})


def label(default: str, *, doc: str) -> Any:
    """A name for people. JAX does not see it: two labels share one compilation."""
    return dataclasses.field(default=default, metadata={"doc": doc, "label": True})


def _expectation(bounds: dict[str, float | None]) -> str:
    signs = {"above": ">", "at_least": ">=", "below": "<", "at_most": "<="}
    parts = [f"{signs[key]} {bound:g}" for key, bound in bounds.items() if bound is not None]
    return "a finite number" + (" " + " and ".join(parts) if parts else "")


def _within(values: np.ndarray, bounds: dict[str, float | None]) -> bool:
    tests: dict[str, Callable[[Any, Any], Any]] = {
        "above": np.greater,
        "at_least": np.greater_equal,
        "below": np.less,
        "at_most": np.less_equal,
    }
    return bool(np.all(np.isfinite(values))) and all(
        bool(np.all(test(values, bounds[key])))
        for key, test in tests.items()
        if bounds[key] is not None
    )


def _check_field(owner: str, field: dataclasses.Field, value: Any) -> None:
    choices = field.metadata.get("choices")
    if choices is not None and value not in choices:
        raise unknown(f"{owner}.{field.name}", value, choices)
    bounds = field.metadata.get("bounds")
    if bounds is None or isinstance(value, jax.core.Tracer):
        return
    is_numeric = isinstance(value, numbers.Real | np.ndarray | jax.Array)
    has_limits = any(bound is not None for bound in bounds.values())
    wrong_kind = isinstance(value, str | bool | complex | type(None)) or (
        has_limits and not is_numeric
    )
    if wrong_kind or (is_numeric and not _within(np.asarray(value), bounds)):
        has_default = field.default is not dataclasses.MISSING
        mend = f"the default is {field.default!r}" if has_default else ""
        expected = f"{_expectation(bounds)} ({field.metadata['doc']})"
        raise refuse(f"{owner}.{field.name}", value, expected, mend)


def _documented(cls: type) -> str:
    """The class's docstring with an Args section from its fields, before examples and sources."""
    text = (cls.__doc__ or "").rstrip()
    lines = ["    Args:"]
    for field in dataclasses.fields(cls):
        default = "" if field.default is dataclasses.MISSING else f" Default {field.default!r}."
        lines.append(f"        {field.name}: {field.metadata.get('doc', '')}.{default}")
    arguments = "\n".join(lines)
    for section in ("\n    Example:", "\n    References:"):
        if section in text:
            return text.replace(section, f"\n{arguments}\n{section}", 1) + "\n    "
    return f"{text}\n\n{arguments}\n    "


@overload
def struct(cls: type[T], /) -> type[T]: ...
@overload
def struct(*, eq: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(
    frozen_default=True, field_specifiers=(number, static, choice, optional, label)
)
def struct(cls: type | None = None, /, *, eq: bool = True) -> Any:
    """Make a class a frozen dataclass registered as a pytree.

    Args:
        cls: the class; its fields come from `number`, `static`, `choice`, `optional` and `label`,
            or are plain (leaves).
        eq: whether instances compare by value; switch off where fields hold arrays.

    Example:
        >>> @struct
        ... class Pull:
        ...     '''A pull.'''
        ...     beta: float = number(0.1, above=0, doc="strength of the pull")
        >>> jax.tree.leaves(Pull(0.5))
        [0.5]
        >>> Pull(-1.0)
        Traceback (most recent call last):
        toymodel._errors.InputError: Pull.beta: got -1.0, expected a finite number > 0 \
(strength of the pull). To mend it: the default is 0.1.
    """

    def decorate(cls: type) -> Any:
        inherited = getattr(cls, "__post_init__", None)

        def __post_init__(self: Any) -> None:
            for field in dataclasses.fields(self):
                _check_field(type(self).__name__, field, getattr(self, field.name))
            if inherited is not None:
                inherited(self)

        cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
        made: Any = dataclasses.dataclass(frozen=True, eq=eq)(cls)
        made.__doc__ = _documented(made)
        _register(made)
        return made

    return decorate if cls is None else decorate(cls)


def _register(cls: type) -> None:
    """Register with JAX. Rebuilding skips ``__init__``: JAX puts more than numbers into leaves."""
    fields = dataclasses.fields(cls)
    statics = [f.name for f in fields if f.metadata.get("static")]
    labels = {f.name: f.default for f in fields if f.metadata.get("label")}
    leaves = [f.name for f in fields if f.name not in statics and f.name not in labels]

    def flatten_with_keys(instance: Any) -> tuple:
        children = [(jax.tree_util.GetAttrKey(k), getattr(instance, k)) for k in leaves]
        return children, tuple(getattr(instance, k) for k in statics)

    def flatten(instance: Any) -> tuple:
        children = [getattr(instance, k) for k in leaves]
        return children, tuple(getattr(instance, k) for k in statics)

    def unflatten(structure: tuple, children: Any) -> Any:
        instance: Any = object.__new__(cls)
        names, values = (*statics, *leaves), (*structure, *children)
        for key, value in (*labels.items(), *zip(names, values, strict=True)):
            object.__setattr__(instance, key, value)
        return instance

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
