"""What the chosen and the rejected of a pair have in common as strings of tokens."""

import collections
from typing import NamedTuple

import numpy as np

from toymodel.llm.batches import PairTokens
from toymodel.sequences import levenshtein


class Likeness(NamedTuple):
    """How alike two responses are, without the end of the sequence.

    Args:
        shared_prefix: tokens that both begin with.
        shared_tokens: share of tokens in common wherever they stand, counted as often as they
            occur in both: 2 n / (length + length), from 0 to 1.
        edit_distance: tokens to insert, delete or replace.
        edit_share: the same over the length of the longer response, from 0 to 1.
    """

    shared_prefix: int
    shared_tokens: float
    edit_distance: int
    edit_share: float


def likeness(pair: PairTokens, end_token: int | None = None) -> Likeness:
    """Compare the two responses of a pair.

    Args:
        pair: as tokens.
        end_token: the number of the end of a response, which is left out.

    Example:
        >>> likeness(PairTokens((1,), (5, 6, 7, 2), (5, 7, 8, 9, 2)), end_token=2)
        Likeness(shared_prefix=1, shared_tokens=0.571..., edit_distance=3, edit_share=0.75)
    """
    chosen, rejected = (_body(response, end_token) for response in (pair.chosen, pair.rejected))
    shorter = min(len(chosen), len(rejected))
    same = np.equal(chosen[:shorter], rejected[:shorter])
    common = (collections.Counter(chosen) & collections.Counter(rejected)).total()
    edits = int(levenshtein(np.array(chosen, int), np.array(rejected, int)))
    return Likeness(
        shared_prefix=int(np.cumprod(same).sum()),
        shared_tokens=2 * common / max(len(chosen) + len(rejected), 1),
        edit_distance=edits,
        edit_share=edits / max(len(chosen), len(rejected), 1),
    )


def _body(response: tuple[int, ...], end_token: int | None) -> tuple[int, ...]:
    return response[:-1] if response[-1:] == (end_token,) else response
