"""What the studies of Flex-DPO and of the SFT term share: reading runs, and shares with intervals."""

import numpy as np
from scipy import stats

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


def share(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float, float]:
    r"""A share and Wilson's interval for it.

    .. math::
        \frac{\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Args:
        successes: how many succeeded.
        trials: of how many, at least one.
        confidence: of the interval.

    Returns:
        The share, and the interval's lower and upper end.

    Example:
        >>> [round(number, 3) for number in share(8, 10)]
        [0.8, 0.49, 0.943]

    References:
        Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    p = successes / trials
    middle = p + z**2 / (2 * trials)
    half = z * np.sqrt(p * (1 - p) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z**2 / trials
    return p, float((middle - half) / scale), float((middle + half) / scale)
