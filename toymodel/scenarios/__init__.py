"""The world: prompts, responses, the initial table, preference pairs and each response's role.

Four scenarios come from the paper, named by content (which half of a pair the initial policy is
likely to produce itself: "on-policy"); `build` makes any other.
"""

from toymodel.scenarios.building import build
from toymodel.scenarios.initial import with_initial
from toymodel.scenarios.named import (
    PAPER,
    REGISTRY,
    both_off_policy,
    both_on_policy,
    chosen_off_policy,
    get,
    names,
    rejected_off_policy,
)
from toymodel.scenarios.rewards import random_rewards, true_rewards, with_rewards
from toymodel.scenarios.world import Pairs, Role, Scenario, role_masks

__all__ = [
    "PAPER",
    "REGISTRY",
    "Pairs",
    "Role",
    "Scenario",
    "both_off_policy",
    "both_on_policy",
    "build",
    "chosen_off_policy",
    "get",
    "names",
    "random_rewards",
    "rejected_off_policy",
    "role_masks",
    "true_rewards",
    "with_initial",
    "with_rewards",
]
