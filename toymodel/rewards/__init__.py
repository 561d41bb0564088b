"""Reward models: the Bradley-Terry loss on a table of rewards, a fit, and what it agrees with.

Any policy's logits serve as a reward parameterisation: r(x, y) = policy.logits(params)[x, y]. The
reward that a policy implies is `toymodel.exact.implied_reward`.
"""

from toymodel.rewards.agreement import accuracy, centred
from toymodel.rewards.bradley_terry import (
    bradley_terry,
    bradley_terry_slopes,
    gradient,
    objective,
    table_gradient,
)
from toymodel.rewards.fitting import RewardFit, fit, trace

__all__ = [
    "RewardFit",
    "accuracy",
    "bradley_terry",
    "bradley_terry_slopes",
    "centred",
    "fit",
    "gradient",
    "objective",
    "table_gradient",
    "trace",
]
