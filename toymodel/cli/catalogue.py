"""Commands that list what has a name: scenarios and losses."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from toymodel import losses as loss_registry
from toymodel import scenarios as scenario_registry
from toymodel.cli.options import OK, Json, as_json


def scenarios(*, json: Json = False) -> int:
    """List the scenarios that have a name.

    Example: `toymodel scenarios --json`
    """
    rows = {name: scenario_registry.get(name) for name in scenario_registry.names()}
    if json:
        tables = {name: world.table.tolist() for name, world in rows.items()}
        print(as_json(tables))
    else:
        for name in rows:
            print(f"{name:22} {_first_line(scenario_registry.REGISTRY[name])}")
    return OK


def losses(name: str | None = None, /, *, json: Json = False) -> int:
    """List the preference losses, or show one with its formula and hyper-parameters.

    Examples: `toymodel losses`, `toymodel losses flex_dpo`

    Parameters
    ----------
    name
        A loss. All where none is named.
    """
    if name is None:
        rows = {key: _numbers(key) for key in loss_registry.names()}
        if json:
            print(as_json(rows))
        else:
            for key, numbers in rows.items():
                given = ", ".join(f"{k}={v['default']:g}" for k, v in numbers.items())
                print(f"{key:14} {given:44} {_first_line(loss_registry.REGISTRY[key])}")
    elif json:
        print(as_json(_numbers(name)))
    else:
        print(inspect.getdoc(loss_registry.REGISTRY[name]))
    return OK


def _first_line(thing: Callable[..., Any]) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]


def _numbers(name: str) -> dict[str, dict[str, Any]]:
    loss: Any = loss_registry.REGISTRY[name]
    return {
        field.name: {"default": field.default, "meaning": field.metadata["doc"]}
        for field in dataclasses.fields(loss)
    }
