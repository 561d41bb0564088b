"""PPO: several updates on the same samples, held back by a clipped ratio; a learned baseline."""

import dataclasses

import jax
import jax.numpy as jnp

from toymodel._errors import refuse, unknown
from toymodel._struct import number, static, struct
from toymodel._typing import Scalar, TableArray
from toymodel.objectives import REGISTRY
from toymodel.rl.objective import prompt_share, reward_gradient
from toymodel.rl.samples import SampledObjective, Samples, clipped_weight, score_gradient
from toymodel.scenarios import Scenario

PRICES = ("reward", "penalty")
_LEAST_SPREAD = 1e-6


@REGISTRY.register("ppo")
@struct(eq=False)
class PPO(SampledObjective):
    r"""Proximal policy optimisation, for responses that are one action each.

    .. math:: \frac1S\sum_s \min(\omega_s A_s, \mathrm{clip}(\omega_s, 1 \pm c)\,A_s), \qquad
        \omega = \pi/\pi_{old}, \qquad A_s = q_s - V(x)

    Samples are drawn and used for `epochs` passes in `minibatches` parts each; an update of
    `toymodel.simulate` is one part. The price of divergence is either in the reward,
    :math:`q = r - \beta\log(\pi_{old}/\pi_0)`, as in RLHF, or a penalty with the exact gradient of
    :math:`\beta KL(\pi\|\pi_0)` at every update, :math:`q = r`.

    V is a table, a number a prompt: a prompt is the only state there is. It moves towards the mean
    of each batch's q by `value_rate`, after the batch was valued, so it is a baseline that does not
    depend on the samples. With one epoch, one part and no normalisation the ratio is 1 and this is
    `Reinforce` with a running baseline.

    References:
        Schulman et al., "Proximal Policy Optimization Algorithms" (2017), equations 7 and 8;
        Ouyang et al., "Training language models to follow instructions with human feedback" (2022),
        equation 2, for the divergence in the reward.

    Example:
        >>> import toymodel as tm
        >>> world = tm.scenarios.random_rewards(jax.random.key(0), tm.scenarios.both_on_policy())
        >>> run = tm.simulate(world, "tabular", PPO(beta=0.1, epochs=2, minibatches=2), "sgd",
        ...                   learning_rate=1.0, steps=100)
        >>> before, after = (tm.values.expected_reward(run.log_probs[t], world.rewards).mean()
        ...                  for t in (0, -1))
        >>> bool(after > before)
        True
    """

    clip: Scalar = number(default=0.2, above=0, doc="c, how far a ratio may go")
    epochs: int = static(default=4, doc="passes over the same samples")
    minibatches: int = static(default=1, doc="parts of a pass, an update each")
    price: str = static(default="reward", doc="where divergence is paid: reward, or penalty")
    normalised: bool = static(default=False, doc="whether advantages get mean 0, deviation 1")
    value_rate: Scalar = number(
        default=0.1, at_least=0, at_most=1, doc="how far V moves to each batch's mean"
    )

    def check(self, scenario: Scenario) -> None:
        super().check(scenario)
        for name in ("epochs", "minibatches"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise refuse(f"PPO.{name}", value, "a whole number >= 1")
        if self.samples % self.minibatches:
            expected = f"a divisor of samples = {self.samples}"
            raise refuse("PPO.minibatches", self.minibatches, expected)
        if self.price not in PRICES:
            raise unknown("PPO.price", self.price, PRICES)

    @property
    def updates(self) -> int:
        return self.epochs * self.minibatches

    def worth(
        self, log_probs: TableArray, reference: TableArray, rewards: TableArray
    ) -> TableArray:
        if self.price == "penalty":
            return rewards
        return super().worth(log_probs, reference, rewards)

    def value(self, samples: Samples, share: jax.Array) -> Samples:
        before, reward = samples.baseline, samples.reward
        advantage = reward - before[:, None]
        if self.normalised:
            counts = share[:, None] / self.samples  # held-out prompts set no scale
            advantage = advantage - jnp.sum(counts * advantage)
            spread = jnp.sqrt(jnp.sum(counts * advantage**2))
            advantage = advantage / jnp.maximum(spread, _LEAST_SPREAD)
        after = before + self.value_rate * (jnp.mean(reward, axis=-1) - before)
        return dataclasses.replace(samples, advantage=advantage, baseline=after)

    def logit_gradient(
        self,
        memory: Samples,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> TableArray:
        del key
        size = self.samples // self.minibatches
        start = (number % self.minibatches) * size  # samples are alike, so parts need no shuffling
        drawn, old, worth = (
            jax.lax.dynamic_slice_in_dim(part, start, size, axis=1)
            for part in (memory.response, memory.log_prob, memory.advantage)
        )
        weight = clipped_weight(log_probs, drawn, old, worth, self.clip)
        ascent = score_gradient(log_probs, drawn, weight)
        if self.price == "penalty":
            nothing = jnp.zeros_like(log_probs)
            ascent = ascent + reward_gradient(log_probs, nothing, memory.reference, self.beta)
        return -prompt_share(scenario)[:, None] * ascent
