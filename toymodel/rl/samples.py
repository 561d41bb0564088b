"""What sampled methods share: responses drawn from the policy, and the score-function gradient."""

import abc

import jax
import jax.numpy as jnp

from toymodel._errors import refuse
from toymodel._struct import number, static, struct
from toymodel._typing import Scalar, TableArray
from toymodel.rewards import centred
from toymodel.rl.objective import RewardObjective, prompt_share
from toymodel.scenarios import Scenario

_STREAM = 0x73616D70
_LARGEST_EXPONENT = 40.0


@struct(eq=False)
class Samples:
    """Responses that a policy wrote, and what they were worth to it."""

    response: jax.Array = number(doc="indices of the responses, [prompt, sample]")
    log_prob: jax.Array = number(doc="log-probability when drawn (nats), [prompt, sample]")
    reward: jax.Array = number(doc="the reward that counts, [prompt, sample]")
    advantage: jax.Array = number(doc="what the gradient is weighted by, [prompt, sample]")
    reference: TableArray = number(doc="the reference's log-probabilities, [prompt, response]")
    baseline: jax.Array = number(doc="what was expected of a prompt before, [prompt]")

    @classmethod
    def none(cls, shape: tuple[int, int], samples: int, reference: TableArray) -> "Samples":
        """Before anything is drawn."""
        nothing = jnp.zeros((shape[0], samples), reference.dtype)
        start = jnp.zeros(shape[0], reference.dtype)
        return cls(nothing.astype(int), nothing, nothing, nothing, reference, start)


def read(table: TableArray, response: jax.Array) -> jax.Array:
    """A table's entries at sampled responses, [prompt, sample]."""
    return jnp.take_along_axis(table, response, axis=-1)


def ratio(above: jax.Array, below: jax.Array) -> jax.Array:
    """A ratio of probabilities from their logarithms, held at e^40: float32 must not overflow."""
    return jnp.exp(jnp.minimum(above - below, _LARGEST_EXPONENT))


def score_gradient(log_probs: TableArray, response: jax.Array, weight: jax.Array) -> TableArray:
    r"""The gradient in logits of a weighted mean of log-probabilities of samples.

    .. math:: \frac1S\sum_s w_s\,(1[k = y_s] - \pi_k)

    Args:
        log_probs: log-probabilities (nats) of the policy, [prompt, response].
        response: the samples, [prompt, sample].
        weight: w, [prompt, sample].

    Returns:
        [prompt, response].

    Example:
        >>> fair = jnp.log(jnp.asarray([[0.5, 0.5]]))
        >>> score_gradient(fair, jnp.asarray([[0, 0]]), jnp.asarray([[1.0, 3.0]])).tolist()
        [[1.0, -1.0]]
    """
    rows = jnp.arange(len(log_probs))[:, None]
    mean = weight / weight.shape[-1]
    at_samples = jnp.zeros_like(log_probs).at[rows, response].add(mean)
    return at_samples - jnp.sum(mean, axis=-1, keepdims=True) * jnp.exp(log_probs)


@struct(eq=False)
class SampledObjective(RewardObjective):
    """A method that learns from samples: they are drawn, valued, then used for some updates."""

    samples: int = static(default=8, doc="responses drawn for each prompt")

    _LEAST = 1  # samples that the baseline takes

    def check(self, scenario: Scenario) -> None:
        super().check(scenario)
        if type(self.samples) is not int or self.samples < self._LEAST:
            where = f"{type(self).__name__}.samples"
            raise refuse(where, self.samples, f"a whole number >= {self._LEAST}")

    @property
    def updates(self) -> int:
        """How many updates use the same samples."""
        return 1

    @abc.abstractmethod
    def value(self, samples: Samples, share: jax.Array) -> Samples:
        """The samples with their advantages, and what to expect from now on.

        Args:
            samples: as drawn: the advantage is the reward less its exact mean under the policy.
            share: how much each prompt counts, [prompt].
        """

    def worth(
        self, log_probs: TableArray, reference: TableArray, rewards: TableArray
    ) -> TableArray:
        r"""The reward of responses, with the divergence in it: :math:`r - \beta\log(\pi/\pi_0)`."""
        return rewards - self.beta * (log_probs - reference)

    def begin(self, scenario: Scenario, reference: TableArray, key: jax.Array) -> Samples:
        del key
        return Samples.none(scenario.shape, self.samples, reference)

    def refresh(
        self,
        memory: Samples,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> Samples:
        own_key = jax.random.fold_in(jax.random.fold_in(key, _STREAM), number)

        def again() -> Samples:
            shape = (self.samples, len(log_probs))
            drawn = jax.random.categorical(own_key, log_probs, axis=-1, shape=shape).T
            worth = self.worth(log_probs, memory.reference, self.table(scenario))
            reward = read(worth, drawn)
            fresh = Samples(
                response=drawn.astype(memory.response.dtype),
                log_prob=read(log_probs, drawn),
                reward=reward,
                advantage=read(centred(worth, log_probs), drawn),
                reference=memory.reference,
                baseline=memory.baseline,
            )
            return self.value(fresh, prompt_share(scenario))

        if self.updates == 1:
            return again()
        fresh: Samples = jax.lax.cond(number % self.updates == 0, again, lambda: memory)
        return fresh

    def logit_gradient(
        self,
        memory: Samples,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> TableArray:
        del key, number
        ascent = score_gradient(log_probs, memory.response, memory.advantage)
        return -prompt_share(scenario)[:, None] * ascent


def clipped_weight(
    log_probs: TableArray, response: jax.Array, old: jax.Array, advantage: jax.Array, clip: Scalar
) -> jax.Array:
    r"""What a clipped surrogate weights each sample's score by.

    .. math:: \frac{d}{d\log\pi}\min(\omega A,\ \mathrm{clip}(\omega, 1 - c, 1 + c)\,A)
        = \omega A \text{ or } 0, \qquad \omega = \pi/\pi_{old}

    It is 0 where the ratio has left the interval on the side that the advantage points to. The
    ratio is held at :math:`e^{40}`.

    Args:
        log_probs: log-probabilities (nats) of the present policy, [prompt, response].
        response: the samples, [prompt, sample].
        old: their log-probabilities when drawn, [prompt, sample].
        advantage: A, [prompt, sample].
        clip: c.

    Returns:
        [prompt, sample].

    Example:
        >>> half, quarter = jnp.log(jnp.asarray([[0.5, 0.5]])), jnp.log(jnp.asarray([[0.25]]))
        >>> one, up = jnp.asarray([[0]]), jnp.asarray([[1.0]])
        >>> [clipped_weight(half, one, quarter, sign * up, 0.2).item() for sign in (1, -1)]
        [0.0, -2.0]

    References:
        Schulman et al., "Proximal Policy Optimization Algorithms" (2017), equation 7.
    """
    moved = ratio(read(log_probs, response), old)
    is_out = jnp.where(advantage > 0, moved > 1 + clip, moved < 1 - clip)
    return jnp.where(is_out, 0, moved * advantage)
