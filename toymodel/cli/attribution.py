"""The command that tells causes: switch ingredients of a run off, alone and together."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from toymodel import attribution as tool
from toymodel import losses, optimisers, policies
from toymodel._errors import refuse
from toymodel.cli.options import (
    OK,
    X64,
    Json,
    Quiet,
    as_json,
    set_precision,
    settings_of,
    value_of,
)
from toymodel.plots import effects as picture
from toymodel.storage import writable_folder
from toymodel.sweeps import Sweep


def attribute(
    scenario: str = "both_on_policy",
    /,
    *,
    hidden: int = 100,
    beta: float = 0.02,
    learning_rate: float = 3e-4,
    steps: int = 2000,
    seeds: int = 32,
    match: str | None = None,
    leave: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    switch: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    settings: Annotated[tuple[str, ...], Parameter(name=["--set", "-s"], negative="")] = (),
    out: Path | None = None,
    json: Json = False,
    x64: X64 = False,
    quiet: Quiet = False,
) -> int:
    """Say which ingredients cause drop, degradation and dispersion.

    A network is trained with DPO and Adam. Its ingredients (shared weights, a second moment for
    each weight, long memory, momentum) are switched off one at a time and in every combination,
    from the same seeds. An ingredient is necessary if the phenomenon ends without it, sufficient if
    it comes with it alone.

    Examples:

    `toymodel attribute` asks in the calibrated setting of the paper's figures.

    `toymodel attribute chosen_off_policy --match drop` gives every combination the learning rate
    at which the rejected falls as far: a fair comparison of optimisers.

    `toymodel attribute --leave momentum --out runs/causes` leaves one in, and draws the effects.

    `toymodel attribute --switch "sharing: policy=tabular" --switch "table: scenario.chosen=0.02"`
    asks about ingredients of your own.

    Parameters
    ----------
    scenario
        A name that `toymodel scenarios` lists.
    hidden
        Units of the hidden layer.
    beta
        DPO's beta.
    learning_rate
        Adam's; every combination's, without --match.
    steps
        Training steps.
    seeds
        Number of seeds, 0 to seeds - 1; two at least.
    match
        A measure (drop) that each combination must reach as the base does, by its learning rate.
    leave
        Standard ingredients to leave in, as often as needed.
    switch
        An ingredient and the settings that take it out, "NAME: SETTING=VALUE, ...", as often as
        needed; the standard ingredients are not asked about then.
    settings
        A number or structure of the base by dotted name, as often as needed:
        policy.activation=tanh, optimiser.eps=1e-4, loss.beta=0.1.
    out
        Folder for the picture (attribution.png) and the table (attribution.txt).
    """
    set_precision(x64)
    for name in leave:
        if name not in tool.STANDARD:
            raise refuse("--leave", name, " or ".join(map(repr, tool.STANDARD)))
    switches = {name: how for name, how in tool.STANDARD.items() if name not in leave}
    if switch:
        switches = dict(map(_switch, switch))
    chosen = settings_of(settings, ("policy", "loss", "optimiser"))
    folder = None if out is None else writable_folder(out)
    base = Sweep(
        scenario,
        policies.get("mlp", **{"hidden": (hidden,), **chosen["policy"]}),
        losses.get("dpo", **{"beta": beta, **chosen["loss"]}),
        optimisers.get("adam", **{"learning_rate": learning_rate, **chosen["optimiser"]}),
        steps=steps,
    )
    found = tool.attribute(base, switches, seeds=seeds, match=match, progress=not quiet)
    print(as_json(_as_data(found)) if json else found.table())
    if folder is not None:
        (folder / "attribution.txt").write_text(found.table() + "\n")
        picture(found).savefig(folder / "attribution.png")
        print(f"\nSaved {folder / 'attribution.png'} and attribution.txt", file=sys.stderr)
    return OK


def _switch(text: str) -> tuple[str, dict[str, Any]]:
    """``NAME: SETTING=VALUE, ...`` as an ingredient and what takes it out."""
    name, colon, rest = text.partition(":")
    found = [(part.strip()).partition("=") for part in rest.split(",")]
    if not colon or not name.strip() or not all(key and equals for key, equals, _ in found):
        expected = "NAME: SETTING=VALUE, ..."
        raise refuse("--switch", text, expected, 'such as "sharing: policy=tabular"')
    return name.strip(), {key: value_of(value, many=False) for key, _, value in found}


def _as_data(found: tool.Attribution) -> dict[str, Any]:
    """Effects and causes as plain data."""
    data = found.to_xarray().drop_vars(["outcome", "status"])
    rows = {
        str(measure): {
            str(name): {
                kind: [
                    float(data[f"{kind}{end}"].sel(measure=measure, ingredient=name))
                    for end in ("", "_low", "_high")
                ]
                for kind in ("without", "only", "removing", "adding", "main")
            }
            for name in data["ingredient"].values
        }
        for measure in data["measure"].values
    }
    return {
        "effects": rows,
        "effects_are": "mean, low, high",
        "necessary": found.necessary,
        "sufficient": found.sufficient,
        "sufficient_together": found.sufficient_together,
        "limits": dict(found.limits),
        "learning_rates": dict(
            zip(data["run"].values.tolist(), data["learning_rate"].values.tolist(), strict=True)
        ),
    }
