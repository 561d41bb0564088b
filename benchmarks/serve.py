"""The process of a contender: imports it, and trains whenever told to."""

import importlib
import time
from typing import Any


def serve(name: str, options: tuple[tuple[str, Any], ...], pipe: Any) -> None:
    """Answer each problem with (seconds, log-probabilities), or with what went wrong."""
    module, function = name.split(":")
    train = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    while True:
        problem = pipe.recv()
        try:
            start = time.perf_counter()
            found = train(problem, **dict(options))
            pipe.send((time.perf_counter() - start, found))
        except Exception as error:  # the reason is the row's result
            pipe.send(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
