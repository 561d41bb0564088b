"""Dask as a sweep's engine: blocks are tasks, workers write their own regions, the client commits.

A worker that dies loses nothing but the block it was at, which Dask hands to another.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from toymodel._errors import InputError, refuse
from toymodel._version import __version__
from toymodel.sweeps import settings
from toymodel.sweeps.engine import Engine
from toymodel.sweeps.layout import Block
from toymodel.sweeps.plan import Plan
from toymodel.sweeps.store import Store
from toymodel.sweeps.targets import Target, compute_and_write

_AHEAD = 2  # blocks in hand for each thread of a worker: the next is there when one ends
_DEATHS = 10  # of workers at one block, before it is the block that is blamed
_TIMEOUT = "20s"


def run(
    plan: Plan, target: Target, blocks: Iterable[Block], cluster: Any, workers: int | None = None
) -> Iterator[tuple[Block, int]]:
    """Compute and write blocks on a cluster; yields each with its digest, as they end.

    Args:
        plan: the sweep.
        target: a `Store`, in a folder that client and workers share.
        blocks: to compute.
        cluster: ``"local"``, an address, a scheduler file, or a ``distributed.Client``.
        workers: processes of a local cluster; default: one a core.

    Raises:
        InputError: Dask is not installed, nobody answers, or the sweep has no store.
    """
    distributed = _distributed()
    if not isinstance(target, Store):
        mend = 'pass store="runs/mine.zarr"'
        raise refuse("store", None, "a folder that the workers of a cluster can write into", mend)
    task = functools.partial(_compute, str(target.path.absolute()), _digest(target))
    waiting = iter(blocks)
    with _client(distributed, cluster, workers) as client:
        _check_versions(client)
        threads = sum(client.nthreads().values()) or 1

        def submit(count: int) -> list[Any]:
            return [
                client.submit(task, block, pure=False, key=f"block-{block}")
                for block in itertools.islice(waiting, count)
            ]

        running = distributed.as_completed(submit(threads * _AHEAD))
        try:
            for future in running:
                block, digest = _result(future)
                for another in submit(1):
                    running.add(another)
                yield block, digest
        finally:  # Ctrl-C, or an error: what has not begun never does
            client.cancel(list(running.futures), force=True)


def _result(future: Any) -> tuple[Block, int]:
    if future.status == "error":
        error = future.exception()
        raise InputError(
            f"cluster: {future.key} failed ({type(error).__name__}: {error}), expected its "
            "results. What was committed is kept. To mend it: look at the workers' logs, and "
            "resume."
        ) from error
    found: tuple[Block, int] = future.result()
    return found


_one_at_a_time = threading.Lock()
_engines: dict[tuple[str, str], tuple[Engine, Store]] = {}


def _digest(store: Store) -> str:
    """Names the settings of a store: they may be long, and each worker reads them once."""
    return hashlib.sha256(json.dumps(dict(store.layout.settings)).encode()).hexdigest()


def _compute(path: str, digest: str, block: Block) -> tuple[Block, int]:
    """What a worker does: read the sweep from the store once, then compute and write blocks."""
    with _one_at_a_time:  # XLA uses the cores that a worker has
        key = path, digest
        if key not in _engines:
            store = Store.open(path)
            if _digest(store) != digest:
                expected = "the settings that the client has written there"
                raise refuse("store", f"{path} with other settings", expected, "resume")
            sweep = dict(store.layout.settings)
            with jax.enable_x64(sweep["precision"] == "float64"):
                plan = settings.planned(sweep, store.layout)
                _engines.clear()
                _engines[key] = Engine(plan), store
        engine, store = _engines[key]
        with jax.enable_x64(engine.plan.layout.settings["precision"] == "float64"):
            return block, compute_and_write(engine, store, block)


@contextlib.contextmanager
def _client(distributed: Any, cluster: Any, workers: int | None) -> Iterator[Any]:
    """A client of the cluster that is named; what was opened here is closed again."""
    if isinstance(cluster, distributed.Client):
        yield cluster
        return
    if cluster == "local":
        count = workers or os.cpu_count() or 1
        options = {
            "n_workers": count,
            "threads_per_worker": 1,
            "dashboard_address": ":0",
            "env": {"NPROC": str(max(1, (os.cpu_count() or 1) // count))},  # XLA's own threads
        }
        with distributed.LocalCluster(**options) as own, distributed.Client(own) as client:
            own.scheduler.allowed_failures = _DEATHS
            yield client
        return
    if not isinstance(cluster, str | Path):
        expected = '"local", an address, a scheduler file, or a distributed.Client'
        raise refuse("cluster", cluster, expected)
    is_file = "://" not in str(cluster)
    if is_file and not Path(cluster).is_file():
        raise refuse("cluster", str(cluster), '"local", tcp://host:port, or a scheduler file')
    where = {"scheduler_file": str(cluster)} if is_file else {"address": str(cluster)}
    try:
        client = distributed.Client(**where, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"cluster: nobody answers at {str(cluster)!r} ({error}), expected a Dask scheduler. "
            "To mend it: start one with `dask scheduler`, and workers with `dask worker`."
        ) from None
    with client:
        yield client


def _check_versions(client: Any) -> None:
    """Workers of another version could write other bits into one store."""
    client.wait_for_workers(1, timeout=60)
    ours = _versions()
    for worker, theirs in client.run(_versions).items():
        if theirs != ours:
            raise refuse(
                "cluster",
                f"worker {worker} with {theirs}",
                f"the client's versions, {ours}",
                "install the same ones",
            )


def _versions() -> Mapping[str, str]:
    return {"toymodel": __version__, "jax": jax.__version__}


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise InputError(
            "cluster: the package distributed is missing, expected Dask. To mend it: "
            'pip install "toymodel[cluster]".'
        ) from None
    return distributed
