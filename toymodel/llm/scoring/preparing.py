"""From rows to tokens, one by one: what cannot be scored is set aside with its reason."""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any

from toymodel._errors import InputError
from toymodel.llm.batches import PairTokens, pair_tokens, problem_of
from toymodel.llm.data import ReadPair


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A row of the data on its way to its scores.

    Args:
        read: the row as it stands in the file.
        tokens: of its pair; None where it is skipped.
        skipped: why.
    """

    read: ReadPair
    tokens: PairTokens | None = None
    skipped: str | None = None


def prepare(
    tokenizer: Any, rows: Iterable[ReadPair], max_length: int | None = None
) -> list[Prepared]:
    """Tokens of all rows that can be scored.

    Args:
        tokenizer: of the model.
        rows: of `toymodel.llm.data.read_pairs`.
        max_length: tokens of prompt and response together.
    """
    return [_prepared(tokenizer, row, max_length) for row in rows]


def longest_of(model: Any, max_length: int | None) -> int | None:
    """How many tokens a sequence may have: what is asked for, and what the model has room for."""
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min((n for n in (room, max_length) if n is not None), default=None)


def digest(rows: Iterable[Prepared]) -> str:
    """SHA-256 of the tokens: other data, or another tokenizer, show."""
    state = hashlib.sha256()
    for row in rows:
        state.update(repr(row.tokens).encode())
    return state.hexdigest()


def _prepared(tokenizer: Any, read: ReadPair, max_length: int | None) -> Prepared:
    if read.row is None:
        return Prepared(read, skipped=read.problem)
    try:
        pair = pair_tokens(tokenizer, read.row)
    except InputError as error:  # messages that the tokenizer has no template for
        return Prepared(read, skipped=str(error))
    problem = _problem(pair, max_length)
    return Prepared(read, pair if problem is None else None, problem)


def _problem(pair: PairTokens, max_length: int | None) -> str | None:
    longest = len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))
    if max_length is not None and longest > max_length:
        return f"over-long: {longest} tokens with its prompt, at most {max_length}"
    return problem_of(pair)
