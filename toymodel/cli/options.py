"""What commands share: exit codes, common options and how results print."""

import json
import math
import os
from pathlib import Path
from typing import Annotated, Any

import jax
from cyclopts import Parameter

from toymodel._errors import refuse

OK, UNREAD, BAD_INPUT, NOT_REACHED, INTERRUPTED = 0, 1, 2, 3, 130

Json = Annotated[bool, Parameter(negative="", help="Print results as JSON, for scripts.")]
X64 = Annotated[bool, Parameter(negative="", help="Compute in float64.")]
Quiet = Annotated[bool, Parameter(negative="", help="No progress bar.")]


def set_precision(x64: bool) -> None:
    """Switch JAX to float64 where asked to."""
    if x64:
        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]


def as_json(value: Any) -> str:
    """Plain data as JSON text; NaN and infinity are null, for which alone JSON has a word.

    Example:
        >>> print(as_json([1.5, float("nan")]))
        [
          1.5,
          null
        ]
    """
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def settings_of(items: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """``loss.beta=0.05`` and the like, sorted by part."""
    sorted_out: dict[str, dict[str, Any]] = {part: {} for part in parts}
    for item in items:
        name, equals, text = item.partition("=")
        part, dot, field = name.partition(".")
        if not equals or not dot or part not in parts:
            expected = " or ".join(f"{part}.NAME=VALUE" for part in parts)
            raise refuse("--set", item, expected, "such as loss.beta=0.05")
        sorted_out[part][field] = value_of(text, many=field == "hidden")
    return sorted_out


def value_of(text: str, *, many: bool) -> Any:
    """A value as a command line writes it: a number, a switch, a name, or several widths."""
    if many:
        return tuple(value_of(part, many=False) for part in text.split(",") if part)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def keep_compilations() -> None:
    """Keep compiled programs between commands, in the user's cache folder.

    ``TOYMODEL_CACHE`` names another folder; empty, it keeps nothing.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = os.environ.get("TOYMODEL_CACHE", str(Path(base) / "toymodel" / "xla"))
    if not folder:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:  # nothing to keep them in: compile each time
        return
    jax.config.update("jax_compilation_cache_dir", folder)  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)  # type: ignore[no-untyped-call]
