"""Closed forms of tabular policies: trajectories, limits, thresholds, optima, and where none exist.

Mathematics for one prompt or one pair, with `jax.vmap` outside. Each form is checked against the
integrated gradient flow, and against gradient descent with small steps.
"""

from toymodel.exact.dpo import late_margin, margin
from toymodel.exact.flex import (
    flex_limit,
    flex_rejected_extremum,
    furthest_ratio,
    late_flex_rejected,
)
from toymodel.exact.lambert import log_wright_omega
from toymodel.exact.minimiser import has_minimiser, margin_converges
from toymodel.exact.optimum import (
    implied_reward,
    population_pairs,
    rlhf_objective,
    rlhf_policy,
    rlhf_value,
)
from toymodel.exact.sft import late_sft_shortfall, sft_log_probs
from toymodel.exact.sft_dpo import (
    chosen_velocity,
    crossover_margin,
    late_sft_dpo_exponent,
    late_sft_dpo_shortfall,
    least_sft_weight,
)
from toymodel.exact.tabular import log_probs, margin_gained, with_margin_gained
from toymodel.exact.targets import (
    cdpo_target,
    cdpo_time,
    cdpo_time_constant,
    hinge_margin,
    ipo_margin,
    ipo_target,
    ipo_time_constant,
    slic_gap,
)
from toymodel.exact.unseen import logit_changes, unseen_change

__all__ = [
    "cdpo_target",
    "cdpo_time",
    "cdpo_time_constant",
    "chosen_velocity",
    "crossover_margin",
    "flex_limit",
    "flex_rejected_extremum",
    "furthest_ratio",
    "has_minimiser",
    "hinge_margin",
    "implied_reward",
    "ipo_margin",
    "ipo_target",
    "ipo_time_constant",
    "late_flex_rejected",
    "late_margin",
    "late_sft_dpo_exponent",
    "late_sft_dpo_shortfall",
    "late_sft_shortfall",
    "least_sft_weight",
    "log_probs",
    "log_wright_omega",
    "logit_changes",
    "margin",
    "margin_converges",
    "margin_gained",
    "population_pairs",
    "rlhf_objective",
    "rlhf_policy",
    "rlhf_value",
    "sft_log_probs",
    "slic_gap",
    "unseen_change",
    "with_margin_gained",
]
