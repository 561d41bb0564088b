"""How far sequences are from one another: by tokens replaced, or by edits."""

from collections.abc import Callable

import numpy as np


def hamming(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The number of positions at which two sequences differ.

    Args:
        first: tokens, [..., position].
        second: tokens, [..., position], as many; leading axes broadcast.

    Example:
        >>> int(hamming(np.array([0, 1, 2]), np.array([1, 2, 2])))
        2
    """
    return np.asarray((np.asarray(first) != np.asarray(second)).sum(axis=-1))


def levenshtein(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    r"""The least number of tokens to insert, delete or replace that turns one into the other.

    .. math:: D_{ij} = \min(D_{i-1,j} + 1, D_{i,j-1} + 1, D_{i-1,j-1} + 1[a_i \ne b_j])

    Args:
        first: tokens, [..., position].
        second: tokens, [..., position]; leading axes broadcast, lengths may differ.

    Example:
        >>> int(levenshtein(np.array([0, 1, 2]), np.array([1, 2, 0])))
        2
    """
    first, second = np.asarray(first), np.asarray(second)
    lead = np.broadcast_shapes(first.shape[:-1], second.shape[:-1])
    columns = np.arange(second.shape[-1] + 1)
    row = np.broadcast_to(columns, (*lead, columns.size))
    for i in range(first.shape[-1]):
        best = row + 1
        replaced = row[..., :-1] + (first[..., i, None] != second)
        best[..., 1:] = np.minimum(best[..., 1:], replaced)
        # D_ij is the least of best_ik + j - k over k <= j: insertions are a running minimum
        row = np.minimum.accumulate(best - columns, axis=-1) + columns
    return np.asarray(row[..., -1])


#: Distances by name.
DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "hamming": hamming,
    "levenshtein": levenshtein,
}
