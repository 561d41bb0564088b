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
    row = [np.full(lead, j) for j in range(second.shape[-1] + 1)]
    for i in range(first.shape[-1]):
        above, row = row, [np.full(lead, i + 1)]
        for j in range(second.shape[-1]):
            replaced = above[j] + (first[..., i] != second[..., j])
            row.append(np.minimum(np.minimum(above[j + 1], row[j]) + 1, replaced))
    return row[-1]


#: Distances by name.
DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "hamming": hamming,
    "levenshtein": levenshtein,
}
