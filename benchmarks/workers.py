"""What a second worker brings: two local processes against one process with one thread."""

import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 2000


def _many(cells: int) -> dict[str, list[float]]:
    return {
        "loss.beta": np.geomspace(0.02, 0.2, 256).tolist(),
        "learning_rate": np.geomspace(1e-4, 1e-3, cells // 256).tolist(),
    }


def _one_thread(pipe: Any, cells: int) -> None:
    """A process that answers each word on the pipe with the seconds of a sweep."""
    os.environ["NPROC"] = "1"  # XLA's own threads: read when JAX starts, so before it is imported
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import toymodel as tm

    base = tm.Sweep(policy=tm.MLP(hidden=(64,)), steps=STEPS)
    while pipe.recv():
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            options = {"record": "final", "workers": 1, "progress": False}
            tm.sweep(base, _many(cells), store=Path(folder) / "one.zarr", **options)
            pipe.send(time.perf_counter() - start)


def run(repeats: int, cells: int = 16384) -> tuple[str, dict]:
    """Seconds of the paper's toy, cells x 2,000 steps into a store, in turn."""
    import distributed

    import toymodel as tm

    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    context.Process(target=_one_thread, args=(theirs, cells), daemon=True).start()
    base = tm.Sweep(policy=tm.MLP(hidden=(64,)), steps=STEPS)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    raw: dict[str, list[float]] = {"one": [], "two": []}
    with (
        distributed.LocalCluster(**options, env={"NPROC": "1"}) as cluster,
        distributed.Client(cluster) as client,
    ):
        for turn in range(repeats + 1):  # the first compiles
            pipe.send(True)
            one = pipe.recv()
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                where = {"store": Path(folder) / "two.zarr", "cluster": client}
                tm.sweep(base, _many(cells), record="final", progress=False, **where)
                two = time.perf_counter() - start
            if turn:
                raw["one"].append(one)
                raw["two"].append(two)
    pipe.send(False)
    ratios = [one / two for one, two in zip(raw["one"], raw["two"], strict=True)]
    low, high = np.quantile(ratios, [0.25, 0.75])
    return (
        "# Two local workers\n\nThe paper's toy, "
        f"{cells:,} cells (beta by learning rate) of {STEPS:,} steps written to a store: one "
        "process with one thread on one core, and a Dask cluster of two processes on two, both "
        "compiled before.\n\n"
        "| | seconds (median) |\n|---|---|\n"
        f"| one single-threaded worker | {statistics.median(raw['one']):.1f} |\n"
        f"| two local workers | {statistics.median(raw['two']):.1f} |\n\n"
        f"Two are {statistics.median(ratios):.2f} times as fast (quartiles {low:.2f} to "
        f"{high:.2f}, {repeats} rounds in turn; aim 1.7).",
        raw,
    )
