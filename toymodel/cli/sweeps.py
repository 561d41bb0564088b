"""Commands of parameter sweeps: run one, resume it, ask how far it is, draw it."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import xarray as xr
from cyclopts import App, Parameter

from toymodel import plots, sweeps
from toymodel._errors import InputError, refuse
from toymodel.cli.options import (
    INTERRUPTED,
    OK,
    X64,
    Json,
    Quiet,
    as_json,
    keep_compilations,
    set_precision,
)
from toymodel.sweeps import settings
from toymodel.sweeps.plan import Plan
from toymodel.sweeps.store import Store

Flag = Annotated[bool, Parameter(negative="")]

sweep = App(name="sweep", help="Run a parameter sweep from a settings file, or ask how far one is.")


@sweep.default
def run(
    file: Path | None = None,
    /,
    *,
    resume: Path | None = None,
    store: Path | None = None,
    overwrite: Flag = False,
    workers: int | None = None,
    cluster: str | None = None,
    chunk: int | None = None,
    dry_run: Flag = False,
    json: Json = False,
    x64: X64 = False,
    quiet: Quiet = False,
) -> int:
    """Run a parameter sweep from a settings file; stopped at any instant, it goes on.

    Examples:

    `toymodel sweep examples/flex.toml` runs a design, or goes on with it.

    `toymodel sweep --resume runs/flex.zarr` goes on with a stored sweep.

    `toymodel sweep examples/flex.toml --dry-run` says what would be computed.

    `toymodel sweep status runs/flex.zarr` says how far it is.

    Parameters
    ----------
    file
        Settings (TOML): scenario, policy, loss, optimiser, steps, record, store, and a table
        [over] of settings with their values. examples/flex.toml explains each.
    resume
        A store to go on with, instead of a file.
    store
        Folder for the results, instead of the file's; runs/NAME.zarr if neither says.
    overwrite
        Replace another sweep that is in the store.
    workers
        Streams of blocks on this machine, or worker processes of a local cluster. Default: one a
        core.
    cluster
        Compute on Dask: local, an address such as tcp://host:8786, or a scheduler file.
    chunk
        Cells trained at once. Default: as many as fit the cache.
    dry_run
        Say what would be computed, and stop.
    """
    keep_compilations()
    if (file is None) == (resume is None):
        given = "neither" if file is None else "both"
        raise refuse(
            "settings file, --resume", given, "one of the two", "see toymodel sweep --help"
        )
    options: dict[str, Any] = {"workers": workers, "cluster": cluster, "progress": not quiet}
    if file is None:
        assert resume is not None
        path = resume
        apart = {"--store": store, "--overwrite": overwrite, "--chunk": chunk, "--dry-run": dry_run}
        for option, value in apart.items():
            if value:
                raise refuse(option, value, "no such option beside --resume", "leave it out")
        set_precision(x64 or Store.open(path).layout.settings["precision"] == "float64")
        return _finished(lambda: sweeps.resume(path, **options), path, json)
    found = settings.read(file)
    set_precision(x64 or found.get("precision") == "float64")
    if chunk is not None:
        found["chunk"] = chunk
    plan = settings.plan_of(found)
    if dry_run:
        print(as_json(_dry(plan)) if json else _dry_text(plan))
        return OK
    path = store or Path(found.get("store", f"runs/{file.stem}.zarr"))
    options |= {"store": path, "overwrite": overwrite, "chunk": found.get("chunk")}
    record = [str(record) for record in plan.records]
    return _finished(
        lambda: sweeps.sweep(plan.sweep, plan.axes, record=record, **options), path, json
    )


@sweep.command
def status(store: Path, /, *, verify: Flag = False, json: Json = False) -> int:
    """Say how far a stored sweep is.

    Example: `toymodel sweep status runs/flex.zarr --verify`

    Parameters
    ----------
    store
        The Zarr folder.
    verify
        Read everything and check it against its checksums.
    """
    opened = Store.open(store)
    if verify:
        opened.verify(progress=not json)
    progress = dataclasses.asdict(opened.progress())
    if json:
        print(as_json(progress | {"settings": dict(opened.layout.settings)}))
        return OK
    counts = opened.dataset()
    print(f"{store}: {_of(progress['cells_done'], progress['cells'])} cells")
    print(_summary(counts))
    if progress["cells_done"] < progress["cells"]:
        print(f"\nGo on: toymodel sweep --resume {store}")
    return OK


def plot(
    store: Path,
    /,
    *,
    x: str | None = None,
    y: str | None = None,
    value: str = "drawdown",
    hue: str | None = None,
    columns: str | None = None,
    rows: str | None = None,
    out: Path | None = None,
) -> int:
    """Draw a stored sweep: a curve with bands over seeds, or a phase diagram.

    Examples:

    `toymodel plot runs/flex.zarr` lists what can be drawn.

    `toymodel plot runs/flex.zarr --x loss.beta_rejected --y drawdown --hue learning_rate`

    `toymodel plot runs/flex.zarr --x loss.beta_chosen --y loss.beta_rejected --value dispersion`

    Parameters
    ----------
    store
        The Zarr folder.
    x
        The axis across.
    y
        A variable, for a curve; another axis, for a phase diagram.
    value
        What a phase diagram shows in colour.
    hue
        An axis with a curve for each of its values.
    columns
        An axis with a panel for each of its values.
    rows
        An axis with a row of panels for each of its values (phase diagrams).
    out
        The picture. Default: beside the store.
    """
    found = sweeps.open_sweep(store)
    if x is None or y is None:
        print(_contents(found))
        return OK
    if y in found.sizes:
        figure = plots.phase_diagram(found, x, y, value, columns=columns, rows=rows)
    elif y in found.coords:
        figure = plots.scatter(found, x, y, value)
    else:
        figure = plots.marginal(found, x, y, hue=hue, columns=columns)
    path = out or store.with_suffix(f".{y}.png")
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"--out: cannot write {path} ({error}).") from None
    print(f"Picture: {path}")
    return OK


def _finished(compute: Any, path: Path, json: bool) -> int:
    """Run, and say what came of it; stopped by Ctrl-C, how to go on."""
    try:
        found = compute()
    except KeyboardInterrupt:
        print(
            f"\ntoymodel: stopped; nothing that was finished is lost. Go on with:\n"
            f"  toymodel sweep --resume {path}",
            file=sys.stderr,
        )
        return INTERRUPTED
    if json:
        print(as_json(dataclasses.asdict(Store.open(path).progress())))
        return OK
    print(_summary(found))
    axes = [str(dim) for dim in found["status"].dims if dim != "seed"]
    known = "drawdown" if "drawdown" in found else str(list(found.data_vars)[-1])
    if axes:
        print(f"\nStored: {path}\nPlot:   toymodel plot {path} --x {axes[-1]} --y {known}")
    return OK


def _summary(found: xr.Dataset) -> str:
    """Dimensions, what became of the cells, and the ranges of the three properties."""
    names = found["status"].attrs["flag_meanings"].split()
    codes, counts = np.unique(found["status"].values, return_counts=True)
    cells = ", ".join(
        f"{count} {names[code].replace('_', ' ')}"
        for code, count in zip(codes, counts, strict=True)
    )
    sizes = " x ".join(f"{found.sizes[dim]} {dim}" for dim in found["status"].dims)
    lines = [f"axes    {sizes or 'one cell'}", f"cells   {cells}"]
    for name in ("drop", "drawdown", "dispersion"):
        if name in found:
            values = found[name].values
            if np.isfinite(values).any():
                low, middle, high = np.nanquantile(values, [0.05, 0.5, 0.95])
                unit = found[name].attrs.get("units", "")
                lines.append(
                    f"{name:11} median {middle:.3g} {unit} (5-95 %: {low:.3g} to {high:.3g})"
                )
    return "\n".join(lines)


def _contents(found: xr.Dataset) -> str:
    lines = ["axes:"]
    lines += [
        f"  {name:24} {found.sizes[dim]} values, along {dim}"
        for dim in found["status"].dims
        for name in found.coords
        if found[name].dims == (dim,)
    ]
    lines.append("variables:")
    lines += [
        f"  {name:24} {array.attrs.get('long_name', '')}" for name, array in found.data_vars.items()
    ]
    return "\n".join(map(str, lines))


def _dry(plan: Plan) -> dict[str, Any]:
    layout = plan.layout
    size = sum(
        int(np.prod(v.shape, dtype=int)) * v.dtype.itemsize for v in layout.variables.values()
    )
    return {
        "axes": dict(layout.sizes),
        "cells": layout.cells,
        "updates": layout.cells * plan.sweep.steps,
        "blocks": int(np.prod(layout.block_counts, dtype=int)),
        "chunk": plan.chunk,
        "bytes": size * layout.cells,
        "variables": list(layout.variables),
    }


def _dry_text(plan: Plan) -> str:
    facts = _dry(plan)
    sizes = " x ".join(f"{size} {dim}" for dim, size in facts["axes"].items())
    return (
        f"axes    {sizes or 'one cell'}\n"
        f"cells   {facts['cells']:,} of {plan.sweep.steps:,} steps, in {facts['blocks']:,} blocks, "
        f"{facts['chunk']} cells trained at once\n"
        f"disk    at most {facts['bytes'] / 1e6:,.1f} MB before compression\n"
        f"keeps   {', '.join(facts['variables'])}"
    )


def _of(done: int, cells: int) -> str:
    return f"{done:,} of {cells:,} ({done / max(cells, 1):.0%})"
