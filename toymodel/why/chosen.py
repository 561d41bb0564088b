"""Why the chosen falls in the paper's toy: which ingredients it takes, and what they do.

Ingredients are switched off one at a time and together; single steps are split by whose weights
move the chosen. ``docs/why/chosen.md`` has the answer.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import optimisers, scenarios, sweeps
from toymodel.attribution import Switches, attribute, estimate
from toymodel.losses import DPO
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.policies import MLP
from toymodel.scenarios import Scenario
from toymodel.studies.claims import DEGRADATION, claim, with_interval
from toymodel.studies.study import Claim, Study, register
from toymodel.sweeps import Axis, Sweep
from toymodel.why import chosen_depth
from toymodel.why.chosen_picture import draw
from toymodel.why.chosen_steps import MEASURED, trace

RATE = float(CALIBRATED.learning_rate)
_EVERY = 20
_CHUNK = 128  # runs trained at once, the fastest here

#: Adam with one thing changed: numbers of `toymodel.preconditioners.adam_pooled`.
METHODS: Mapping[str, Mapping[str, float]] = {
    "Adam": {},
    "one second moment an array": {"layer": 1.0},
    "one second moment a unit": {"row": 1.0},
    "each weight's own clock": {"own_clock": 1.0},
    "memory of 10 steps": {"b2": 0.9},
}
_PLAIN = {"b2": 0.999, "row": 0.0, "layer": 0.0, "own_clock": 0.0}
MULTIPLES = (0.5, 1.0, 3.0)

#: Ingredients and how each is taken out, for a base that trains with `adam_pooled`.
SWITCHES: Switches = {
    "shared weights": {"policy": "tabular"},
    "a second moment a weight": {"optimiser.layer": 1.0},
    "long memory": {"optimiser.b2": 0.9},
    "momentum": {"optimiser.b1": 0.0},
}

#: The other setting in which the fall was seen: the network, the loss, the rate and the steps.
OTHER = Sweep(
    policy=MLP(hidden=(64,)),
    loss=DPO(beta=0.1),
    optimiser="adam_pooled",
    learning_rate=4e-4,
    steps=3000,
)
NETWORK = MLP(hidden=(100,))  # as in CALIBRATED
BASE = Sweep(
    policy=NETWORK,
    loss=CALIBRATED.loss,
    optimiser="adam_pooled",
    learning_rate=RATE,
    steps=EPOCHS,
)


def one_prompt() -> Scenario:
    """The first prompt of both_on_policy, its pair and its table; no other prompt."""
    return scenarios.build([[0.12] * 8 + [0.03, 0.01]], [(0, 0, 4)], name="one prompt")


def compute(seeds: int) -> xr.Dataset:
    """Traces of single steps, the properties over methods and rates, and the attribution."""
    world = scenarios.both_on_policy()
    runs = {name: _traced(world, NETWORK, options, seeds) for name, options in METHODS.items()}
    runs["hidden bias held"] = _traced(world, NETWORK, {}, seeds, bias=0.0)
    runs["tanh units"] = _traced(world, dataclasses.replace(NETWORK, activation="tanh"), {}, seeds)
    runs["one prompt alone"] = _traced(one_prompt(), NETWORK, {}, seeds)
    traces: xr.Dataset = xr.concat(
        list(runs.values()), xr.DataArray(list(runs), dims="variant", name="variant")
    )
    found = attribute(
        BASE, SWITCHES, seeds=seeds, match="drop", factorial=False, progress=None
    ).to_xarray()
    tables: list[xr.Dataset] = [
        traces,
        _over_rates(BASE, METHODS, seeds, MULTIPLES, ""),
        _over_rates(OTHER, dict(list(METHODS.items())[:2]), seeds, (1.0,), "other_"),
        found.drop_vars(["outcome", "status", "present"]),
        chosen_depth.compute(seeds, one_prompt()),
    ]
    merged: xr.Dataset = xr.merge(tables, join="exact", combine_attrs="drop")
    return merged


def _traced(
    world: Scenario,
    policy: MLP,
    options: Mapping[str, float],
    seeds: int,
    bias: float = 1.0,
) -> xr.Dataset:
    # numbers are floats, all given: one compilation for all methods
    method = optimisers.get("adam_pooled", RATE, **{**_PLAIN, **options})
    parts = (world, policy, CALIBRATED.loss, method, jnp.arange(seeds), bias)
    found = trace(*parts, records=EPOCHS // _EVERY, every=_EVERY)
    log_chosen = np.asarray(found["log_chosen"])
    fall = (log_chosen.max(axis=1) - log_chosen[:, -1]).mean(axis=-1)
    return xr.Dataset(
        {
            name: (("seed", "step"), np.asarray(found[name]), {"long_name": text})
            for name, text in MEASURED.items()
        }
        | {"traced_drawdown": ("seed", fall)},
        {"seed": np.arange(seeds), "step": _EVERY * np.arange(EPOCHS // _EVERY)},
    )


def _over_rates(
    base: Sweep,
    methods: Mapping[str, Mapping[str, float]],
    seeds: int,
    multiples: tuple[float, ...],
    prefix: str,
) -> xr.Dataset:
    """Drop and drawdown of each method at several learning rates, mean over prompts."""
    settings = {
        f"optimiser.{name}": tuple(options.get(name, default) for options in methods.values())
        for name, default in _PLAIN.items()
    }
    assert base.learning_rate is not None
    rates = {"learning_rate": tuple(base.learning_rate * m for m in multiples)}
    over: list[Any] = [Axis("changed", settings), Axis("rate", rates), {"seed": range(seeds)}]
    found = sweeps.sweep(base, over, chunk=_CHUNK, progress=None)
    dims = (f"{prefix}changed", f"{prefix}multiple")
    columns: dict[str, Any] = {}
    for name in ("drop", "drawdown", "dispersion"):
        values = found[name].mean("prompt").values
        interval = estimate(values)
        columns[f"{prefix}{name}"] = ((*dims, "seed"), values)
        columns[f"{prefix}{name}_low"] = (dims, interval.low)
        columns[f"{prefix}{name}_high"] = (dims, interval.high)
    places = {dims[0]: list(methods), dims[1]: list(multiples), "seed": range(seeds)}
    return xr.Dataset(columns, places)


# Claims -----------------------------------------------------------------------------------------


def compare(found: xr.Dataset) -> list[Claim]:
    """Each statement of the write-up, with its interval over seeds."""
    claims = []
    fall = found["drawdown"].sel(multiple=1.0)
    adam = fall.sel(changed="Adam")
    claims.append(claim("Adam", "drawdown", adam, above=DEGRADATION))
    for name in ("one second moment an array", "one second moment a unit", "memory of 10 steps"):
        claims.append(claim(name, "drawdown", fall.sel(changed=name), below=DEGRADATION))
    clock = "each weight's own clock"
    for multiple in (1.0, 3.0):
        one = found["drawdown"].sel(multiple=multiple)
        share = 1 - one.sel(changed=clock) / one.sel(changed="Adam").mean("seed")
        what = f"share of Adam's drawdown removed, rate x{multiple:g}"
        claims.append(claim(clock, what, share, above=0))
    for name in ("hidden bias held", "tanh units", "one prompt alone"):
        fallen = found["traced_drawdown"].sel(variant=name)
        claims.append(claim(name, "drawdown", fallen, below=DEGRADATION))
    steps = found.sel(variant="Adam")
    claims += [
        claim(
            "Adam",
            "least push of own output weights",
            steps["own"].min("step", skipna=False),
            above=0,
        ),
        claim("Adam", "all pushes at step 1,500", _net(steps).sel(step=1500), below=0),
    ]
    for name in (*METHODS, "hidden bias held", "tanh units"):
        if name != clock:
            ratio = found["ratio"].sel(variant=name, step=1000)
            ends = {"above": 1.0} if name == "Adam" else {"below": 1.0}
            claims.append(claim(name, "others' raise over own, 1,000", ratio, **ends))
    for name, ends in (
        ("Adam", {"above": 1.2}),
        ("memory of 10 steps", {"above": 0.9, "below": 1.1}),
    ):
        at = found.sel(variant=name, step=1000)
        ratio = at["late_length"] / at["early_length"]
        claims.append(claim(name, "late over early step, 1,000", ratio, **ends))
    claims += [_necessary(found, name) for name in SWITCHES if name != "momentum"]
    for name, ends in (
        ("Adam", {"above": DEGRADATION}),
        ("one second moment an array", {"below": DEGRADATION}),
    ):
        one = found["other_drawdown"].sel(other_changed=name, other_multiple=1.0)
        claims.append(claim(f"4-64-10, {name}", "drawdown", one, **ends))
    return claims + chosen_depth.compare(found)


def _necessary(found: xr.Dataset, name: str) -> Claim:
    """That degradation ends where an ingredient is taken out, at an equal drop."""
    row = found.sel(ingredient=name, measure="drawdown")
    level, low, high = (float(row[f"without{end}"]) for end in ("", "_low", "_high"))
    what = f"drawdown without, equal drop [{low:.3g}, {high:.3g}]"
    return Claim(name, what, level, f"< {DEGRADATION:g}", high < DEGRADATION)


def table(found: xr.Dataset) -> str:
    """Drop and degradation of every arm, and the parts of Adam's steps, as Markdown."""
    lines = [
        "| method | rate, times 3e-4 | drop (nats) | degradation (nats) |",
        "|---|---|---|---|",
    ]
    for name in found["changed"].values:
        for multiple in found["multiple"].values:
            one = found.sel(changed=name, multiple=multiple)
            cells = " | ".join(with_interval(one[n]) for n in ("drop", "drawdown"))
            lines.append(f"| {name} | {multiple:g} | {cells} |")
    at_equal_drop = found.sel(measure="drawdown")
    for name in found["ingredient"].values:
        one = at_equal_drop.sel(ingredient=name)
        ends = ", ".join(f"{float(one[f'without_{end}']):.3g}" for end in ("low", "high"))
        lines.append(f"| without {name} | equal drop | - | {float(one['without']):.3g} [{ends}] |")
    lines += chosen_depth.table(found)
    shown = (0, 300, 600, 1000, 1500, EPOCHS - _EVERY)
    lines += ["", "What one step of Adam does to the chosen (1e-3 nats), mean over prompts:", ""]
    heads = " | ".join(f"step {step:,}" for step in shown)
    lines += [f"| part | {heads} |", "|---" * (len(shown) + 1) + "|"]
    adam = found.sel(variant="Adam")
    for part in ("own", "others", "hidden"):
        row = " | ".join(with_interval(1e3 * adam[part].sel(step=step)) for step in shown)
        lines.append(f"| {part} | {row} |")
    return "\n".join(lines) + "\n"


def _net(found: xr.Dataset) -> xr.DataArray:
    return found["own"] + found["others"] + found["hidden"]


FIGURE = register(
    Study(
        name="why_chosen",
        title="Why the chosen falls with one hidden layer: Adam's memory, other prompts' pairs",
        alt=(
            "Six panels: the chosen falls with Adam and not with one thing changed; pushes of own "
            "and other pairs; steps by age of unit."
        ),
        caption=(
            "One hidden layer. Top left: the chosen under Adam, and with one thing changed; "
            "dashed: another network or world. Top middle: what single steps do to the chosen, by "
            "whose output weights move it. Top right: how far a step raises other prompts' chosen "
            "responses, over how far it raises the own.\n"
            "Bottom left: steps of output weights by the age of their unit. Bottom middle: what "
            "taking one ingredient out leaves of the degradation, at an equal drop. Bottom right: "
            "the degradation at three learning rates, 1/2, 1 and 3 times the calibrated one. Bands "
            "hold the middle 95 % of seeds; bars are 95 % intervals of the mean."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
        table=table,
        on_request=True,
        group="why",
        seeds=32,
    )
)
