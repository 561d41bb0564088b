"""Let a policy answer a task's prompts, and score what it says."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from toymodel.llm.batches import Tokens
from toymodel.llm.probes import generate
from toymodel.llm.tasks import Score, Task

_ROOM = 1.3  # how much longer than the task's own answers one may be


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a policy said to a prompt.

    Args:
        prompt: the text.
        text: the answer.
        tokens: its tokens, with the end.
        score: the verifier's.
    """

    prompt: str
    text: str
    tokens: Tokens
    score: Score


def answers(
    model: Any,
    tokenizer: Any,
    task: Task,
    prompts: Sequence[str],
    *,
    samples: int = 1,
    seed: int | None = 0,
    longest: int,
) -> list[list[Answer]]:
    """Sampled answers of a policy at temperature 1, scored by the task's verifier.

    Args:
        model: a causal language model.
        tokenizer: its own.
        task: of the prompts.
        prompts: texts.
        samples: answers a prompt.
        seed: of the samples; None: the likeliest answer.
        longest: tokens of an answer.

    Returns:
        For each prompt its answers.
    """
    asked = [tuple(row) for row in tokenizer(list(prompts))["input_ids"]]
    repeated = [row for row in asked for _ in range(samples)]
    said = generate(
        model,
        repeated,
        pad_token=tokenizer.pad_token_id,
        end_token=tokenizer.eos_token_id,
        max_new_tokens=longest,
        seed=seed,
    )
    texts = tokenizer.batch_decode(said, skip_special_tokens=True)
    known: dict[tuple[str, str], Score] = {}
    found = []
    for at, prompt in enumerate(prompts):
        rows = range(at * samples, (at + 1) * samples)
        for row in rows:
            if (prompt, texts[row]) not in known:
                known[prompt, texts[row]] = task.score(prompt, texts[row])
        found.append([Answer(prompt, texts[i], said[i], known[prompt, texts[i]]) for i in rows])
    return found


def longest_answer(tokenizer: Any, task: Task, seed: int = 0, count: int = 64) -> int:
    """Room for a policy's answers: somewhat more than the task's own take."""
    random = np.random.default_rng(seed)
    splits = [split for split in task.splits if split != "pretraining"]
    texts = [
        task.answer(random, prompt, style)
        for split in splits
        for prompt in task.prompts(random, count, split)
        for style in task.styles
    ]
    return int(_ROOM * max(map(len, tokenizer(texts)["input_ids"]))) + 1


def shares(found: Sequence[Sequence[Answer]]) -> dict[str, float]:
    """Shares of answers by points, and the mean of every aspect.

    Returns:
        ``five`` (5 points), ``four`` (4 or 5), ``points`` (mean), ``malformed``, and
        ``aspect/NAME``.
    """
    scores = [answer.score for row in found for answer in row]
    points = np.array([score.points for score in scores])
    result = {
        "five": float(np.mean(points == 5)),
        "four": float(np.mean(points >= 4)),
        "points": float(points.mean()),
        "malformed": float(np.mean([not score.well_formed for score in scores])),
    }
    for name in scores[0].aspects:
        result[f"aspect/{name}"] = float(np.mean([score.aspects[name] for score in scores]))
    return result
