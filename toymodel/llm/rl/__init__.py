"""A reward model of preference pairs, and REINFORCE leave-one-out on any reward, without TRL."""

from toymodel.llm.rl.forms import FORMS
from toymodel.llm.rl.reward_model import RewardCurve, RewardModel, bradley_terry, fit_reward_model
from toymodel.llm.rl.rloo import Reward, RLOOStep, leave_one_out, rloo, rloo_loss

__all__ = [
    "FORMS",
    "RLOOStep",
    "Reward",
    "RewardCurve",
    "RewardModel",
    "bradley_terry",
    "fit_reward_model",
    "leave_one_out",
    "rloo",
    "rloo_loss",
]
