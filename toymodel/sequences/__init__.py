"""Responses made of tokens: worlds with pairs that overlap, and what overlap does to them.

Everything reads log-probabilities of whole sequences, so any policy's recorded run can be asked.
"""

from toymodel.policies.tokens import Sequences
from toymodel.sequences.distances import DISTANCES, hamming, levenshtein
from toymodel.sequences.overlap import (
    TokenKind,
    by_kind,
    kinds,
    mass_by_distance,
    pair_token_log_probs,
)
from toymodel.sequences.similarity import ches, unembedding_kernel
from toymodel.sequences.worlds import overlapping_pairs, random_table

__all__ = [
    "DISTANCES",
    "Sequences",
    "TokenKind",
    "by_kind",
    "ches",
    "hamming",
    "kinds",
    "levenshtein",
    "mass_by_distance",
    "overlapping_pairs",
    "pair_token_log_probs",
    "random_table",
    "unembedding_kernel",
]
