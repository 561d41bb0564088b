"""Policy optimisation without samples: gradient ascent and the natural gradient."""

import jax
import jax.numpy as jnp

from toymodel._struct import struct
from toymodel._typing import TableArray
from toymodel.objectives import REGISTRY
from toymodel.rl.objective import RewardObjective, advantage, prompt_share, reward_gradient
from toymodel.scenarios import Scenario


@REGISTRY.register("exact_gradient")
@struct(eq=False)
class ExactGradient(RewardObjective):
    r"""Gradient ascent on the expected reward less the divergence, computed from all responses.

    .. math:: \frac{\partial L}{\partial z_k} = -\rho(x)\,\pi_k A_k

    see `toymodel.rl.reward_gradient`. For the natural gradient of any policy, train this with the
    optimiser `toymodel.preconditioners.natural`.

    Example:
        >>> import toymodel as tm
        >>> world = tm.scenarios.random_rewards(jax.random.key(0), tm.scenarios.both_on_policy())
        >>> run = tm.simulate(world, "tabular", ExactGradient(beta=0.5), "sgd", learning_rate=10.0,
        ...                   steps=2000)
        >>> best = tm.exact.rlhf_policy(world.rewards, run.reference, 0.5)
        >>> bool(abs(jax.numpy.exp(run.log_probs[-1]) - jax.numpy.exp(best)).max() < 1e-3)
        True
    """

    def begin(self, scenario: Scenario, reference: TableArray, key: jax.Array) -> TableArray:
        del scenario, key
        return reference

    def logit_gradient(
        self,
        memory: TableArray,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> TableArray:
        del key, number
        ascent = reward_gradient(log_probs, self.table(scenario), memory, self.beta)
        return -prompt_share(scenario)[:, None] * ascent


@REGISTRY.register("natural_gradient")
@struct(eq=False)
class NaturalGradient(ExactGradient):
    r"""The natural policy gradient of a tabular policy, whatever prompts count.

    The Fisher information of a prompt's logits is :math:`\mathrm{diag}\,\pi - \pi\pi^T`, and
    :math:`F A = \pi A` (A has mean zero), so the natural direction is the advantage itself. With a
    tabular policy and plain gradient descent of rate eta an update is, up to the normaliser,

    .. math:: \log\pi \leftarrow (1 - \eta\beta)\log\pi + \eta\,(r + \beta\log\pi_0)

    which contracts to `toymodel.exact.rlhf_policy` by the factor :math:`1 - \eta\beta` a step; at
    :math:`\eta = 1/\beta` it is there in one. A run from the reference walks along the optima of
    falling prices, :math:`\pi_t \propto \pi_0 e^{r/\beta_t}` with the geometric sum

    .. math:: \frac{1}{\beta_t} = \eta\sum_{s<t}(1 - \eta\beta)^s
        = \frac{1 - (1 - \eta\beta)^t}{\beta}

    (:math:`\eta t` if beta is 0). For other policies this is the tabular direction
    pulled back, not their natural gradient: for that see `ExactGradient`.

    References:
        Kakade, "A Natural Policy Gradient" (2001); Cen et al., "Fast Global Convergence of Natural
        Policy Gradient Methods with Entropy Regularization" (2022), equation 19.

    Example:
        >>> import toymodel as tm
        >>> world = tm.scenarios.random_rewards(jax.random.key(0), tm.scenarios.both_on_policy())
        >>> run = tm.simulate(world, "tabular", NaturalGradient(beta=0.5), "sgd", learning_rate=2.0,
        ...                   steps=1)
        >>> best = tm.exact.rlhf_policy(world.rewards, run.reference, 0.5)
        >>> bool(abs(run.log_probs[-1] - best).max() < 1e-4)
        True
    """

    def logit_gradient(
        self,
        memory: TableArray,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> TableArray:
        del key, number
        counts = (prompt_share(scenario) > 0)[:, None]
        direction = advantage(log_probs, self.table(scenario), memory, self.beta)
        return jnp.where(counts, -direction, 0)
