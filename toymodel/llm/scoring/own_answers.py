"""How likely a model finds what it says itself: the scale on which responses are off-policy."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from toymodel.llm.batches import Tokens
from toymodel.llm.measuring import response_log_probs
from toymodel.llm.probes import generate


class OwnAnswers(NamedTuple):
    """Mean log-probability a token of a model's own answers (nats).

    Args:
        mean: over prompts.
        deviation: between prompts.
        prompts: how many.
    """

    mean: float
    deviation: float
    prompts: int


def own_answers(
    model: Any,
    prompts: Sequence[Tokens],
    *,
    pad_token: int,
    end_token: int | None,
    max_new_tokens: int,
    batch_size: int,
    seed: int | None = 0,
) -> OwnAnswers:
    """Let a model answer prompts, and score each answer by token.

    Args:
        model: a causal language model.
        prompts: as tokens.
        pad_token: the number of the padding token.
        end_token: that of the end of a response.
        max_new_tokens: longest answer; longer ones are cut.
        batch_size: prompts at once.
        seed: of samples at temperature 1; None: the likeliest answers.
    """
    answers = generate(
        model,
        prompts,
        pad_token=pad_token,
        end_token=end_token,
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=batch_size,
    )
    rows = list(zip(prompts, answers, strict=True))
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    totals = np.concatenate([response_log_probs(model, part, pad_token) for part in parts])
    per_token = totals / np.array([len(answer) for answer in answers])
    return OwnAnswers(float(per_token.mean()), float(per_token.std()), len(rows))
