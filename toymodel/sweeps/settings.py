"""Sweeps as plain data: what a settings file (TOML) says and what a store remembers (JSON).

Both hold the same keys, so that ``toymodel sweep file.toml`` and a resumed store are read by one
reader.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from toymodel import losses, optimisers, policies
from toymodel._errors import InputError, refuse, unknown
from toymodel._files import read_toml
from toymodel._registry import plain
from toymodel.losses import PreferenceLoss
from toymodel.optimisers import Custom, Optimiser
from toymodel.policies import Policy
from toymodel.scenarios import Pairs, Scenario
from toymodel.sweeps import axes
from toymodel.sweeps.axes import Axis, Over
from toymodel.sweeps.layout import Layout
from toymodel.sweeps.plan import Plan, Sweep, make

_OF_SWEEP = tuple(Sweep.__dataclass_fields__)
_KEYS = (*_OF_SWEEP, "over", "record", "chunk", "store", "precision")
_DESIGNS: dict[str, Any] = {
    "paired": axes.paired,
    "random": axes.random,
    "latin_hypercube": axes.latin_hypercube,
}
_SPACINGS: dict[str, Any] = {
    "geomspace": lambda given: axes.geomspace(*given),
    "linspace": lambda given: axes.linspace(*given),
    "range": lambda given: list(range(*(given if isinstance(given, list) else [given]))),
}


def read(path: str | Path) -> dict[str, Any]:
    """A settings file, as plain data.

    Raises:
        InputError: no such file, not TOML, or a key that is not known.
    """
    source = Path(path)
    found = read_toml(source)
    for key in found:
        if key not in _KEYS:
            raise unknown(f"key in {source.name}", key, _KEYS)
    if "over" not in found:
        raise refuse(source.name, "no [over]", "a table of settings with their values", _EXAMPLE)
    return found


_EXAMPLE = 'such as [over] "loss.beta" = [0.02, 0.1]'


def plan_of(settings: Mapping[str, Any]) -> Plan:
    """The plan that plain data describe."""
    own = {key: _part(key, settings[key]) for key in _OF_SWEEP if key in settings}
    if isinstance(settings.get("optimiser"), Mapping):
        own["learning_rate"] = None  # it is in the optimiser
    return make(
        Sweep(**own),
        over_of(settings["over"]),
        settings.get("record", ("properties",)),
        chunk=settings.get("chunk"),
    )


def planned(settings: Mapping[str, Any], layout: Layout) -> Plan:
    """The plan of a stored sweep, whose blocks are as they were cut when it was made.

    Args:
        settings: what `describe` gave.
        layout: the store's.
    """
    return dataclasses.replace(plan_of(settings), layout=layout)


def describe(plan: Plan) -> dict[str, Any]:
    """A plan as plain data that JSON can hold, from which `plan_of` makes it again.

    Raises:
        InputError: a policy or loss without a registered name, or an optax object.
    """
    parts = plan.parts
    return {
        "scenario": _plain("scenario", parts.scenario),
        "policy": _plain("policy", parts.policy),
        "loss": _plain("loss", parts.loss),
        "optimiser": _plain("optimiser", parts.optimiser),
        "steps": plan.sweep.steps,
        "batch_size": plan.sweep.batch_size,
        "seed": plan.sweep.seed,
        "over": [
            {
                "dim": axis.dim,
                "settings": {
                    name: [_plain(name, value) for value in values]
                    for name, values in axis.settings.items()
                },
            }
            for axis in plan.axes
        ],
        "record": [str(record) for record in plan.records],
        "chunk": plan.chunk,
        "precision": jnp.result_type(float).name,
    }


def over_of(over: Any) -> Over:
    """A design from plain data: a table of settings, or a list of tables and designs."""
    parts = over if isinstance(over, list) else [over]
    return [_axis_or_grid(part) for part in parts]


def _axis_or_grid(part: Any) -> Any:
    if not isinstance(part, Mapping):
        raise refuse("over", part, "a table of settings with their values", _EXAMPLE)
    if set(part) == {"dim", "settings"}:
        return Axis(part["dim"], {k: tuple(_values(k, v)) for k, v in part["settings"].items()})
    for name, make_axis in _DESIGNS.items():
        if name in part:
            options = {key: value for key, value in part.items() if key != name}
            settings = {key: _values(key, value) for key, value in part[name].items()}
            try:
                return make_axis(settings, **options)
            except TypeError as error:
                raise InputError(f"over, {name}: {error}.") from None
    return {name: _values(name, values) for name, values in part.items()}


def _values(name: str, given: Any) -> Any:
    if isinstance(given, Mapping):
        for spacing, spread in _SPACINGS.items():
            if set(given) == {spacing}:
                try:
                    return spread(given[spacing])
                except TypeError:
                    raise refuse(
                        f"over, {name!r}", given, f"{spacing} = [first, last, count]"
                    ) from None
        if "between" in given:
            options = {key: value for key, value in given.items() if key != "between"}
            return axes.between(*given["between"], **options)
        raise refuse(f"over, {name!r}", given, f"a list, or one of {', '.join(_SPACINGS)}, between")
    if not isinstance(given, list):
        raise refuse(f"over, {name!r}", given, "a list of values")
    return [_part(name, value) for value in given]


def _part(name: str, value: Any) -> Any:
    """A value from plain data: lists are tuples, tables are the parts that they describe."""
    if isinstance(value, Mapping):
        if "name" not in value:
            raise refuse(name, dict(value), "a name, and numbers beside it", 'such as name = "dpo"')
        if name == "scenario":
            return _scenario(value)
        if name == "optimiser":
            options = {key: number for key, number in value.items() if key != "name"}
            return optimisers.get(value["name"], options.pop("learning_rate", None), **options)
        registry = policies.REGISTRY if name == "policy" else losses.REGISTRY
        return registry.rebuild(value)
    return tuple(_part(name, item) for item in value) if isinstance(value, list) else value


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Policy):
        policies.REGISTRY.require(value)
        return policies.REGISTRY.describe(value)
    if isinstance(value, PreferenceLoss):
        losses.REGISTRY.require(value)
        return losses.REGISTRY.describe(value)
    if isinstance(value, Custom):
        mend = "name it, as in optimiser='adam', or sweep without a store"
        raise refuse(name, "an optax object", "an optimiser by name, which a store can hold", mend)
    if isinstance(value, Optimiser):
        return optimisers.describe(value)
    if isinstance(value, Scenario):
        pairs = value.pairs
        return {
            "name": value.name,
            "log_table": plain(value.log_table),
            "roles": plain(value.roles),
            "pairs": {key: plain(getattr(pairs, key)) for key in pairs.__dataclass_fields__},
            **({} if value.rewards is None else {"rewards": plain(value.rewards)}),
        }
    return plain(value)


def _scenario(given: Mapping[str, Any]) -> Scenario:
    columns = {
        key: jnp.asarray(np.asarray(values), float if key == "weight" else int)
        for key, values in given["pairs"].items()
    }
    return Scenario(
        log_table=jnp.asarray(given["log_table"], float),
        pairs=Pairs(**columns),
        roles=jnp.asarray(given["roles"], int),
        name=given["name"],
        rewards=jnp.asarray(given["rewards"], float) if "rewards" in given else None,
    )
