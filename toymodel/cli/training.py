"""The command that trains: one run, its three properties, its picture."""

import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import xarray as xr
from cyclopts import Parameter

from toymodel import losses, optimisers, plots, policies, simulation
from toymodel._errors import refuse
from toymodel.cli.options import OK, X64, Json, Quiet, as_json, set_precision, settings_of
from toymodel.storage import writable_folder


def simulate(
    scenario: str = "both_on_policy",
    /,
    *,
    policy: str = "mlp",
    loss: str = "dpo",
    optimiser: str = "adam",
    learning_rate: float = 3e-4,
    settings: Annotated[tuple[str, ...], Parameter(name=["--set", "-s"], negative="")] = (),
    steps: int = 2000,
    seeds: int = 1,
    batch_size: int | None = None,
    out: Path | None = None,
    json: Json = False,
    x64: X64 = False,
    quiet: Quiet = False,
) -> int:
    """Train a policy in one scenario and print the three properties.

    Examples:

    `toymodel simulate chosen_off_policy` trains a network of the paper's size with DPO and Adam.
    (The calibrated setting of its figures has `--set loss.beta=0.02`.)

    `toymodel simulate --loss flex_dpo --set loss.beta_rejected=0.05 --seeds 8`

    `toymodel simulate --policy tabular --optimiser sgd --learning-rate 10 --out runs/tabular`

    Parameters
    ----------
    scenario
        A name that `toymodel scenarios` lists.
    policy
        tabular or mlp.
    loss
        A name that `toymodel losses` lists.
    optimiser
        A name of an optax optimiser, such as adam, sgd, rmsprop, lion.
    learning_rate
        The size of a step.
    settings
        A number or structure by dotted name, as often as needed: loss.beta=0.05,
        policy.hidden=64,64, policy.activation=tanh, optimiser.b2=0.9.
    steps
        Training steps.
    seeds
        Number of seeds, 0 to seeds - 1.
    batch_size
        Pairs a step; all where left out.
    out
        Folder for the run (Zarr) and its picture.
    """
    set_precision(x64)
    chosen = settings_of(settings, ("policy", "loss", "optimiser"))
    chosen["policy"] = {**({"hidden": (100,)} if policy == "mlp" else {}), **chosen["policy"]}
    if "learning_rate" in chosen["optimiser"]:
        learning_rate = chosen["optimiser"].pop("learning_rate")
    folder = None if out is None else writable_folder(out)
    run = simulation.simulate(
        scenario,
        policies.get(policy, **chosen["policy"]),
        losses.get(loss, **chosen["loss"]),
        optimisers.get(optimiser, learning_rate, **chosen["optimiser"]),
        steps=steps,
        seed=_seeds(seeds),
        batch_size=batch_size,
        progress=not quiet,
    )
    found = run.properties()
    if json:
        print(as_json(_as_data(found)))
    else:
        print(run, run.fit, "", _properties_table(found), sep="\n")
    if folder is not None:
        saved = run.save(folder / "run.zarr", overwrite=True)
        plots.likelihoods(run).savefig(folder / "likelihoods.png")
        print(f"\nSaved {saved} and {folder / 'likelihoods.png'}", file=sys.stderr)
    return OK


def _seeds(count: int) -> int | list[int]:
    if count < 1:
        raise refuse("seeds", count, "a whole number >= 1")
    return 0 if count == 1 else list(range(count))


def _properties_table(found: xr.Dataset) -> str:
    """The properties as text: one row a prompt, medians over the seeds where a thing happened."""
    rows = [
        f"{'prompt':>6} {'drop':>9} {'onset':>11} {'peak pi+':>9} {'at':>11} {'drawdown':>9} "
        f"{'onset':>11} {'outside':>16} {'onset':>11}  most mass went to"
    ]
    for prompt in range(found.sizes["prompt"]):
        row = found.isel(prompt=prompt)
        roles = row["receiving_role"].values.reshape(-1).tolist()
        size = {name: float(row[name].median()) for name in ("drop", "peak", "drawdown")}
        outside = " -> ".join(
            f"{float(row[name].median()):.3f}" for name in ("outside_minimum", "outside_final")
        )
        rows.append(
            f"{prompt:6d} {size['drop']:9.2f} {_step(row.drop_onset)} {np.exp(size['peak']):9.3f} "
            f"{_step(row.peak_step)} {size['drawdown']:9.3f} {_step(row.degradation_onset)} "
            f"{outside:>16} {_step(row.dispersion_onset)}  {max(set(roles), key=roles.count)}"
        )
    rows.append("drop and drawdown in nats; onsets in steps, - for never.")
    if "seed" in found.dims:
        rows.append("Medians over seeds; onsets over the seeds where they came (how many of all).")
    return "\n".join(rows)


def _step(values: xr.DataArray) -> str:
    """The median of the steps that exist, and in how many seeds they do."""
    all_seeds = np.atleast_1d(values.values)
    came = all_seeds[np.isfinite(all_seeds)]
    if came.size == 0:
        return f"{'-':>11}"
    share = f" ({came.size}/{all_seeds.size})" if came.size < all_seeds.size else ""
    return f"{np.median(came):.0f}{share}".rjust(11)


def _as_data(dataset: xr.Dataset) -> dict[str, Any]:
    values = {str(name): array.values.tolist() for name, array in dataset.items()}
    return {"dims": dict(dataset.sizes), **dataset.attrs, **values}
