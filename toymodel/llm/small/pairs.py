"""Preference pairs as the paper builds them: from the policy's own samples, or from elsewhere."""

import dataclasses
from typing import Any

import numpy as np

from toymodel._errors import refuse
from toymodel.llm.batches import PairTokens, Tokens
from toymodel.llm.small.answering import Answer, answers
from toymodel.llm.tasks import Task

_TRIES = 16  # of a weak model at a prompt


@dataclasses.dataclass(frozen=True)
class PairSet:
    """Pairs on the same prompts in the four scenarios.

    Args:
        scenarios: name -> its pairs; all have as many, on the same prompts in the same order.
        prompts: the prompts that pairs were made from.
        asked: how many prompts were tried; the others' samples were uniformly good or bad, or no
            answer of the weak model was worse.
    """

    scenarios: dict[str, list[PairTokens]]
    prompts: list[str]
    asked: int


def make_pairs(
    model: Any,
    tokenizer: Any,
    task: Task,
    prompts: list[str],
    *,
    samples: int = 8,
    seed: int = 0,
    longest: int,
) -> PairSet:
    """Pairs from a policy, a task's data set and a weak model.

    On-policy responses are the best and the worst of the policy's samples by the verifier; where
    all are equally good the prompt is dropped. Off-policy, the chosen is the task's answer in the
    style of a data set, the rejected a weak model's, asked again where it is no worse than the
    chosen. So the verifier prefers the chosen of every pair.

    Args:
        model: the policy.
        tokenizer: its own.
        task: of the prompts.
        prompts: texts.
        samples: answers a prompt.
        seed: of samples and off-policy answers.
        longest: tokens of a sample.

    Raises:
        InputError: no prompt has a better and a worse sample.

    References:
        Yan et al. (2024), section 4: on- and off-policy data, eight samples a prompt.
    """
    said = answers(model, tokenizer, task, prompts, samples=samples, seed=seed, longest=longest)
    random = np.random.default_rng([seed, 2])
    found: dict[str, list[PairTokens]] = {
        f"{where}_policy": [] for where in ("both_on", "chosen_off", "rejected_off", "both_off")
    }
    kept = []
    for prompt, row in zip(prompts, said, strict=True):
        best, worst = _extremes(row)
        if best.score.points == worst.score.points:
            continue
        solution = task.answer(random, prompt, task.styles[1])
        limit = min(best.score.points, task.score(prompt, solution).points)
        weak = _weak_answer(random, task, prompt, below=limit)
        if weak is None:
            continue
        kept.append(prompt)
        good, bad = _tokens(tokenizer, solution), _tokens(tokenizer, weak)
        asked = tuple(tokenizer(prompt)["input_ids"])
        for name, chosen, rejected in (
            ("both_on_policy", best.tokens, worst.tokens),
            ("chosen_off_policy", good, worst.tokens),
            ("rejected_off_policy", best.tokens, bad),
            ("both_off_policy", good, bad),
        ):
            found[name].append(PairTokens(asked, chosen, rejected))
    if not kept:
        expected = "a policy that answers some prompts better and worse"
        raise refuse("prompts", f"{len(prompts)}, all answered alike", expected)
    return PairSet(found, kept, len(prompts))


def _extremes(row: list[Answer]) -> tuple[Answer, Answer]:
    """The best and the worst sample: by points, then by the mean of the aspects."""

    def worth(answer: Answer) -> tuple[float, float]:
        aspects = list(answer.score.aspects.values())
        return answer.score.points, float(np.mean(aspects)) if aspects else 0.0

    return max(row, key=worth), min(row, key=worth)


def _weak_answer(random: np.random.Generator, task: Task, prompt: str, *, below: int) -> str | None:
    """The first of a weak model's answers that is worth fewer points; None where there is none."""
    for _ in range(_TRIES):
        text = task.answer(random, prompt, task.styles[2])
        if task.score(prompt, text).points < below:
            return text
    return None


def _tokens(tokenizer: Any, text: str) -> Tokens:
    return (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)
