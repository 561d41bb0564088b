"""Teach a small model to write answers: cross-entropy on fresh examples, in plain torch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from toymodel.llm.batches import PairTokens, collate_responses
from toymodel.llm.loop import no_bar
from toymodel.llm.sequences import score
from toymodel.llm.tasks import Task


@dataclasses.dataclass(frozen=True)
class Teaching:
    """One stage of supervised training.

    Args:
        split: of the task, from which prompts are drawn anew for each batch.
        mix: shares of the task's styles among the answers, in the task's order.
        steps: at most.
        enough: the stage ends where the share of right answers reaches it.
        batch_size: examples a step.
        learning_rate: of AdamW at its highest; it rises over the first steps and is then constant.
        look_every: steps between looks at the share of right answers.
        look_from: the first step with a look.
    """

    split: str
    mix: tuple[float, ...]
    steps: int
    enough: float = 1.0
    batch_size: int = 128
    learning_rate: float = 3e-3
    look_every: int = 25
    look_from: int = 0


def teach(
    model: Any,
    tokenizer: Any,
    task: Task,
    stage: Teaching,
    random: np.random.Generator,
    *,
    right: Callable[[], float],
    progress: bool | None = True,
    title: str = "teaching",
) -> list[tuple[int, float]]:
    """Train a model in place on a task's own answers.

    Args:
        model: a causal language model.
        tokenizer: of `word_tokenizer`.
        task: whose prompts and answers are learnt.
        stage: see `Teaching`.
        random: of prompts and answers.
        right: the share of right answers now.
        progress: show a progress bar; None: only on a terminal.
        title: of the bar.

    Returns:
        Step and share of right answers at each look.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, weight_decay=0.01)
    warmth = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / 50))
    shares = np.array(stage.mix) / sum(stage.mix)
    looks = []
    device = next(model.parameters()).device
    model.train()
    with tqdm(total=stage.steps, desc=title, unit="step", delay=2, disable=no_bar(progress)) as bar:
        for step in range(stage.steps):
            prompts = task.prompts(random, stage.batch_size, stage.split)
            drawn = random.choice(len(shares), stage.batch_size, p=shares)
            answers = [
                task.answer(random, prompt, task.styles[at])
                for prompt, at in zip(prompts, drawn, strict=True)
            ]
            rows = example_tokens(tokenizer, prompts, answers)
            said = [(row.prompt, row.chosen) for row in rows]
            scored = score(model, collate_responses(said, tokenizer.pad_token_id, device=device))
            loss = -scored.log_probs.sum() / scored.mask.sum()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            warmth.step()
            bar.update()
            if (step + 1) % stage.look_every == 0 and step + 1 >= stage.look_from:
                looks.append((step + 1, right()))
                bar.set_postfix(right=f"{looks[-1][1]:.2f}")
                if looks[-1][1] >= stage.enough:
                    break
    return looks


def example_tokens(tokenizer: Any, prompts: list[str], answers: list[str]) -> list[PairTokens]:
    """Prompts with answers as the chosen half of pairs whose rejected half is empty."""
    end = tokenizer.eos_token_id
    asked = tokenizer(prompts)["input_ids"]
    said = tokenizer(answers)["input_ids"]
    return [PairTokens(tuple(p), (*a, end), ()) for p, a in zip(asked, said, strict=True)]
