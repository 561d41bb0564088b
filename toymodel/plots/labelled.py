"""What pictures of sweeps share: axes in words, their scales, and checks of names."""

import dataclasses
import re
from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from toymodel._errors import refuse, unknown

_INNER = ("prompt", "response", "role", "step")  # dimensions of results, not of the design
_MOST_TICKS = 6
#: A policy or loss as Python writes it, and one of its settings, whose value may be in brackets.
_PART = re.compile(r"(\w+)\((.*)\)")
_SETTING = re.compile(r"\w+=(?:\w*\([^)]*\)|[^,(]+)")
_SHORT = {
    "drop": "fall of log π(y−)",
    "drawdown": "fall of log π(y+) from its peak",
    "dispersion": "mass gained outside the pair",
}


def axes_of(found: xr.Dataset) -> list[str]:
    """The axes of a sweep's design, in order."""
    dims = found["status"].dims if "status" in found else found.sizes
    return [str(dim) for dim in dims]


def check_axis(found: xr.Dataset, name: str) -> None:
    """Refuse what is no dimension; for settings drawn together, say what to do."""
    if name in found.sizes:
        return
    if name in found.coords:
        dim = found[name].dims[0] if found[name].dims else "a single value"
        mend = f"use {dim!r}, or toymodel.plots.scatter" if found[name].dims else "sweep over it"
        raise refuse("axis", name, f"a dimension; this setting moves along {dim!r}", mend)
    raise unknown("axis", name, [str(dim) for dim in found.sizes])


def check_variable(found: xr.Dataset, name: str) -> None:
    """Refuse what was not recorded."""
    if name not in found.data_vars:
        raise unknown("variable", name, map(str, found.data_vars))


def words(name: str) -> str:
    """A setting or variable in words: ``loss.beta_chosen`` is "beta chosen (loss)"."""
    part, dot, rest = name.partition(".")
    return f"{rest.replace('_', ' ')} ({part})" if dot else name.replace("_", " ")


def meaning(array: xr.DataArray) -> str:
    """What a variable is, on at most two lines, with its units."""
    name = str(array.name)
    text = _SHORT.get(name) or str(array.attrs.get("long_name", words(name)))
    units = array.attrs.get("units")
    if units and f"({units})" not in text:
        text += f" ({units})"
    if len(text) > 38 and " " in text[20:]:
        cut = text.rfind(" ", 0, 39)
        text = f"{text[:cut]}\n{text[cut + 1 :]}"
    return text


def short(values: Iterable[object]) -> list[str]:
    """Values of an axis, short: of parts that differ in some settings alone, only these are told.

    Example:
        >>> short(["MLP(hidden=(8,), scale=1.0)", "MLP(hidden=(16,), scale=1.0)", "Tabular()"])
        ['MLP(hidden=(8,))', 'MLP(hidden=(16,))', 'Tabular']
    """
    is_real = (float, np.floating)
    names = [f"{value:.3g}" if isinstance(value, is_real) else str(value) for value in values]
    parts = [part for name in names if (part := _PART.fullmatch(name))]
    if len(parts) < len(names):
        return names
    heads = [part[1] for part in parts]
    settings = [_SETTING.findall(part[2]) for part in parts]
    told = []
    for head, own in zip(heads, settings, strict=True):
        alike = [other for kind, other in zip(heads, settings, strict=True) if kind == head]
        differ = [text for text in own if not all(text in other for other in alike)]
        told.append(f"{head}({', '.join(differ)})" if differ else head)
    return told


def rest(array: xr.DataArray, used: Sequence[str]) -> str:
    """What a mean is over, counted: "64 seeds and 4 prompts"."""
    parts = []
    for dim, size in array.sizes.items():
        if dim not in used and size > 1:
            name = str(dim) if str(dim) in (*_INNER, "seed") else f"values of {words(str(dim))}"
            parts.append(f"{size} {name}s" if name == str(dim) else f"{size} {name}")
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


@dataclasses.dataclass(frozen=True)
class Scale:
    """How an axis of the design is drawn.

    Args:
        label: in words.
        places: where its values stand.
        edges: between them and outside, one more.
        kind: "linear", "log" or "names".
        names: tick labels where it holds names.
    """

    label: str
    places: np.ndarray
    edges: np.ndarray
    kind: str
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: xr.Dataset, axis: str) -> "Scale":
        """The scale of an axis: logarithmic where its values spread by ratios, not by steps."""
        values = found[axis].values if axis in found.coords else np.arange(found.sizes[axis])
        label = words(axis)
        if values.dtype.kind not in "iuf" or not (np.diff(values) > 0).all():
            places = np.arange(len(values), dtype=float)
            return cls(label, places, _edges(places), "names", tuple(short(values)))
        values = values.astype(float)
        if is_geometric(values):
            return cls(label, values, np.exp(_edges(np.log(values))), "log")
        return cls(label, values, _edges(values), "linear")

    def apply(self, axes: Axes, which: str) -> None:
        """Set an axis's scale, ticks and label."""
        axis = axes.xaxis if which == "x" else axes.yaxis
        if self.kind == "log":
            (axes.set_xscale if which == "x" else axes.set_yscale)("log")
            axis.set_major_locator(LogLocator(numticks=_MOST_TICKS))
            axis.set_minor_formatter(NullFormatter())
        elif self.kind == "names":
            axis.set_ticks(self.places, self.names)
        axis.set_label_text(self.label)


def is_geometric(values: np.ndarray) -> bool:
    """Whether positive values spread rather by ratios than by steps."""
    if len(values) < 2 or values[0] <= 0:
        return False
    ratios, steps = np.diff(np.log(values)), np.diff(values)
    return bool(
        values[-1] / values[0] >= 4
        and np.ptp(ratios) / ratios.mean() < np.ptp(steps) / steps.mean() + 1e-9
    )


def _edges(places: np.ndarray) -> np.ndarray:
    """Borders half-way between places, as far beyond the ends."""
    if len(places) == 1:
        return np.array([places[0] - 0.5, places[0] + 0.5])
    middle = (places[1:] + places[:-1]) / 2
    return np.concatenate([[2 * places[0] - middle[0]], middle, [2 * places[-1] - middle[-1]]])
