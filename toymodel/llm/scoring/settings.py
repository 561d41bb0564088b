"""How pairs are scored, and by which number they are ranked."""

import dataclasses
from typing import Any

from toymodel import losses
from toymodel._errors import refuse, unknown, whole
from toymodel.losses import PreferenceLoss

#: Scores to rank by -> whether a high one speaks for displacement, and what it is.
RANKINGS = {
    "first_step": (False, "predicted first-step change of log pi(chosen), pair alone"),
    "first_step_per_token": (False, "the same over the chosen's length"),
    "first_step_batch": (False, "predicted first-step change, by its whole batch"),
    "ches": (True, "CHES"),
    "ches_per_token": (True, "CHES of means over tokens"),
    "edit_share": (False, "edit distance over the longer length"),
    "chosen_gap": (False, "how much less likely a token the chosen is than the model's answers"),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is asked of a model about its pairs.

    Args:
        loss: whose first step is predicted; default: DPO.
        batch_size: pairs at once.
        max_length: tokens of prompt and response together; longer pairs are skipped. Default: as
            many as the model has positions for.
        rank_by: one of `RANKINGS`.
        batch: predict also what all pairs of a batch do together.
        own_prompts: prompts that the model answers itself, to compare with; 0: none.
        own_tokens: longest such answer.
        greedy: take its likeliest answers rather than samples at temperature 1.
        seed: of the prompts and the samples.
    """

    loss: PreferenceLoss = dataclasses.field(default_factory=losses.DPO)
    batch_size: int = 8
    max_length: int | None = None
    rank_by: str = "first_step"
    batch: bool = False
    own_prompts: int = 64
    own_tokens: int = 256
    greedy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"batch_size": 1, "own_prompts": 0, "own_tokens": 1, "seed": 0}.items():
            whole(name, getattr(self, name), least)
        if self.max_length is not None:
            whole("max_length", self.max_length, 2)
        if self.rank_by not in RANKINGS:
            raise unknown("rank_by", self.rank_by, RANKINGS)
        if self.rank_by == "first_step_batch" and not self.batch:
            raise refuse("rank_by", self.rank_by, "a score that is computed", "add batch (--batch)")
        if self.rank_by == "chosen_gap" and not self.own_prompts:
            raise refuse("rank_by", self.rank_by, "prompts of the model's own", "own_prompts >= 1")

    def as_data(self) -> dict[str, Any]:
        """What decides the scores of a pair, as plain data."""
        names = ("batch_size", "max_length", "batch")
        found = {name: getattr(self, name) for name in names}
        return {**found, "loss": losses.REGISTRY.describe(self.loss)}
