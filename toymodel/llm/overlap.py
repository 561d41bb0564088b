"""Log-probabilities of the tokens that chosen and rejected share, and of those of their own."""

from collections.abc import Mapping, Sequence

import numpy as np

from toymodel.llm.batches import PairTokens
from toymodel.llm.sequences import Scored
from toymodel.sequences.overlap import TokenKind

_NAMES = {
    TokenKind.SHARED_PREFIX: "common_prefix",
    TokenKind.SHARED_LATER: "common_later",
    TokenKind.UNSHARED: "own",
}


def kinds(pair: PairTokens) -> tuple[np.ndarray, np.ndarray]:
    """The `TokenKind` of each token of the chosen and of the rejected response.

    Args:
        pair: whose tokens are compared place by place; what is beyond the shorter one is its own.

    Returns:
        [token of the chosen] and [token of the rejected].

    Example:
        >>> chosen, rejected = kinds(PairTokens((1,), (5, 6, 7, 2), (5, 8, 7)))
        >>> [TokenKind(kind).title for kind in rejected]
        ['common prefix', 'own token', 'common token after the split']
        >>> len(chosen)
        4
    """
    shorter = min(len(pair.chosen), len(pair.rejected))
    same = np.equal(pair.chosen[:shorter], pair.rejected[:shorter])
    shared = np.where(np.cumprod(same) > 0, TokenKind.SHARED_PREFIX, TokenKind.SHARED_LATER)
    common = np.where(same, shared, TokenKind.UNSHARED)
    chosen, rejected = (
        np.append(common, np.full(len(response) - shorter, TokenKind.UNSHARED))
        for response in (pair.chosen, pair.rejected)
    )
    return chosen, rejected


def by_kind(scored: Scored, pairs: Sequence[PairTokens]) -> Mapping[str, float]:
    """Mean log-probability of tokens by what they have in common (nats a token).

    Args:
        scored: the pairs, of `toymodel.llm.score`.
        pairs: the same.

    Returns:
        ``tokens/chosen_common_prefix``, ``tokens/chosen_common_later``, ``tokens/chosen_own`` and
        the same for ``rejected``, of those kinds that there are.
    """
    of_pairs = [kinds(pair) for pair in pairs]
    found = {}
    for side, rows in zip(("chosen", "rejected"), _sides(scored), strict=True):
        half = 0 if side == "chosen" else 1
        kind = np.concatenate(
            [both[half][: len(row)] for both, row in zip(of_pairs, rows, strict=True)]
        )
        values = np.concatenate(rows)
        for what, name in _NAMES.items():
            if (kind == what).any():
                found[f"tokens/{side}_{name}"] = float(values[kind == what].mean())
    return found


def _sides(scored: Scored) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Log-probabilities of each response's tokens: of the chosen ones, of the rejected ones."""
    values = scored.log_probs.detach().double().cpu()
    rows = [row[mask].numpy() for row, mask in zip(values, scored.mask.cpu(), strict=True)]
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]
