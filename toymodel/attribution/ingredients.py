"""What a run is made of, and how each ingredient is switched off: the design of an attribution."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from toymodel import optimisers
from toymodel._errors import InputError, refuse
from toymodel.optimisers import Optimiser
from toymodel.policies import Tabular
from toymodel.sweeps import Axis, Sweep
from toymodel.sweeps.places import PARTS, place, read

#: An ingredient's name -> the settings that take it out, with the values that do.
Switches: TypeAlias = Mapping[str, Mapping[str, Any]]

#: What the paper's toy is made of beside its data and loss, for a base that trains with Adam.
STANDARD: Switches = {
    "shared weights": {"policy": Tabular()},
    "a second moment a weight": {"optimiser": "adam_layer"},
    "long memory": {"optimiser.b2": 0.9},
    "momentum": {"optimiser.b1": 0.0},
}

_MOST_FACTORIAL = 6  # ingredients: 64 combinations
RUN = "run"  # the dimension of combinations


@dataclasses.dataclass(frozen=True)
class Design:
    """Which combinations of ingredients are run.

    Args:
        names: the ingredients.
        present: whether a combination has an ingredient, [run, ingredient].
        settings: setting -> its value in each combination.
        factorial: whether these are all combinations.
    """

    names: tuple[str, ...]
    present: np.ndarray
    settings: Mapping[str, tuple[Any, ...]]
    factorial: bool

    def where(self, present: np.ndarray | list[bool]) -> int:
        """The place of a combination."""
        return int(np.flatnonzero((self.present == np.asarray(present)).all(axis=1))[0])

    @property
    def base(self) -> int:
        """The place of the run with everything in."""
        return self.where(np.ones(len(self.names), bool))

    @property
    def control(self) -> int:
        """The place of the run with everything switched off."""
        return self.where(np.zeros(len(self.names), bool))

    def without(self, ingredient: int) -> int:
        """The place of the run that lacks one ingredient."""
        return self.where(np.arange(len(self.names)) != ingredient)

    def only(self, ingredient: int) -> int:
        """The place of the run with one ingredient alone."""
        return self.where(np.arange(len(self.names)) == ingredient)

    def axis(self, rates: np.ndarray | None = None) -> Axis:
        """The combinations as an axis of a sweep, each with a learning rate of its own or not."""
        own = {} if rates is None else {"learning_rate": tuple(rates.tolist())}
        return Axis(RUN, {**self.settings, **own})


def design(base: Sweep, switches: Switches, factorial: bool | None = None) -> Design:
    """The combinations to run: all of them, or the base, the control and one at a time.

    Args:
        base: the run with every ingredient in.
        switches: how each is taken out.
        factorial: whether to run all 2^k combinations; default: for up to six ingredients.

    Raises:
        InputError: no switches, one that changes nothing, one setting in two switches, or too many
            ingredients for all combinations.
    """
    names = tuple(switches)
    if not names:
        raise refuse("switches", dict(switches), "at least one ingredient and how to switch it off")
    every = len(names) <= _MOST_FACTORIAL if factorial is None else factorial
    if every and len(names) > _MOST_FACTORIAL:
        expected = f"at most {_MOST_FACTORIAL} ingredients for all combinations"
        raise refuse("switches", f"{len(names)} ingredients", expected, "pass factorial=False")
    present = _present(len(names), every)
    settings: dict[str, tuple[Any, ...]] = {}
    for column, (name, changes) in enumerate(switches.items()):
        if not isinstance(changes, Mapping) or not changes:
            mend = 'such as {"policy": "tabular"}'
            raise refuse(f"switches[{name!r}]", changes, "settings with values", mend)
        for setting, off in changes.items():
            if setting in settings:
                mend = "give each ingredient a setting of its own, or attribute one at a time"
                raise refuse("switches", f"{setting} in two of them", "each setting once", mend)
            on = _value(base, setting)
            if not _changes(base, setting, on, off):
                raise refuse(f"switches[{name!r}]", f"{setting}: {off!r}", "a change of the base")
            settings[setting] = tuple(on if has else off for has in present[:, column])
    return Design(names, present, settings, every)


def _present(count: int, every: bool) -> np.ndarray:
    if every:
        return np.asarray(list(itertools.product((False, True), repeat=count)))
    one = np.eye(count, dtype=bool)
    rows = np.concatenate([np.ones((1, count), bool), np.zeros((1, count), bool), ~one, one])
    return np.unique(rows, axis=0)


def _value(base: Sweep, setting: str) -> Any:
    """What the base has there: whole parts as they were given, numbers as floats."""
    if setting in Sweep.__dataclass_fields__:
        return getattr(base, setting)
    try:
        found = read(base.parts(frozenset()), setting)
    except InputError as error:
        raise InputError(f"switches, {setting!r}: {error}") from None
    is_array = isinstance(found, jax.Array | np.ndarray | np.generic)
    return found.item() if is_array and found.ndim == 0 else found


def _changes(base: Sweep, setting: str, on: Any, off: Any) -> bool:
    """Whether a value differs from the base's in more than how it is written."""
    if setting in PARTS:
        parts = base.parts(frozenset({"learning_rate"}))
        on, off = (getattr(place(parts, setting, value), setting) for value in (on, off))
        on, off = (_with_defaults(part) for part in (on, off))
    elif setting == "batch_size":
        pairs = base.parts(frozenset({"learning_rate"})).scenario.pairs
        on, off = (len(pairs) if value is None else value for value in (on, off))
    structures: list[Any] = [jax.tree.structure(value) for value in (on, off)]
    if structures[0] != structures[1]:
        return True
    return not all(map(_equal, jax.tree.leaves(on), jax.tree.leaves(off)))


def _with_defaults(part: Any) -> Any:
    """An optimiser as name, rate and all its options, given or not; other parts as they are."""
    if not isinstance(part, Optimiser):
        return part
    options = {**optimisers.defaults(part.name), **part.options, **dict(part.flags)}
    given = {name: value for name, value in options.items() if value is not None}
    return part.name, part.learning_rate, given


def _equal(one: Any, other: Any) -> bool:
    first, second = np.asarray(one), np.asarray(other)
    if first.dtype.kind in "fiu" and second.dtype.kind in "fiu":
        first, second = (a.astype(jnp.result_type(float)) for a in (first, second))
    return bool(np.array_equal(first, second))
