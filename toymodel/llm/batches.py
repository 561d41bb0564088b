"""From preference data to padded batches, as TRL makes them; a bad row is refused by its number."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from toymodel._errors import InputError, refuse
from toymodel.llm.data.pairs import common_start

Tokens = tuple[int, ...]
Response = tuple[Tokens, Tokens]  # a prompt and what was said to it
_COLUMNS = ("prompt", "chosen", "rejected")


@dataclasses.dataclass(frozen=True)
class PairTokens:
    """A pair as tokens.

    Args:
        prompt: token numbers of the prompt.
        chosen: token numbers of the chosen response, with the end of the sequence.
        rejected: the same of the rejected one.
    """

    prompt: Tokens
    chosen: Tokens
    rejected: Tokens


def tokenise(
    tokenizer: Any, rows: Iterable[Mapping[str, Any]], *, max_length: int | None = None
) -> list[PairTokens]:
    """Tokens of preference rows, cut where prompt alone and prompt with response part.

    Args:
        tokenizer: of transformers; conversational rows need its chat template.
        rows: each with ``prompt``, ``chosen``, ``rejected``: texts, or lists of messages.
        max_length: of prompt and response together, in tokens; longer rows are refused.

    Raises:
        InputError: a missing column, an empty or over-long response, or a pair of two equal
            responses, with the number of the row.
    """
    return [_tokenised(tokenizer, row, at, max_length) for at, row in enumerate(rows)]


def pair_tokens(tokenizer: Any, row: Mapping[str, Any]) -> PairTokens:
    """Tokens of one row, whatever they are; see `problem_of`.

    Args:
        tokenizer: as in `tokenise`.
        row: as in `tokenise`.

    Raises:
        InputError: messages, and a tokenizer that has no chat template.
    """
    whole = [_whole(tokenizer, row["prompt"], row[name]) for name in ("chosen", "rejected")]
    prompt = _prompt(tokenizer, row["prompt"])
    start = min(common_start(prompt, tokens) for tokens in whole)
    return PairTokens(tuple(prompt[:start]), *(tuple(tokens[start:]) for tokens in whole))


def problem_of(pair: PairTokens) -> str | None:
    """Why nothing can be learnt from a pair's tokens; None: something can.

    Example:
        >>> problem_of(PairTokens((1,), (2, 0), (2, 0)))
        'chosen and rejected are the same tokens'
    """
    for name in _COLUMNS:
        if not getattr(pair, name):
            return f"{name} has no tokens of its own"
    same = pair.chosen == pair.rejected
    return "chosen and rejected are the same tokens" if same else None


def collate(
    pairs: Sequence[PairTokens],
    pad_token: int,
    *,
    max_length: int | None = None,
    keep_end: bool = False,
    device: torch.device | None = None,
) -> dict[str, torch.Tensor]:
    """A batch of pairs: chosen rows above rejected ones, padded on the right.

    Args:
        pairs: at least one.
        pad_token: the number of the padding token.
        max_length: longer rows are cut.
        keep_end: cut them at their start rather than at their end.
        device: where to put it.

    Returns:
        ``input_ids``, ``attention_mask`` and ``completion_mask``, each [2 pair, token].

    Example:
        >>> batch = collate([PairTokens((1, 2), (3,), (4, 5))], pad_token=0)
        >>> batch["input_ids"].tolist(), batch["completion_mask"].tolist()
        ([[1, 2, 3, 0], [1, 2, 4, 5]], [[0, 0, 1, 0], [0, 0, 1, 1]])
    """
    cut = slice(None)
    if max_length is not None:
        cut = slice(-max_length, None) if keep_end else slice(max_length)
    rows = [(p.prompt, p.chosen) for p in pairs] + [(p.prompt, p.rejected) for p in pairs]
    return collate_responses(rows, pad_token, cut=cut, device=device)


def collate_responses(
    rows: Sequence[Response],
    pad_token: int,
    *,
    cut: slice = slice(None),
    device: torch.device | None = None,
) -> dict[str, torch.Tensor]:
    """A batch of single responses, padded on the right.

    Args:
        rows: prompt and response of each, as tokens.
        pad_token: the number of the padding token.
        cut: what is kept of a row.
        device: where to put it.

    Returns:
        As `collate`, each [row, token].
    """
    ids = [torch.tensor((prompt + response)[cut]) for prompt, response in rows]
    masks = [
        torch.tensor(([0] * len(prompt) + [1] * len(response))[cut]) for prompt, response in rows
    ]

    def padded(parts: Sequence[torch.Tensor], value: int) -> torch.Tensor:
        found = torch.nn.utils.rnn.pad_sequence(list(parts), True, padding_value=value)
        return found.to(device)

    return {
        "input_ids": padded(ids, pad_token),
        "attention_mask": padded([torch.ones_like(row) for row in ids], 0),
        "completion_mask": padded(masks, 0),
    }


def of_like_lengths(
    rows: Sequence[Response], pad_token: int, device: torch.device, size: int = 256
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    """Batches of single responses, those of like lengths together, so that there is little padding.

    Args:
        rows: prompt and response of each, as tokens.
        pad_token: the number of the padding token.
        device: where to put batches.
        size: rows of a batch.

    Returns:
        The numbers of a batch's rows, and the batch.
    """
    order = np.argsort([len(prompt) + len(response) for prompt, response in rows], kind="stable")
    for start in range(0, len(rows), size):
        at = order[start : start + size]
        yield at, collate_responses([rows[i] for i in at], pad_token, device=device)


def mismatched(batch: Mapping[str, torch.Tensor], pad_token: int) -> dict[str, torch.Tensor]:
    """The same batch with each response after the next pair's prompt (KTO's estimate of the KL).

    Args:
        batch: of `collate`, of two pairs at least.
        pad_token: the number of the padding token.

    Raises:
        InputError: one pair alone, which no other prompt can be taken for.
    """
    inside, response = batch["attention_mask"].bool(), batch["completion_mask"].bool()
    rows = batch["input_ids"]
    count = len(rows) // 2
    if count < 2:
        raise refuse("batch", "one pair", "two pairs or more, for a loss that estimates KL")
    prompts = [tuple(rows[i][inside[i] & ~response[i]].tolist()) for i in range(count)]
    answers = [tuple(rows[i][response[i]].tolist()) for i in range(2 * count)]
    pairs = [
        PairTokens(prompts[(i + 1) % count], answers[i], answers[count + i]) for i in range(count)
    ]
    return collate(pairs, pad_token, device=rows.device)


def pad_token_of(tokenizer: Any) -> int:
    """The padding token's number: the end of the sequence where there is none, as TRL does.

    Raises:
        InputError: neither is set.
    """
    found = tokenizer.pad_token_id
    found = tokenizer.eos_token_id if found is None else found
    if found is None:
        expected = "a tokenizer with a padding token or an end of the sequence"
        raise refuse("tokenizer", "neither", expected, "set tokenizer.pad_token")
    return int(found)


def _tokenised(
    tokenizer: Any, row: Mapping[str, Any], at: int, max_length: int | None
) -> PairTokens:
    missing = [name for name in _COLUMNS if name not in row]
    if missing:
        raise refuse(
            f"row {at}",
            f"columns {', '.join(map(str, row))}",
            f"{', '.join(_COLUMNS)}",
            "rename or add columns; rows without prompt are for toymodel.llm.load_pairs",
        )
    if row["chosen"] == row["rejected"]:
        raise refuse(f"row {at}", "chosen and rejected that are equal", "two different responses")
    kind = str if isinstance(row["prompt"], str) else list
    for name in _COLUMNS:
        if not isinstance(row[name], kind):
            raise refuse(
                f"row {at}, {name!r}", row[name], "three texts, or three lists of messages"
            )
        if not row[name] and name != "prompt":
            raise refuse(f"row {at}, {name!r}", row[name], "a response that is not empty")
    pair = pair_tokens(tokenizer, row)
    problem = problem_of(pair)
    if problem is not None:
        raise refuse(f"row {at}", problem, "a prompt and two different responses, as tokens too")
    longest = len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))
    if max_length is not None and longest > max_length:
        expected = f"at most {max_length} with prompt"
        mend = "filter the row, shorten it, or raise max_length"
        raise refuse(f"row {at}", f"a response of {longest} tokens with its prompt", expected, mend)
    return pair


def _prompt(tokenizer: Any, prompt: Any) -> list[int]:
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    return _chat(tokenizer, prompt, add_generation_prompt=True)


def _whole(tokenizer: Any, prompt: Any, response: Any) -> list[int]:
    if not isinstance(prompt, str):
        return _chat(tokenizer, [*prompt, *response])
    end = tokenizer.eos_token or ""
    text = prompt + (response if response.endswith(end) else response + end)
    return list(tokenizer(text)["input_ids"])


def _chat(tokenizer: Any, messages: Sequence[Any], **options: bool) -> list[int]:
    try:
        found = tokenizer.apply_chat_template(messages, return_dict=True, **options)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"tokenizer: it cannot render messages ({error}), expected a chat template. To mend "
            "it: set tokenizer.chat_template, or give prompts and responses as texts."
        ) from None
    return list(found["input_ids"])
