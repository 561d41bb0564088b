"""This machine as a sweep's engine: one stream of blocks a core, or all devices on one stream."""

import concurrent.futures
import itertools
import os
from collections.abc import Iterable, Iterator

import jax

from toymodel._errors import refuse
from toymodel.sweeps.engine import Engine
from toymodel.sweeps.layout import Block
from toymodel.sweeps.plan import Plan
from toymodel.sweeps.targets import Target, compute_and_write

_AHEAD = 2  # blocks in hand for each stream: the next is ready when one ends


def streams(workers: int | None) -> int:
    """How many streams: one a core on processors, one for all accelerators together."""
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise refuse("workers", workers, "a whole number of streams >= 1")
    if workers is not None:
        return workers
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return 1
    return cores()


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    plan: Plan, target: Target, blocks: Iterable[Block], workers: int | None = None
) -> Iterator[tuple[Block, int]]:
    """Compute and write blocks; yields each with its digest, as they end.

    Threads, not processes: XLA computes outside of Python's lock, and they share compiled code.
    """
    engine = Engine(plan)
    count = streams(workers)
    waiting = iter(blocks)
    with concurrent.futures.ThreadPoolExecutor(count, "sweep") as pool:
        running: dict[concurrent.futures.Future[int], Block] = {}
        try:
            while True:
                for block in itertools.islice(waiting, count * _AHEAD - len(running)):
                    running[pool.submit(compute_and_write, engine, target, block)] = block
                if not running:
                    return
                ended, _ = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in ended:
                    yield running.pop(future), future.result()
        finally:  # Ctrl-C, or an error in one: what has not begun never does
            for future in running:
                future.cancel()
