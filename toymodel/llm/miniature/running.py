"""Run a plan in processes, a seed each; every cell is on disk as soon as it is known."""

import contextlib
import queue as queues
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from toymodel._errors import refuse
from toymodel._version import __version__
from toymodel.llm.journal import Journal
from toymodel.llm.loop import no_bar
from toymodel.llm.miniature.plan import Plan
from toymodel.llm.miniature.processes import processes, tell
from toymodel.llm.miniature.records import Records
from toymodel.storage import writable_folder
from toymodel.sweeps.local import cores
from toymodel.sweeps.lock import exclusive


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
        InputError: the folder holds another plan's results, or another process writes it.
    """
    place = writable_folder(folder)
    workers = workers or cores()
    with exclusive(place / "lock", place):
        ready = sum(len(_done(plan, place, seed)) for seed in plan.seeds)
        if ready < sum(len(plan.cells(seed)) for seed in plan.seeds):
            _run(plan, place, min(workers, len(plan.seeds)), device, ready, progress)
        return Records([row for seed in plan.seeds for row in _done(plan, place, seed).values()])


def _run(
    plan: Plan, place: Path, workers: int, device: str, ready: int, progress: bool | None
) -> None:
    total = sum(len(plan.cells(seed)) for seed in plan.seeds)
    bar = tqdm(total=total, initial=ready, desc="miniature", unit="run", disable=no_bar(progress))
    with bar, processes(workers) as (pool, messages):
        futures = [pool.submit(_run_seed, plan, seed, place, device) for seed in plan.seeds]
        while True:
            with contextlib.suppress(queues.Empty):
                bar.set_postfix_str(messages.get(timeout=0.2))
                bar.update()
                continue
            ended = [future for future in futures if future.done()]
            if len(ended) == len(futures) or any(future.exception() for future in ended):
                break
        for future in ended:
            future.result()  # one that failed ends the others: the same will happen to them


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


def _run_seed(plan: Plan, seed: int, place: Path, device: str) -> None:
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
        tell(f"{cell.task}, seed {seed}: {cell.method}")
