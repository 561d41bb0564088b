"""The problem that everybody solves: the paper's toy, 4-64-10, DPO, Adam, from given parameters.

Nothing of toymodel or JAX is imported here, so that peers run without them.
"""

import dataclasses

import numpy as np

UNITS = 64
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
PAIRS = tuple((x, x, y) for x, y in enumerate((4, 6, 7, 5)))  # (prompt, chosen, rejected)


@dataclasses.dataclass(frozen=True)
class Toy:
    """Configurations to train: each has its own beta and learning rate.

    Args:
        first: first layer's weights and bias, [prompt, unit] and [unit].
        last: last layer's weights and bias, [unit, response] and [response].
        betas: [cell].
        rates: learning rates, [cell].
        steps: updates.
    """

    first: tuple[np.ndarray, np.ndarray]
    last: tuple[np.ndarray, np.ndarray]
    betas: np.ndarray
    rates: np.ndarray
    steps: int

    @property
    def cells(self) -> int:
        return len(self.betas)


def log_probs(first: tuple, last: tuple) -> np.ndarray:
    """Log-probabilities of one configuration, [prompt, response]; in float64."""
    hidden = np.maximum(first[0] + first[1], 0).astype(float)
    logits = hidden @ last[0] + last[1]
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
