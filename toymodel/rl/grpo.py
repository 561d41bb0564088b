"""GRPO: advantages relative to a group of samples, a clipped ratio, divergence in the loss."""

import dataclasses

import jax
import jax.numpy as jnp

from toymodel._errors import refuse
from toymodel._struct import number, static, struct
from toymodel._typing import Scalar, TableArray
from toymodel.objectives import REGISTRY
from toymodel.rl.objective import prompt_share
from toymodel.rl.samples import (
    SampledObjective,
    Samples,
    clipped_weight,
    ratio,
    read,
    score_gradient,
)
from toymodel.scenarios import Scenario

_LEAST_SPREAD = 1e-6


@REGISTRY.register("grpo")
@struct(eq=False)
class GRPO(SampledObjective):
    r"""Group relative policy optimisation, for responses that are one action each.

    .. math::
        \frac1S\sum_s \min(\omega_s A_s, \mathrm{clip}(\omega_s, 1 \pm c)\,A_s) - \beta\,k_3,
        \qquad A_s = \frac{r_s - \bar r}{\mathrm{std}(r)}, \qquad
        k_3 = \frac{\pi_0}{\pi} - \log\frac{\pi_0}{\pi} - 1

    Three things differ from the gradient of :math:`E[r] - \beta KL(\pi\|\pi_0)`, on average:

    - The group's mean holds the sample's own reward: a factor 1 - 1/S.
    - The standard deviation gives prompts with little spread more weight (``normalised=False``
      leaves it out, as in Dr. GRPO).
    - :math:`k_3` has the mean of KL, but inside the loss its gradient is
      :math:`(1 - \pi_0/\pi)\nabla\log\pi`, whose mean is that of the *other* divergence,
      :math:`\nabla KL(\pi_0\|\pi)`. The ratio is held at :math:`e^{40}`.

    References:
        Shao et al., "DeepSeekMath" (2024), equations 3 and 4; Liu et al., "Understanding
        R1-Zero-Like Training" (2025), for the second point.

    Example:
        >>> GRPO(beta=0.04, epochs=2).updates
        2
    """

    clip: Scalar = number(default=0.2, above=0, doc="c, how far a ratio may go")
    epochs: int = static(default=1, doc="updates on the same samples")
    normalised: bool = static(default=True, doc="whether to divide by the group's deviation")

    _LEAST = 2

    def check(self, scenario: Scenario) -> None:
        super().check(scenario)
        if type(self.epochs) is not int or self.epochs < 1:
            raise refuse("GRPO.epochs", self.epochs, "a whole number >= 1")

    @property
    def updates(self) -> int:
        return self.epochs

    def worth(
        self, log_probs: TableArray, reference: TableArray, rewards: TableArray
    ) -> TableArray:
        del log_probs, reference
        return rewards

    def value(self, samples: Samples, share: jax.Array) -> Samples:
        del share
        reward = samples.reward
        above = reward - jnp.mean(reward, axis=-1, keepdims=True)
        # rewards all alike are no advantage: else the mean's rounding is divided by a tiny spread
        is_flat = jnp.all(reward == reward[:, :1], axis=-1, keepdims=True)
        above = jnp.where(is_flat, 0, above)
        if self.normalised:
            spread = jnp.sqrt(jnp.mean(above**2, axis=-1, keepdims=True))
            above = above / jnp.maximum(spread, _LEAST_SPREAD)
        return dataclasses.replace(samples, advantage=above)

    def logit_gradient(
        self,
        memory: Samples,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> TableArray:
        del key, number
        drawn = memory.response
        weight = clipped_weight(log_probs, drawn, memory.log_prob, memory.advantage, self.clip)
        stray = ratio(read(memory.reference, drawn), read(log_probs, drawn))  # pi0 / pi
        ascent = score_gradient(log_probs, drawn, weight - self.beta * (1 - stray))
        return -prompt_share(scenario)[:, None] * ascent
