"""What trainers call things: names of metrics and steps, brought to one spelling."""

import re
from collections.abc import Iterable

#: Where a record says its step, best first. Weights and Biases counts its own calls in ``_step``.
STEP_KEYS = (
    *("global_step", "step", "train/global_step", "current_steps", "global_step/max_steps"),
    *("steps", "Step", "_step"),
)

#: Other names of the same metric.
_ALIASES = {
    "logps/chosen": ("chosen_logps", "logps_chosen", "policy_chosen_logps", "chosen_logp"),
    "logps/rejected": ("rejected_logps", "logps_rejected", "policy_rejected_logps", "reject_logps"),
    "rewards/chosen": ("chosen_rewards", "rewards_chosen", "chosen_reward"),
    "rewards/rejected": (
        "rejected_rewards",
        "rewards_rejected",
        "rejected_reward",
        "reject_reward",
    ),
    "rewards/margins": ("rewards/margin", "reward_margin", "reward/margin", "margin"),
    "rewards/accuracies": ("rewards/accuracy", "reward_accuracy", "reward_accuracies", "accuracy"),
}
_CANONICAL = {other: name for name, others in _ALIASES.items() for other in others}

_HELD_OUT = re.compile(r"^(?:eval|val|valid|validation|test|dev)[/_]+")
_TRAIN = re.compile(r"^(?:train|training)[/_]+")
#: What toymodel's callback adds to TRL's log. Its log-probabilities are of other pairs than TRL's
#: under the same name, and are left alone.
_OURS = "properties/"
_OF_PAIRS = (f"{_OURS}logps/", f"{_OURS}slopes/")
#: ``logps_train/chosen``: the original implementation of DPO.
_INSIDE = re.compile(r"^(logps|rewards|loss)_(train|eval)(/.+)$")

#: ``eval_HELPFUL_logps/chosen``: one of several held-out sets.
_OF_A_SET = re.compile(r"^.+_((?:logps|rewards)/.+)$")

NEEDED = "logps/chosen and logps/rejected, or rewards/chosen and rewards/rejected"


def canonical(key: str) -> tuple[str, bool]:
    """A metric's one name, and whether it is of held-out pairs.

    Known are TRL's names (of all versions: `logps/chosen`, `rewards/chosen`, `eval_...`), Weights
    and Biases' (`train/...`, `eval/...`, exports' `run - train/...`), the original
    implementation's (`logps_train/chosen`), and `chosen_logps`, `chosen_reward` and the like.

    Example:
        >>> canonical("eval_logps/chosen"), canonical("train/rewards/margins")
        (('logps/chosen', True), ('rewards/margins', False))
        >>> canonical("run 7 - logps_train/chosen")
        ('logps/chosen', False)
    """
    name = key.rsplit(" - ", 1)[-1].strip()
    if name.startswith(_OURS) and not name.startswith(_OF_PAIRS):
        name = name.removeprefix(_OURS)
    inside = _INSIDE.match(name)
    if inside:
        return inside[1] + inside[3], inside[2] == "eval"
    short = _HELD_OUT.sub("", name)
    held_out = short != name
    short = _OF_A_SET.sub(r"\1", short) if held_out else _TRAIN.sub("", short)
    return _CANONICAL.get(short, short), held_out


def step_key(keys: Iterable[str]) -> str | None:
    """The key that says the step, among those of a log.

    Example:
        >>> step_key(["loss", "_step", "train/global_step"])
        'train/global_step'
    """
    bare = {key.rsplit(" - ", 1)[-1].strip(): key for key in keys}
    return next((bare[name] for name in STEP_KEYS if name in bare), None)
