"""Run a plan in processes, a seed each; every cell is on disk as soon as it is known."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import queue as queues
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from toymodel._errors import refuse
from toymodel._version import __version__
from toymodel.llm.journal import Journal
from toymodel.llm.loop import hidden
from toymodel.llm.miniature.plan import Plan
from toymodel.llm.miniature.records import Records


def run_plan(
    plan: Plan,
    folder: str | Path,
    *,
    workers: int | None = None,
    device: str = "cpu",
    progress: bool | None = True,
) -> Records:
    """Run what is not done yet of a plan, and read everything.

    Args:
        plan: what and how much.
        folder: keeps base policies and results; stopped at any moment, the same call goes on.
        workers: processes of one thread each. Default: one a core.
        device: where models are trained, such as ``cuda``; the workers share it.
        progress: show a progress bar; None: only on a terminal.

    Raises:
        InputError: the folder holds another plan's results.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    workers = workers or len(os.sched_getaffinity(0))
    done = {seed: _done(plan, place, seed) for seed in plan.seeds}
    total = sum(len(plan.cells(seed)) for seed in plan.seeds)
    ready = sum(len(rows) for rows in done.values())
    if ready == total:
        return _read(plan, place)
    bar = tqdm(total=total, initial=ready, desc="miniature", unit="run", disable=hidden(progress))
    with bar, _processes(min(workers, len(plan.seeds))) as (pool, messages):
        futures = [
            pool.submit(_run_seed, plan, seed, place, device, messages) for seed in plan.seeds
        ]
        while True:
            with contextlib.suppress(queues.Empty):
                bar.set_postfix_str(messages.get(timeout=0.2))
                bar.update()
                continue
            if all(future.done() for future in futures):
                break
        for future in futures:
            future.result()
    return _read(plan, place)


@contextlib.contextmanager
def _processes(count: int) -> Iterator[tuple[concurrent.futures.Executor, Any]]:
    """A pool whose processes end when this one is stopped."""
    os.environ.update({"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "NPROC": "1"})
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        pool = concurrent.futures.ProcessPoolExecutor(count, context, initializer=_quietly)
        try:
            yield pool, manager.Queue()
        except BaseException:  # Ctrl-C as well: what is written stays, what runs is ended
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()


def _quietly() -> None:
    """A worker leaves Ctrl-C to the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.set_verbosity_error()


def _journal(place: Path, seed: int) -> Journal:
    return Journal(place / f"seed-{seed}.jsonl")


def _done(plan: Plan, place: Path, seed: int) -> dict[str, dict[str, Any]]:
    """Results of a seed by the key of their cell."""
    journal = _journal(place, seed)
    if not journal.path.exists():
        return {}
    header, *rows = journal.go_on(0)
    if header.get("plan") != plan.digest:
        expected = "results of the same plan"
        mend = "choose another folder, or delete this one"
        raise refuse("folder", f"{place}, with another plan's results", expected, mend)
    return {row["key"]: row for row in rows}


def _read(plan: Plan, place: Path) -> Records:
    return Records([row for seed in plan.seeds for row in _done(plan, place, seed).values()])


def _run_seed(plan: Plan, seed: int, place: Path, device: str, messages: Any) -> None:
    """All cells of a seed that are not done."""
    from toymodel.llm import tasks
    from toymodel.llm.miniature.bench import make_bench
    from toymodel.llm.miniature.cells import run_cell

    done = _done(plan, place, seed)
    journal = _journal(place, seed)
    if not journal.path.exists():
        journal.begin({"toymodel": __version__, "plan": plan.digest, "seed": seed})
    bench = None
    for cell in plan.cells(seed):
        if cell.key in done:
            continue
        if bench is None or bench.task.name != cell.task:
            task = tasks.BY_NAME[cell.task]()
            bench = make_bench(task, seed, plan, place / "policies", device=device)
        start = time.process_time()
        found = run_cell(cell, bench, plan)
        fields = {"key": cell.key, "cpu_seconds": time.process_time() - start}
        journal.add({**vars(cell), **fields, **found})
        messages.put(f"{cell.task}, seed {seed}: {cell.method}")
