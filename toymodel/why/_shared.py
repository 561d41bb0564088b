"""What several findings share: reading pairs off runs, and the dose that halves an effect."""

from collections.abc import Sequence

import numpy as np

from toymodel.scenarios import both_on_policy


def of_pairs(log_probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of chosen and of rejected in the paper's worlds, whose pairs are the same.

    Args:
        log_probs: [..., prompt, response].

    Returns:
        Two arrays [..., pair].

    Example:
        >>> chosen, rejected = of_pairs(np.arange(40.0).reshape(4, 10))
        >>> chosen.tolist(), rejected.tolist()
        ([0.0, 11.0, 22.0, 33.0], [4.0, 16.0, 27.0, 35.0])
    """
    pairs = both_on_policy().pairs
    prompts = np.asarray(pairs.prompt)
    chosen = log_probs[..., prompts, np.asarray(pairs.chosen)]
    return chosen, log_probs[..., prompts, np.asarray(pairs.rejected)]


def half_dose(
    doses: Sequence[float] | np.ndarray, values: np.ndarray, resamples: int = 400
) -> tuple[float, float, float]:
    """The dose that first halves what there is without any, interpolated in its logarithm.

    Args:
        doses: 0, then increasing.
        values: what was measured, [dose, seed].
        resamples: of the seeds, for a 95 % bootstrap interval.

    Returns:
        The dose, and the interval's ends; infinity where no dose halves it, 0 where the least does.

    Example:
        >>> values = np.array([[1.0, 1.0], [0.9, 0.9], [0.1, 0.1]])
        >>> [round(dose, 4) for dose in half_dose([0.0, 0.001, 0.1], values)]
        [0.01, 0.01, 0.01]
    """
    seeds = values.shape[1]
    drawn = np.random.default_rng(0).integers(seeds, size=(resamples, seeds))
    found = [_half(doses, values[:, rows].mean(axis=1)) for rows in (np.arange(seeds), *drawn)]
    low, high = np.percentile(found[1:], [2.5, 97.5], method="nearest")
    return float(found[0]), float(low), float(high)


def _half(doses: Sequence[float] | np.ndarray, values: np.ndarray) -> float:
    target = values[0] / 2
    below = np.flatnonzero(values < target)
    if len(below) == 0:
        return np.inf
    at = int(below[0])
    if at == 1:
        return 0.0
    logs, (before, after) = np.log(doses[at - 1 : at + 1]), values[at - 1 : at + 1]
    return float(np.exp(logs[0] + (before - target) / (before - after) * (logs[1] - logs[0])))
