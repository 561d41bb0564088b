"""What commands share: exit codes, common options and how results print."""

import json
from typing import Annotated, Any

import jax
from cyclopts import Parameter

OK, BAD_INPUT, NOT_REACHED, INTERRUPTED = 0, 2, 3, 130

Json = Annotated[bool, Parameter(negative="", help="Print results as JSON, for scripts.")]
X64 = Annotated[bool, Parameter(negative="", help="Compute in float64.")]
Quiet = Annotated[bool, Parameter(negative="", help="No progress bar.")]


def set_precision(x64: bool) -> None:
    """Switch JAX to float64 where asked to."""
    if x64:
        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]


def as_json(value: Any) -> str:
    """Plain data as JSON text."""
    return json.dumps(value, indent=2)
