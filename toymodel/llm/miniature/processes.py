"""Processes of one thread each, which end with the process that started them, however it ends."""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

#: Two threads of torch that spin for each other are slower than one.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
_messages: Any = None  # a worker's queue to the process that started it


@contextlib.contextmanager
def processes(count: int) -> Iterator[tuple[concurrent.futures.Executor, Any]]:
    """A pool, and the queue on which `tell` in its workers puts messages.

    Args:
        count: of processes.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    with _environment(_ONE_THREAD):
        pool = concurrent.futures.ProcessPoolExecutor(
            count, context, initializer=_begin, initargs=(messages,)
        )
        try:
            yield pool, messages
        except BaseException:  # Ctrl-C as well: what is written stays, what runs is ended
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()


def tell(message: str) -> None:
    """Send a message from a worker to the process that started it."""
    _messages.put(message)


def _begin(messages: Any) -> None:
    """A worker leaves Ctrl-C to the process that started it, and does not outlive it."""
    global _messages
    _messages = messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.set_verbosity_error()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
