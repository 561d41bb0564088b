"""How often a diagnosis is wrong, or silent, on logs whose truth is known: made, not trained.

``python -m toymodel.diagnose.rates`` prints the table of docs/diagnose.md (about five minutes).
"""

import dataclasses
import math
from pathlib import Path

import numpy as np

from toymodel.diagnose.diagnosis import diagnose
from toymodel.diagnose.findings import YES
from toymodel.diagnose.log import Log, Track

#: What happens to the chosen, and by how many nats; the noise of a record is 1 nat.
TRUTHS = ("nothing", "rises by 3", "falls by 2", "falls by 3", "falls by 4", "falls by 8")
NOISES = ("independent", "correlated 0.5", "heavy tails")
RECORDS = (12, 24, 60, 200)

_TAILS = 3  # degrees of freedom of Student's t
_TOP = 0.3  # of the run: where a curve that falls has its peak


@dataclasses.dataclass(frozen=True)
class Rates:
    """Shares of logs of one kind with each alarm.

    Args:
        drop: of logs in which the rejected was said to drop.
        degradation: of logs in which the chosen was said to fall.
        covered: of logs in which the interval held the true fall between windows.
    """

    drop: float
    degradation: float
    covered: float


def synthetic(truth: str, noise: str, records: int, seed: int) -> tuple[Log, float]:
    """A log of known truth, and the true fall of the chosen from its peak (nats).

    Args:
        truth: of `TRUTHS`; the rejected falls by 15 nats where the chosen moves, else not at all.
        noise: of `NOISES`, of 1 nat a record.
        records: how many.
        seed: of the noise.

    Example:
        >>> log, fall = synthetic("falls by 4", "independent", 60, 0)
        >>> len(log.train.step), fall
        (60, 4.0)
    """
    random = np.random.default_rng(seed)
    time = np.linspace(0, 1, records)
    kind, _, size = truth.partition(" by ")
    far = float(size or 0)
    chosen = far * time if kind == "rises" else np.zeros(records)
    if kind == "falls":
        chosen = far * np.where(time < _TOP, time / _TOP, 1 - (time - _TOP) / (1 - _TOP))
    rejected = -15 * time if far else np.zeros(records)
    metrics = {
        "logps/chosen": chosen - 60 + _noise(noise, records, random),
        "logps/rejected": rejected - 60 + _noise(noise, records, random),
    }
    nothing = Track(np.empty(0), {})
    track = Track(np.arange(1.0, records + 1), metrics)
    log = Log(Path("synthetic"), track, nothing, math.nan, math.nan)
    return log, far if kind == "falls" else 0.0


def error_rates(truth: str, noise: str, records: int, runs: int = 400) -> Rates:
    """The share of synthetic logs with each alarm, and with an interval that holds the truth.

    Args:
        truth: of `TRUTHS`.
        noise: of `NOISES`.
        records: of each log.
        runs: how many logs.
    """
    drops, falls, covered = 0, 0, 0
    for seed in range(runs):
        log, fall = synthetic(truth, noise, records, seed)
        drop, degradation, _ = diagnose(log).findings
        drops += drop.verdict == YES
        falls += degradation.verdict == YES
        covered += degradation.size.low <= fall <= degradation.size.high
    return Rates(drops / runs, falls / runs, covered / runs)


def table(runs: int = 400) -> str:
    """The table of docs/diagnose.md: alarms of a falling chosen, by truth, noise and length."""
    head = ["| the chosen | noise | " + " | ".join(f"{n} records" for n in RECORDS) + " |"]
    head.append("|---|---|" + "---|" * len(RECORDS))
    rows = []
    for truth in TRUTHS:
        for noise in NOISES:
            found = [error_rates(truth, noise, records, runs) for records in RECORDS]
            cells = [f"{100 * x.degradation:.1f} % ({100 * x.covered:.0f})" for x in found]
            rows.append(f"| {truth} | {noise} | {' | '.join(cells)} |")
    return "\n".join([*head, *rows])


def _noise(kind: str, records: int, random: np.random.Generator) -> np.ndarray:
    """Noise of 1 nat, [record]."""
    if kind == "heavy tails":
        return random.standard_t(_TAILS, records) / math.sqrt(_TAILS / (_TAILS - 2))
    correlation = 0.5 if kind == "correlated 0.5" else 0.0
    fresh = random.standard_normal(records)
    found = fresh.copy()
    for at in range(1, records):
        found[at] = correlation * found[at - 1] + math.sqrt(1 - correlation**2) * fresh[at]
    return found


if __name__ == "__main__":
    print(table())
