"""Policy optimisation on a reward, true or learned: exact gradients, and the sampled methods.

Each is an `Objective` for `toymodel.simulate`, with a reward table of its own or the world's. The
optimum itself is `toymodel.exact.rlhf_policy`, the best of n samples `toymodel.values.best_of_n`.
"""

from toymodel.rl.exact import ExactGradient, NaturalGradient
from toymodel.rl.grpo import GRPO
from toymodel.rl.objective import RewardObjective, advantage, prompt_share, reward_gradient
from toymodel.rl.ppo import PPO
from toymodel.rl.reinforce import RLOO, Reinforce
from toymodel.rl.variance import gradient_moments

__all__ = [
    "GRPO",
    "PPO",
    "RLOO",
    "ExactGradient",
    "NaturalGradient",
    "Reinforce",
    "RewardObjective",
    "advantage",
    "gradient_moments",
    "prompt_share",
    "reward_gradient",
]
