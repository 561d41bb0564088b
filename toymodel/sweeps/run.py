"""The entry functions of sweeps: `sweep` runs a design, `resume` goes on with a stored one."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import xarray as xr
from tqdm import tqdm

from toymodel._errors import InputError, refuse
from toymodel.sweeps import local, settings
from toymodel.sweeps.axes import Over
from toymodel.sweeps.layout import Block
from toymodel.sweeps.memory import Memory
from toymodel.sweeps.plan import Plan, Sweep, make
from toymodel.sweeps.store import Store
from toymodel.sweeps.targets import Target


def sweep(
    base: Sweep | None = None,
    over: Over = (),
    *,
    record: str | Iterable[str] = ("properties",),
    store: str | Path | None = None,
    overwrite: bool = False,
    chunk: int | None = None,
    workers: int | None = None,
    cluster: Any = None,
    progress: bool | None = True,
) -> xr.Dataset:
    """Train every cell of a design and return what was recorded, labelled.

    Args:
        base: what all cells have in common.
        over: what varies: a mapping from settings to values (a grid), or `toymodel.paired`,
            `toymodel.random`, `toymodel.latin_hypercube`, or a list of these (their product).
            Settings are ``scenario``, ``policy``, ``loss``, ``optimiser``, ``learning_rate``,
            ``batch_size``, ``seed``, and by dotted name anything inside of them: ``loss.beta``,
            ``policy.hidden``, ``policy.scale``, ``optimiser.b2``, ``scenario.chosen`` (the
            initial probability of chosen responses), ``scenario.pairs.weight[0]``.
        record: what to keep of each cell: ``properties`` (the three, measured on the fly),
            ``likelihoods`` (the paper's curves), ``log_probs``, ``final``. ``@n`` after a name
            records every n-th step; default: about 200 times.
        store: a Zarr folder. Results are written block by block; the same call goes on where it
            was stopped, and computes only what is new where values were appended to axes.
        overwrite: replace another sweep that is in `store`.
        chunk: cells trained at once. Default: as many as fit the cache.
        workers: streams of blocks on this machine. Default: one a core.
        cluster: compute on Dask instead: ``"local"``, an address, a scheduler file, or a Client.
        progress: show a progress bar if the sweep takes more than two seconds; None: only on a
            terminal.

    Returns:
        A Dataset with a dimension for each axis, and ``prompt``, ``step`` and so on after them.
        ``status`` says what became of each cell. With a store it is opened lazily.

    Raises:
        InputError: a setting or value that does not fit, or a store that is damaged, foreign, of
            another sweep, or being written by another process.

    Example:
        >>> import toymodel as tm
        >>> found = tm.sweep(
        ...     tm.Sweep(policy="tabular", optimiser="sgd", learning_rate=1.0, steps=100),
        ...     {"loss.beta": [0.1, 1.0], "scenario": ["both_on_policy", "both_off_policy"]},
        ... )
        >>> dict(found["drop"].sizes)
        {'loss.beta': 2, 'scenario': 2, 'prompt': 4}
    """
    plan = make(base or Sweep(), over, record, chunk=chunk)
    if store is None:
        return _run(plan, Memory(plan.layout), workers, cluster, progress)
    described = settings.describe(plan)
    plan = _with_settings(plan, described)
    path = Path(store)
    if not path.exists() or overwrite:
        return _run(
            plan, Store.create(path, plan.layout, overwrite=overwrite), workers, cluster, progress
        )
    target = Store.open(path)
    extended = _compared(described, target, path)
    if extended is not None:
        plan = dataclasses.replace(plan, layout=extended, chunk=target.layout.settings["chunk"])
        with target.locked():
            target.extend(extended)
    return _run(_planned(target, path), target, workers, cluster, progress)


def resume(
    store: str | Path,
    *,
    workers: int | None = None,
    cluster: Any = None,
    progress: bool | None = True,
) -> xr.Dataset:
    """Go on with a stored sweep that was stopped; finished blocks are not computed again.

    Args:
        store: the Zarr folder.
        workers: streams of blocks on this machine. Default: one a core.
        cluster: compute on Dask instead; see `sweep`.
        progress: show a progress bar.

    Raises:
        InputError: nothing there, damaged, or being written by another process.
    """
    target = Store.open(store)
    return _run(_planned(target, Path(store)), target, workers, cluster, progress)


def open_sweep(store: str | Path) -> xr.Dataset:
    """The results of a stored sweep so far, opened lazily; cells to come have status 0.

    Raises:
        InputError: nothing there, not a sweep, or damaged.
    """
    return Store.open(store).dataset()


def _run(
    plan: Plan, target: Target, workers: int | None, cluster: Any, progress: bool | None
) -> xr.Dataset:
    layout = target.layout
    with target.locked():
        pending = target.pending()
        missing = {block: int((~target.finished(block)).sum()) for block in pending}
        done = layout.cells - sum(missing.values())
        with tqdm(
            total=layout.cells,
            initial=done,
            unit="cell",
            desc="sweep",
            delay=2,
            smoothing=0.05,
            disable=None if progress is None else not progress,
        ) as bar:
            for block, digest in _engine(plan, target, pending, workers, cluster):
                target.commit(block, digest)
                bar.update(missing[block])
    return target.dataset()


def _engine(
    plan: Plan, target: Target, pending: list[Block], workers: int | None, cluster: Any
) -> Iterator[tuple[Block, int]]:
    if not pending:
        return iter(())
    if cluster is None:
        return local.run(plan, target, pending, workers)
    from toymodel.sweeps import cluster as dask_cluster  # an optional dependency

    return dask_cluster.run(plan, target, pending, cluster, workers)


def _with_settings(plan: Plan, described: Mapping[str, Any]) -> Plan:
    return dataclasses.replace(plan, layout=dataclasses.replace(plan.layout, settings=described))


def _planned(target: Store, path: Path) -> Plan:
    """The plan of a stored sweep, whose blocks are as they were cut when it was made."""
    stored = dict(target.layout.settings)
    precision = jnp.result_type(float).name
    if stored["precision"] != precision:
        wanted = stored["precision"] == "float64"
        raise refuse(
            "store",
            f"{path}, computed in {stored['precision']}",
            f"the present precision, {precision}",
            f'jax.config.update("jax_enable_x64", {wanted}) before anything else'
            + (", or --x64" if wanted else ""),
        )
    return settings.planned(stored, target.layout)


def _compared(described: Mapping[str, Any], target: Store, path: Path) -> Any:
    """None where a store holds just this sweep; its longer layout where values were appended."""
    stored = dict(target.layout.settings)
    old, new = _as_json(stored), _as_json(described)
    del old["chunk"], new["chunk"]  # how cells are batched is the store's to say
    if old == new:
        return None
    old_over, new_over = old.pop("over"), new.pop("over")
    for key in old:
        if old[key] != new.get(key):
            raise _another(path, key, old[key], new.get(key))
    if [axis["dim"] for axis in old_over] != [axis["dim"] for axis in new_over]:
        dims = [[axis["dim"] for axis in over] for over in (old_over, new_over)]
        raise _another(path, "dimensions", *dims)
    for before, after in zip(old_over, new_over, strict=True):
        for name, values in before["settings"].items():
            longer = after["settings"].get(name, [])
            if longer[: len(values)] != values:
                raise _another(path, name, values, longer)
    settings_now = {**described, "chunk": stored["chunk"]}
    plan = settings.plan_of(settings_now)
    return dataclasses.replace(plan.layout, steps=target.layout.steps, settings=settings_now)


def _another(path: Path, what: str, stored: Any, given: Any) -> InputError:
    return InputError(
        f"store: {str(path)!r} holds another sweep ({what} there: {stored!r}; now: {given!r}), "
        "expected the same sweep, or one with values appended to its axes. To mend it: choose "
        "another path, or pass overwrite=True (--overwrite)."
    )


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
