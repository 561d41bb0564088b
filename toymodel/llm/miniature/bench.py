"""What the cells of one task and seed have in common: base policy, prompts, pairs, and scoring."""

import copy
import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from toymodel.llm.batches import PairTokens
from toymodel.llm.miniature.follow import Follow
from toymodel.llm.miniature.plan import Plan
from toymodel.llm.rl import RewardCurve, RewardModel, fit_reward_model
from toymodel.llm.small.answering import Answer, answers, longest_answer, shares
from toymodel.llm.small.base import base_policy
from toymodel.llm.small.pairs import PairSet, make_pairs
from toymodel.llm.tasks import Task

SETS = ("test", "shifted")  # the paper's MATH* and SuperCLUE: like the training data, and not
_WATCHED = 64  # pairs that are followed, of the training set and of the held-out set
_VALIDATION = 200  # prompts on which learning rates are compared


@dataclasses.dataclass
class Bench:
    """A base policy with its data; made once for all cells of a task and seed.

    Args:
        task: the task.
        seed: of everything.
        model: the base policy, which nobody trains: cells train copies.
        tokenizer: its own.
        longest: tokens of an answer.
        asked: prompts that pairs for training are made from.
        pairs: for training, by scenario.
        held_out: on-policy pairs on prompts of the test set, by scenario.
        prompts: name of a set -> its prompts; ``validation`` beside those of `SETS`.
    """

    task: Task
    seed: int
    model: Any
    tokenizer: Any
    longest: int
    asked: list[str]
    pairs: PairSet
    held_out: dict[str, list[PairTokens]]
    prompts: dict[str, list[str]]
    _followed: dict[str, Follow] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def judge(self) -> tuple[RewardModel, RewardCurve]:
        """A reward model of the on-policy pairs, and how it was fitted."""
        return fit_reward_model(
            self.model,
            self.pairs.scenarios["both_on_policy"],
            self.watched("both_on_policy"),
            pad_token=self.tokenizer.pad_token_id,
            seed=self.seed,
            progress=False,
        )

    def watched(self, scenario: str) -> list[PairTokens]:
        """Held-out pairs on which accuracy is read while anything trains, policy or judge."""
        return self.held_out[scenario][:_WATCHED]

    def follow(self, scenario: str) -> Follow:
        """Watched pairs of a scenario with their probes, which the base policy draws once."""
        if scenario not in self._followed:
            pairs = self.pairs.scenarios[scenario][:_WATCHED]
            options = {"longest": self.longest, "seed": self.seed}
            self._followed[scenario] = Follow(self.model, self.tokenizer, pairs, **options)
        return self._followed[scenario]

    def policy(self) -> Any:
        """A copy of the base policy, to be trained."""
        return copy.deepcopy(self.model)

    def said(self, model: Any, where: str) -> list[list[Answer]]:
        """One sampled answer to each prompt of a set; the same random numbers for every model."""
        return answers(
            model,
            self.tokenizer,
            self.task,
            self.prompts[where],
            seed=self.seed,
            longest=self.longest,
        )

    def scores(self, model: Any) -> dict[str, float]:
        """Shares of answers by points on all sets: ``test/five``, ``shifted/four`` and so on."""
        return {
            f"{where}/{name}": value
            for where in self.prompts
            for name, value in shares(self.said(model, where)).items()
        }


def make_bench(
    task: Task,
    seed: int,
    plan: Plan,
    folder: Path,
    *,
    device: str = "cpu",
    progress: bool | None = False,
) -> Bench:
    """Train or load the base policy, and make its pairs.

    Args:
        task: the task.
        seed: of everything.
        plan: how much.
        folder: that keeps base policies.
        device: where models are trained.
        progress: show a progress bar while it is trained.
    """
    model, tokenizer = base_policy(
        task, seed, folder, plan.base(task.name), device=device, progress=progress
    )
    longest = longest_answer(tokenizer, task)
    random = np.random.default_rng([seed, 3])
    asked = task.prompts(random, plan.prompts, "train")
    prompts = {where: task.prompts(random, plan.tests, where) for where in SETS}
    prompts["validation"] = task.prompts(random, _VALIDATION, "train")
    options = {"samples": plan.samples, "longest": longest}
    pairs = make_pairs(model, tokenizer, task, asked, seed=seed, **options)
    held_out = make_pairs(model, tokenizer, task, prompts["test"][:200], seed=seed + 1, **options)
    return Bench(task, seed, model, tokenizer, longest, asked, pairs, held_out.scenarios, prompts)
