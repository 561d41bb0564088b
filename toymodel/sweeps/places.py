"""Settings by dotted name: where in scenario, policy, loss and optimiser a value belongs.

A setting is a number (a leaf of some part, so that changing it never recompiles) or structure
(a name, a width, a switch: each value is compiled for once).
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from toymodel import losses, optimisers, policies, scenarios
from toymodel._errors import InputError, refuse, unknown
from toymodel._struct import struct
from toymodel.losses import PreferenceLoss
from toymodel.optimisers import Custom, Optimiser
from toymodel.policies import Policy
from toymodel.scenarios import Scenario

#: Short names of settings.
ALIASES = {"learning_rate": "optimiser.learning_rate"}
#: Settings of a scenario that stand for many numbers of its table.
INITIAL = ("chosen", "rejected")


@struct(eq=False)
class Parts:
    """What one cell is made of; its numbers are leaves."""

    scenario: Scenario
    policy: Policy
    loss: PreferenceLoss
    optimiser: Optimiser | Custom


def is_number(parts: Parts, setting: str) -> bool:
    """Whether a setting is a number of these parts; structure, if not.

    Raises:
        InputError: there is no such setting; the nearest is named.
    """
    path = _path(setting)
    if len(path) == 1:
        if path[0] not in PARTS:
            raise unknown("setting", setting, [*PARTS, *ALIASES, "seed", "batch_size"])
        return False
    if path[0] == "scenario" and path[1:] in [[name] for name in INITIAL]:
        return True
    found: Any = parts
    for step in path[:-1]:
        found = _child(found, step, setting)
    last = path[-1]
    if dataclasses.is_dataclass(found) and isinstance(last, str):
        fields = {field.name: field for field in dataclasses.fields(found)}
        if last in fields and "bounds" not in fields[last].metadata:
            return False
    if isinstance(found, Optimiser) and isinstance(last, str) and last not in _fields(found):
        default = _option(found, last, setting)
        return not isinstance(default, bool)
    value = _child(found, last, setting)
    if (
        np.ndim(value)
        or isinstance(value, str | tuple | Mapping)
        or dataclasses.is_dataclass(value)
    ):
        mend = "name one of its entries, as in scenario.pairs.weight[0]"
        raise refuse("setting", setting, "a single number or structure", mend)
    return True


def read(parts: Parts, setting: str) -> Any:
    """What these parts have at a setting; the default of an option that is not given.

    Example:
        >>> import toymodel as tm
        >>> read(tm.Sweep(learning_rate=0.1).parts(frozenset()), "optimiser.b2")
        0.999
    """
    path = _path(setting)
    if path[0] == "scenario" and path[1:] in [[name] for name in INITIAL]:
        return _initial(parts.scenario, str(path[1]))
    found: Any = parts
    for step in path:
        found = _child(found, step, setting)
    return found


def lacks(parts: Parts, setting: str) -> bool:
    """Whether a setting is an option that the optimiser of these parts has not.

    Where a sweep has several optimisers, it is void for those.

    Example:
        >>> import toymodel as tm
        >>> parts = tm.Sweep(optimiser="sgd", learning_rate=0.1).parts(frozenset())
        >>> lacks(parts, "optimiser.b2"), lacks(parts, "optimiser.momentum")
        (True, False)
    """
    path, optimiser = _path(setting), parts.optimiser
    if path[0] != "optimiser" or len(path) != 2 or not isinstance(optimiser, Optimiser):
        return False
    return path[1] not in (*_fields(optimiser), *optimisers.defaults(optimiser.name))


def _initial(scenario: Scenario, which: str) -> float:
    """The initial probability that all chosen (or all rejected) responses have."""
    own, other = {"chosen": (0, 2), "rejected": (1, 3)}[which]
    is_its = np.isin(np.asarray(scenario.roles), (own, other))
    values = np.exp(np.asarray(scenario.log_table))[is_its]
    if values.size == 0 or np.ptp(values) > 1e-6 * values.max():
        mend = "set the scenario as a whole"
        given = np.unique(values.round(6)).tolist()
        raise refuse(f"scenario.{which}", given, f"one probability of all {which} responses", mend)
    return float(values.mean())


def place(parts: Parts, setting: str, value: Any) -> Parts:
    """The parts with one setting replaced; ranges are checked where `value` is concrete.

    Args:
        parts: the parts.
        setting: such as ``loss.beta``, ``policy.hidden``, ``scenario.chosen`` or
            ``scenario.pairs.weight[0]``.
        value: the new value, or an array of them, one a cell.
    """
    path = _path(setting)
    if len(path) == 1:
        part = str(path[0])
        return dataclasses.replace(parts, **{part: _whole_part(part, value, parts)})
    if path[0] == "scenario" and path[1:] in [[name] for name in INITIAL]:
        moved = scenarios.with_initial(parts.scenario, **{str(path[1]): value})
        return dataclasses.replace(parts, scenario=moved)
    placed: Parts = _replaced(parts, path, value, setting)
    return placed


def place_all(parts: Parts, values: Mapping[str, Any]) -> Parts:
    """The parts with several settings replaced; both initial probabilities at once."""
    initial = {name: values[f"scenario.{name}"] for name in INITIAL if f"scenario.{name}" in values}
    if initial:
        moved = scenarios.with_initial(parts.scenario, **initial)
        parts = dataclasses.replace(parts, scenario=moved)
    for setting, value in values.items():
        if setting not in [f"scenario.{name}" for name in INITIAL]:
            parts = place(parts, setting, value)
    return parts


def _whole_part(part: str, value: Any, parts: Parts) -> Any:
    if part == "optimiser":
        return _optimiser(value, parts.optimiser)
    return PARTS[part](value)


def _optimiser(value: Any, old: Optimiser | Custom) -> Optimiser | Custom:
    """Another optimiser; by name, it keeps the old one's rate and options."""
    if not isinstance(value, str) or not isinstance(old, Optimiser):
        return optimisers.get(value, None)
    given = {**old.options, **dict(old.flags)}
    made = optimisers.get(value, old.learning_rate)
    foreign = sorted(set(given) - set(optimisers.defaults(value)))
    if foreign:
        expected = f"an optimiser that has the base's {', '.join(foreign)}"
        mend = f"give it as toymodel.optimisers.get({value!r}, ...), with options of its own"
        raise refuse("optimiser", value, expected, mend)
    return optimisers.get(value, old.learning_rate, **given) if given else made


#: The parts, and what makes each of a name.
PARTS: dict[str, Any] = {
    "scenario": scenarios.get,
    "policy": policies.get,
    "loss": losses.get,
    "optimiser": optimisers.get,
}


def _path(setting: str) -> list[str | int]:
    name = ALIASES.get(setting, setting)
    found = re.findall(r"[A-Za-z_]\w*|\[[\d, ]+\]", name)
    if "".join(found) != name.replace(".", "") or not all(name.split(".")):
        raise refuse("setting", setting, "a dotted name such as loss.beta")
    path: list[str | int] = []
    for step in found:
        path += [int(n) for n in step[1:-1].split(",")] if step[0] == "[" else [step]
    return path


def _fields(part: Any) -> list[str]:
    if isinstance(part, Mapping):
        return list(part)
    return [f.name for f in dataclasses.fields(part)] if dataclasses.is_dataclass(part) else []


def _option(optimiser: Optimiser, name: str, setting: str) -> Any:
    """The default of an option of optax's function that is not given."""
    known = optimisers.defaults(optimiser.name)
    if name not in known:
        expected = sorted({"learning_rate", *known})
        raise unknown(f"setting {setting!r} of optimiser {optimiser.name!r}", name, expected)
    return known[name]


def _child(part: Any, step: str | int, setting: str) -> Any:
    if isinstance(step, int):
        size = np.shape(part)[0] if isinstance(part, jax.Array | np.ndarray) else len(part)
        if step >= size:
            raise refuse(setting, step, f"an index from 0 to {size - 1}")
        return part[step]
    if isinstance(part, Optimiser) and step not in _fields(part):
        return part.options.get(step, _option(part, step, setting))
    if isinstance(part, Custom):
        raise InputError(
            f"{setting}: an optax object hides its numbers, expected an optimiser by name. "
            'To mend it: write optimiser="adam".'
        )
    if step not in _fields(part):
        raise unknown(f"setting {setting!r}", step, _fields(part) or ["(nothing)"])
    return part[step] if isinstance(part, Mapping) else getattr(part, step)


def _replaced(part: Any, path: list[str | int], value: Any, setting: str) -> Any:
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(part, Optimiser) and isinstance(step, str) and step not in _fields(part):
        if isinstance(_option(part, step, setting), bool):
            return dataclasses.replace(part, flags=tuple({**dict(part.flags), step: value}.items()))
        return dataclasses.replace(part, options={**part.options, step: value})
    child = _replaced(_child(part, step, setting), rest, value, setting)
    if isinstance(part, tuple) and isinstance(step, int):
        return (*part[:step], child, *part[step + 1 :])
    if isinstance(part, jax.Array | np.ndarray):
        return jnp.asarray(part).at[step].set(child)
    return dataclasses.replace(part, **{str(step): child})
