"""The design of a sweep: axes, each a dimension with the values of one or more settings along it.

A mapping of settings to values is a grid, one dimension for each. `paired` walks several settings
together; `random` and `latin_hypercube` draw them from ranges. A list of these is their product.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from scipy.stats import qmc

from toymodel._errors import refuse


@dataclasses.dataclass(frozen=True)
class Axis:
    """One dimension of a sweep.

    Args:
        dim: its name.
        settings: setting (a dotted name such as ``loss.beta``) -> its values along the dimension.
    """

    dim: str
    settings: Mapping[str, tuple[Any, ...]]

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.settings.items()}
        if not lengths or 0 in lengths.values():
            raise refuse(f"over, {self.dim!r}", dict(self.settings), "at least one value")
        if len(set(lengths.values())) > 1:
            raise refuse(f"over, {self.dim!r}", lengths, "as many values for each setting")

    def __len__(self) -> int:
        return len(next(iter(self.settings.values())))


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers between two ends, to draw from. Make one with `between`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, share: np.ndarray) -> list[Any]:
        """The numbers at some shares of the way, 0 to 1."""
        if self.whole:
            return list(map(int, self.low + np.floor(share * (self.high - self.low + 1))))
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return list(map(float, np.exp(low + share * (high - low))))
        return list(map(float, self.low + share * (self.high - self.low)))


Values: TypeAlias = Iterable[Any]
Over: TypeAlias = "Mapping[str, Values] | Axis | Sequence[Mapping[str, Values] | Axis]"


def between(low: float, high: float, *, log: bool = False, whole: bool = False) -> Range:
    """A range to draw from, for `random` and `latin_hypercube`.

    Args:
        low: smallest value.
        high: largest value.
        log: even in the logarithm, as befits rates and strengths.
        whole: whole numbers, both ends included.

    Raises:
        InputError: ends in the wrong order, or an end that has no logarithm.

    Example:
        >>> between(0.01, 1, log=True)
        Range(low=0.01, high=1, log=True, whole=False)
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise refuse("between", (low, high), "two finite numbers, the smaller first")
    if log and low <= 0:
        raise refuse("between", (low, high), "ends above 0 for log=True")
    return Range(low, high, log, whole)


def geomspace(start: float, stop: float, count: int) -> list[float]:
    """Numbers with equal ratios, ends included: for strengths and learning rates.

    Example:
        >>> geomspace(0.01, 1, 3)
        [0.01, 0.1, 1.0]
    """
    if not (start > 0 and stop > 0 and count >= 1):
        raise refuse("geomspace", (start, stop, count), "two numbers > 0 and a count >= 1")
    return [float(f"{value:.12g}") for value in np.geomspace(start, stop, count)]


def linspace(start: float, stop: float, count: int) -> list[float]:
    """Numbers with equal distances, ends included.

    Example:
        >>> linspace(0, 1, 3)
        [0.0, 0.5, 1.0]
    """
    if count < 1:
        raise refuse("linspace", (start, stop, count), "two numbers and a count >= 1")
    return [float(f"{value:.12g}") for value in np.linspace(start, stop, count)]


def paired(settings: Mapping[str, Values], dim: str = "pair") -> Axis:
    """Settings that move together: the first values of all, then the second, and so on.

    Args:
        settings: setting -> values, all of one length.
        dim: the dimension's name.

    Example:
        >>> len(paired({"loss.beta_chosen": [0.1, 0.2], "loss.beta_rejected": [0.08, 0.16]}))
        2
    """
    return Axis(dim, {name: tuple(values) for name, values in settings.items()})


def random(
    ranges: Mapping[str, Range | Values], cells: int, *, seed: int = 0, dim: str = "sample"
) -> Axis:
    """Cells drawn at random: each setting independently, from its range or list of choices.

    Args:
        ranges: setting -> `between`, or a list to choose from.
        cells: how many.
        seed: of the draw.
        dim: the dimension's name.

    Example:
        >>> design = random({"loss.beta": between(0.01, 1, log=True)}, 100)
        >>> len(design), bool(0.01 <= min(design.settings["loss.beta"]) < 0.03)
        (100, True)
    """
    shares = np.random.default_rng(seed).random((_count(cells), len(ranges)))
    return _drawn(ranges, shares, dim)


def latin_hypercube(
    ranges: Mapping[str, Range | Values], cells: int, *, seed: int = 0, dim: str = "sample"
) -> Axis:
    """Cells that cover every range evenly: each of `cells` equal slices of a range is met once.

    Args:
        ranges: setting -> `between`, or a list to choose from.
        cells: how many.
        seed: of the draw.
        dim: the dimension's name.

    References:
        McKay, Beckman and Conover, Technometrics 21 (1979) 239.

    Example:
        >>> design = latin_hypercube({"loss.beta": between(0, 1)}, 4)
        >>> sorted(int(4 * beta) for beta in design.settings["loss.beta"])
        [0, 1, 2, 3]
    """
    sampler = qmc.LatinHypercube(len(ranges), rng=np.random.default_rng(seed))
    return _drawn(ranges, sampler.random(_count(cells)), dim)


def design(over: Over) -> tuple[Axis, ...]:
    """The axes of a design, in order.

    Args:
        over: a mapping (a grid), an `Axis`, or a list of these (their product).

    Raises:
        InputError: something else, a setting or dimension named twice, or no values.
    """
    parts: Sequence[Any] = [over] if isinstance(over, Mapping | Axis) else over
    axes: list[Axis] = []
    for part in parts:
        if isinstance(part, Axis):
            axes.append(part)
        elif isinstance(part, Mapping):
            axes += [Axis(name, {name: _listed(name, values)}) for name, values in part.items()]
        else:
            raise refuse("over", part, "settings with their values, such as {'loss.beta': [0.1]}")
    names = [axis.dim for axis in axes]
    settings = [name for axis in axes for name in axis.settings]
    for kind, given in (("dimension", names), ("setting", settings)):
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            raise refuse("over", twice[0], f"each {kind} once")
    return tuple(axes)


def _listed(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise refuse(f"over, {name!r}", values, "a list of values", f"write [{values!r}]")
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return tuple(listed)


def _count(cells: int) -> int:
    if not isinstance(cells, int) or cells < 1:
        raise refuse("cells", cells, "a whole number >= 1")
    return cells


def _drawn(ranges: Mapping[str, Range | Values], shares: np.ndarray, dim: str) -> Axis:
    settings: dict[str, tuple[Any, ...]] = {}
    for column, (name, where) in zip(shares.T, ranges.items(), strict=True):
        if isinstance(where, Range):
            settings[name] = tuple(where.at(column))
        else:
            choices = _listed(name, where)
            settings[name] = tuple(choices[int(share * len(choices))] for share in column)
    return Axis(dim, settings)
