"""REINFORCE and its baselines: the plain score-function gradient of the expected reward."""

import dataclasses

import jax
import jax.numpy as jnp

from toymodel._errors import unknown
from toymodel._struct import number, static, struct
from toymodel._typing import Scalar
from toymodel.objectives import REGISTRY
from toymodel.rl.samples import SampledObjective, Samples
from toymodel.scenarios import Scenario

BASELINES = ("none", "running", "mean", "exact")


@REGISTRY.register("reinforce")
@struct(eq=False)
class Reinforce(SampledObjective):
    r"""REINFORCE: samples pushed up by their reward less a baseline.

    .. math:: \hat g = \frac1S\sum_s (q_s - b)\,\nabla\log\pi(y_s), \qquad
        q = r - \beta\log\frac{\pi}{\pi_0}

    Any b that does not depend on the samples leaves the mean as it is and changes the variance:
    "none" is 0; "running" the mean of earlier rewards of the prompt, forgotten by `decay`;
    "exact" the true mean :math:`E_\pi[q]`, which only a toy knows. "mean" is the samples' own mean:
    it holds each sample's own reward, so its gradient is (1 - 1/S) of the true one on average;
    `RLOO` mends that.

    References:
        Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
        Learning" (1992), equation 6.

    Example:
        >>> import jax, toymodel as tm
        >>> world = tm.scenarios.random_rewards(jax.random.key(0), tm.scenarios.both_on_policy())
        >>> run = tm.simulate(world, "tabular", Reinforce(beta=0.1), "sgd", learning_rate=1.0,
        ...                   steps=100, seed=range(4))
        >>> gain = tm.values.expected_reward(run.log_probs[0, -1], world.rewards) - (
        ...     tm.values.expected_reward(run.reference[0], world.rewards))
        >>> bool(gain.mean() > 0)
        True
    """

    baseline: str = static(default="running", doc="none, running, mean or exact")
    decay: Scalar = number(default=0.9, at_least=0, below=1, doc="of the running mean, an update")

    def check(self, scenario: Scenario) -> None:
        super().check(scenario)
        if self.baseline not in BASELINES:
            raise unknown("Reinforce.baseline", self.baseline, BASELINES)

    def value(self, samples: Samples, share: jax.Array) -> Samples:
        del share
        reward, before = samples.reward, samples.baseline
        mean = jnp.mean(reward, axis=-1)
        expected = {"none": jnp.zeros_like(mean), "running": before, "mean": mean}
        if self.baseline != "exact":
            from_now = self.decay * before + (1 - self.decay) * mean
            advantage = reward - expected[self.baseline][:, None]
            return dataclasses.replace(samples, advantage=advantage, baseline=from_now)
        return samples


@REGISTRY.register("rloo")
@struct(eq=False)
class RLOO(SampledObjective):
    r"""REINFORCE whose baseline is the mean of the *other* samples of the prompt.

    .. math:: A_s = q_s - \frac{1}{S - 1}\sum_{t \ne s} q_t = \frac{S}{S - 1}(q_s - \bar q)

    Unbiased, since the others do not depend on the sample.

    References:
        Kool et al., "Buy 4 REINFORCE Samples, Get a Baseline for Free!" (2019), equation 8;
        Ahmadian et al., "Back to Basics" (2024), equation 7.

    Example:
        >>> RLOO(beta=0.1, samples=4).samples
        4
    """

    _LEAST = 2

    def value(self, samples: Samples, share: jax.Array) -> Samples:
        del share
        reward = samples.reward
        above = reward - jnp.mean(reward, axis=-1, keepdims=True)
        count = reward.shape[-1]
        return dataclasses.replace(samples, advantage=above * count / (count - 1))
