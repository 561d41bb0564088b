"""What a sweep keeps of every cell: properties measured on the fly, curves, or final tables."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from toymodel import properties
from toymodel._errors import refuse, unknown
from toymodel.scenarios import Role
from toymodel.sweeps.layout import Coordinate, Variable

#: What can be recorded: the name and what it is.
KINDS = {
    "properties": "the three properties, measured on every n-th step; nothing else is kept",
    "likelihoods": "the paper's five curves, every n-th step",
    "log_probs": "every log-probability (nats), every n-th step",
    "final": "every log-probability (nats) after the last step",
}
_DEFAULT_RECORDS = 200

#: Of `status`: what became of a cell. Zero is what an array holds before a cell is computed.
STATUS = ("not computed", "ok", "poor fit", "not finite")
NOT_COMPUTED, FINE, POOR_FIT, NOT_FINITE = range(4)

_UNITS = {
    **dict.fromkeys(("drop", "peak", "drawdown", "log_probs", "final_log_probs"), "nats"),
    **dict.fromkeys(("drop_onset", "peak_step", "degradation_onset", "dispersion_onset"), "step"),
}
_NAMES = {"receiving_role": [role.title for role in Role] + ["none"]}


@dataclasses.dataclass(frozen=True)
class Record:
    """One thing to record.

    Args:
        kind: one of `KINDS`.
        every: steps between two records.
    """

    kind: str
    every: int

    def __str__(self) -> str:
        return self.kind if self.kind == "final" else f"{self.kind}@{self.every}"


def parse(record: str | Iterable[str], steps: int) -> tuple[Record, ...]:
    """Records by name, such as ``properties`` or ``likelihoods@50`` (every 50th step).

    Args:
        record: one, or several.
        steps: of a run. Without a stride a record is made about 200 times.

    Raises:
        InputError: an unknown name, a stride that does not fit, or two strides for curves.
    """
    texts = [record] if isinstance(record, str) else list(record)
    default = max(1, steps // _DEFAULT_RECORDS)
    found: dict[str, Record] = {}
    for text in texts:
        kind, at, stride = str(text).partition("@")
        if kind not in KINDS:
            raise unknown("record", kind, KINDS)
        if at and not (re.fullmatch(r"\d+", stride) and 1 <= int(stride) <= steps):
            raise refuse("record", text, f"{kind}@n with n from 1 to {steps}, every n-th step")
        every = steps if kind == "final" else int(stride) if at else default
        if kind in found:
            raise refuse("record", texts, f"{kind} once")
        found[kind] = Record(kind, every)
    if not found:
        raise refuse("record", record, f"at least one of {', '.join(KINDS)}")
    strides = {r.every for r in found.values() if r.kind in ("likelihoods", "log_probs")}
    if len(strides) > 1:
        raise refuse("record", texts, "one stride for both kinds of curves, which share their axis")
    return tuple(found.values())


def stops(records: Iterable[Record], steps: int) -> np.ndarray:
    """The steps at which something is recorded, from 0 to the last."""
    return np.unique(np.concatenate([kept(record, steps) for record in records]))


def kept(record: Record, steps: int) -> np.ndarray:
    """The steps at which one record is made: every n-th, the first and the last."""
    return np.unique(np.append(np.arange(0, steps + 1, record.every), steps))


def variables(
    records: Iterable[Record], shape: tuple[int, int], steps: int
) -> tuple[dict[str, Variable], dict[str, Coordinate]]:
    """The variables that records fill, and the coordinates of their own dimensions."""
    prompts, responses = shape
    real = np.dtype(jnp.result_type(float).name)
    sizes = {"prompt": prompts, "response": responses, "role": len(Role)}
    labels: dict[str, Any] = {"role": np.array([role.title for role in Role])}
    found = {
        "status": Variable((), (), np.dtype("int8"), _flags("what became of the cell", STATUS)),
        "fit_error": Variable(
            (), (), real, {"long_name": "largest error of the fitted start, in probability"}
        ),
    }

    def add(name: str, dims: tuple[str, ...], doc: str, dtype: np.dtype = real) -> None:
        attrs: dict[str, Any] = {"long_name": doc}
        if name in _NAMES:
            attrs = _flags(doc, _NAMES[name])
        elif name in _UNITS:
            attrs["units"] = _UNITS[name]
        found[name] = Variable(dims, tuple(sizes[dim] for dim in dims), dtype, attrs)

    for record in records:
        if record.kind in ("likelihoods", "log_probs"):
            labels["step"] = kept(record, steps)
            sizes["step"] = len(labels["step"])
        match record.kind:
            case "properties":
                for field in dataclasses.fields(properties.Properties):
                    if field.name in _OF_PROPERTIES:
                        dims = ("prompt", "role") if field.name == "gain_by_role" else ("prompt",)
                        dtype = np.dtype(_TYPES.get(field.name, real))
                        add(field.name, dims, field.metadata["doc"], dtype)
            case "likelihoods":
                for field in dataclasses.fields(properties.Likelihoods):
                    add(field.name, ("step",), field.metadata["doc"])
            case "log_probs":
                add("log_probs", ("step", "prompt", "response"), "log-probability")
            case "final":
                dims = ("prompt", "response")
                add("final_log_probs", dims, "log-probability after the last step")
    used = {dim for variable in found.values() for dim in variable.dims}
    coordinates = {
        dim: Coordinate(dim, np.asarray(labels.get(dim, np.arange(sizes[dim]))), {"long_name": dim})
        for dim in sorted(used)
    }
    return found, coordinates


_TYPES = {"below_start": "bool", "receiving_role": "int8", "receiving_response": "int32"}
_OF_PROPERTIES = tuple(field.name for field in dataclasses.fields(properties.Properties))


def as_stored(values: Mapping[str, Any], found: Mapping[str, Variable]) -> dict[str, np.ndarray]:
    """Results as the variables hold them: a step that never came is NaN, a role its code."""
    stored = {}
    for name, variable in found.items():
        array = np.asarray(values[name])
        if variable.dtype.kind == "f" and array.dtype.kind == "i":
            array = np.where(array < 0, np.nan, array)
        if name == "receiving_role":
            array = np.where(array < 0, len(Role), array)
        stored[name] = array.astype(variable.dtype)
    return stored


def _flags(doc: str, names: Iterable[str]) -> dict[str, Any]:
    """Attributes of a variable of codes, by the CF conventions."""
    listed = list(names)
    meanings = " ".join(name.replace(" ", "_") for name in listed)
    return {"long_name": doc, "flag_values": list(range(len(listed))), "flag_meanings": meanings}
