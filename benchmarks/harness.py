"""Peers timed in turn, each in a process of its own; what is reported are ratios of one round."""

import dataclasses
import multiprocessing
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.serve import serve
from benchmarks.start import toy


@dataclasses.dataclass(frozen=True)
class Contender:
    """Somebody who trains the toy.

    Args:
        name: for the table.
        function: ``module:function`` inside benchmarks.
        cells: configurations at once when timed.
        steps: updates when timed.
        options: of the function.
    """

    name: str
    function: str
    cells: int
    steps: int = 2000
    options: tuple[tuple[str, Any], ...] = ()


class Runner:
    """A contender in its own process, waiting to be told to train."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(contender.function, contender.options, theirs), daemon=True
        )
        self._process.start()

    def train(self, cells: int, steps: int) -> tuple[float, np.ndarray]:
        """Seconds, and final log-probabilities; a peer that dies raises what it said."""
        self._pipe.send(toy(cells, steps))
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise RuntimeError(f"its process died (exit code {code})") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer

    def rate(self) -> float:
        """Config-steps per second, once."""
        c = self.contender
        return c.cells * c.steps / self.train(c.cells, c.steps)[0]

    def close(self) -> None:
        self._process.kill()


def race(contenders: Sequence[Contender], repeats: int, say: Any) -> dict[str, Any]:
    """Check that all compute the same, then time them in turn; the first is the measure.

    Returns:
        Name -> rates of each round, or the reason why there are none.
    """
    runners = {c.name: Runner(c) for c in contenders}
    found: dict[str, Any] = {}
    expected = None
    for name, runner in runners.items():
        say(f"checking {name}")
        try:
            _, values = runner.train(32, 50)
            expected = values if expected is None else expected
            error = float(np.max(np.abs(values - expected)))
            if not error < 1e-3:
                raise RuntimeError(
                    f"computes something else: log-probabilities differ by {error:.1e}"
                )
            runner.rate()  # compiles, warms caches
            found[name] = []
        except RuntimeError as error:
            found[name] = str(error)
    for turn in range(repeats):
        for name, runner in runners.items():
            if isinstance(found[name], list):
                say(f"round {turn + 1} of {repeats}: {name}")
                try:
                    found[name].append(runner.rate())
                except RuntimeError as error:  # its process died: the others go on
                    found[name] = str(error)
    for runner in runners.values():
        runner.close()
    return found


def ratios(found: dict[str, Any], measure: str) -> dict[str, tuple[float, float, float] | str]:
    """Median and quartiles of how many times faster `measure` was than each, round by round."""
    ours = found[measure]
    result: dict[str, tuple[float, float, float] | str] = {}
    for name, rates in found.items():
        if isinstance(rates, str):
            result[name] = rates
        else:
            each = [mine / theirs for mine, theirs in zip(ours, rates, strict=True)]
            low, high = np.quantile(each, [0.25, 0.75])
            result[name] = statistics.median(each), float(low), float(high)
    return result
