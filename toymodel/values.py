"""What a policy is worth, exactly: reward, divergence, regret, win rate, and the best of n."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from toymodel import exact, sampling
from toymodel._errors import refuse
from toymodel._typing import Scalar, TableArray
from toymodel.sampling import Annotator


def _same_shape(**tables: TableArray) -> None:
    """Refuse tables of different shapes, or of none."""
    (first, like), *others = tables.items()
    if jnp.ndim(like) != 2:
        raise refuse(first, f"shape {jnp.shape(like)}", "a table, [prompt, response]")
    for name, table in others:
        if jnp.shape(table) != jnp.shape(like):
            expected = f"the shape of {first}, {jnp.shape(like)}"
            raise refuse(name, f"shape {jnp.shape(table)}", expected)


def expected_reward(log_probs: TableArray, rewards: TableArray) -> jax.Array:
    r"""The mean reward, :math:`E_{y \sim \pi}[r(x, y)]`, [prompt].

    Args:
        log_probs: log-probabilities (nats) of the policy, [prompt, response].
        rewards: r(x, y), [prompt, response].

    Raises:
        InputError: tables of different shapes.

    Example:
        >>> fair = jnp.log(jnp.asarray([[0.5, 0.5]]))
        >>> expected_reward(fair, jnp.asarray([[3.0, 0.0]])).tolist()
        [1.5]
    """
    _same_shape(log_probs=log_probs, rewards=rewards)
    return jnp.sum(jnp.exp(log_probs) * rewards, axis=-1)


def divergence(log_probs: TableArray, reference: TableArray) -> jax.Array:
    r"""Divergence from a reference, :math:`\mathrm{KL}(\pi\,\|\,\pi_0)` (nats), [prompt].

    A response of probability zero adds nothing.

    Args:
        log_probs: log-probabilities (nats) of the policy, [prompt, response].
        reference: log-probabilities (nats) of the reference, [prompt, response].

    Raises:
        InputError: tables of different shapes.

    Example:
        >>> fair, sure = jnp.log(jnp.asarray([[0.5, 0.5]])), jnp.log(jnp.asarray([[1.0, 0.0]]))
        >>> round(float(divergence(sure, fair)[0]), 3)
        0.693
    """
    _same_shape(log_probs=log_probs, reference=reference)
    is_possible = log_probs > -jnp.inf
    log_ratio = jnp.where(is_possible, log_probs - reference, 0)  # else 0 * inf
    return jnp.sum(jnp.exp(log_probs) * log_ratio, axis=-1)


def regret(
    log_probs: TableArray, rewards: TableArray, reference: TableArray, beta: Scalar
) -> jax.Array:
    r"""How far a policy is below RLHF's best value, in units of reward, [prompt].

    With :math:`J(\pi) = E_\pi[r] - \beta\,\mathrm{KL}(\pi\,\|\,\pi_0)` and its maximiser
    :math:`\pi^* \propto \pi_0 e^{r/\beta}` (`toymodel.exact.rlhf_policy`),

    .. math:: J(\pi^*) - J(\pi) = \beta\,\mathrm{KL}(\pi\,\|\,\pi^*)

    computed as the latter, which keeps its digits close to the optimum.

    Args:
        log_probs: log-probabilities (nats) of the policy, [prompt, response].
        rewards: r(x, y), [prompt, response].
        reference: log-probabilities (nats) of the reference, [prompt, response].
        beta: the price of a nat of divergence, above 0.

    Raises:
        InputError: tables of different shapes, or a beta that is not above 0.

    Example:
        >>> fair, rewards = jnp.log(jnp.asarray([[0.5, 0.5]])), jnp.asarray([[1.0, 0.0]])
        >>> round(float(regret(fair, rewards, fair, beta=0.5)[0]), 4)
        0.2169
        >>> float(regret(exact.rlhf_policy(rewards, fair, 0.5), rewards, fair, beta=0.5)[0])
        0.0

    References:
        Rafailov et al., "Direct Preference Optimization" (2023), equation 4 and appendix A.1.
    """
    _same_shape(log_probs=log_probs, rewards=rewards, reference=reference)
    if not isinstance(beta, jax.core.Tracer) and not np.all(np.asarray(beta) > 0):
        raise refuse("beta", beta, "a number > 0, since at 0 there is no single optimum")
    return beta * divergence(log_probs, exact.rlhf_policy(rewards, reference, beta))


def win_rate(
    log_probs: TableArray,
    other: TableArray,
    rewards: TableArray,
    annotator: Annotator | str = "ideal",
) -> jax.Array:
    r"""How often a policy's response is preferred to another policy's, [prompt].

    .. math:: \sum_{y, y'} \pi(y|x)\,\pi'(y'|x)\,P(y \succ y')

    With `Ideal`, P is 1 for a higher reward, 1/2 for a tie, 0 for a lower one; with
    `BradleyTerry` of temperature tau it is :math:`\sigma((r - r')/\tau)`.

    Args:
        log_probs: log-probabilities (nats) of the policy, [prompt, response].
        other: those of the policy that it is compared with, [prompt, response].
        rewards: r(x, y), [prompt, response].
        annotator: who prefers, a `toymodel.sampling.Annotator` or the name of one.

    Raises:
        InputError: tables of different shapes, or no annotator.

    Example:
        >>> fair, sure = jnp.log(jnp.asarray([[0.5, 0.5]])), jnp.log(jnp.asarray([[1.0, 0.0]]))
        >>> rewards = jnp.asarray([[1.0, 0.0]])
        >>> win_rate(sure, fair, rewards).tolist(), win_rate(fair, fair, rewards).tolist()
        ([0.75], [0.5])
        >>> round(float(win_rate(sure, fair, rewards, sampling.BradleyTerry(0.5))[0]), 3)
        0.69
    """
    _same_shape(log_probs=log_probs, other=other, rewards=rewards)
    who = sampling.part("annotator", annotator, Annotator)  # type: ignore[type-abstract]
    prompts, responses = jnp.shape(rewards)
    who.check((prompts, responses))
    prompt, first, second = jnp.indices((prompts, responses, responses))
    preferred = who.probability(rewards, prompt, first, second)
    return jnp.einsum("xy,xz,xyz->x", jnp.exp(log_probs), jnp.exp(other), preferred)


def best_of_n(log_probs: TableArray, rewards: TableArray, n: Scalar) -> TableArray:
    r"""The distribution of the best of n samples, as log-probabilities [prompt, response].

    With F(y) the probability of a reward up to r(x, y), and F_<(y) of one below it,

    .. math::
        \log\pi_n(y) = \log\left(F(y)^n - F_<(y)^n\right)
        + \log\frac{\pi(y)}{F(y) - F_<(y)}

    One of the best samples is taken at random if rewards tie, so that tied responses share by
    their probabilities. Computed in log space throughout: neither a tiny probability nor a large n
    is lost. The divergence from :math:`\pi` is at most `best_of_n_bound`.

    Args:
        log_probs: log-probabilities (nats) of the policy, [prompt, response].
        rewards: r(x, y), [prompt, response].
        n: how many samples, at least 1. A number between whole ones gives the same formula, for
            curves over n.

    Raises:
        InputError: tables of different shapes, or n below 1.

    Example:
        >>> fair, rewards = jnp.log(jnp.asarray([[0.5, 0.5]])), jnp.asarray([[1.0, 0.0]])
        >>> [round(float(p), 3) for p in jnp.exp(best_of_n(fair, rewards, 3)[0])]
        [0.875, 0.125]

    References:
        Stiennon et al., "Learning to summarize from human feedback" (2020); Beirami et al.,
        "Theoretical guarantees on the best-of-n alignment policy" (2024), lemma 1.
    """
    _same_shape(log_probs=log_probs, rewards=rewards)
    _check_n(n)
    log_n = jnp.log(jnp.asarray(n, jnp.result_type(float)))
    log_probs = log_probs - logsumexp(log_probs, axis=-1, keepdims=True)
    gap = rewards[:, :, None] - rewards[:, None, :]

    def mass(is_in: jax.Array) -> jax.Array:
        """The log-probability of those other responses together, [prompt, response]."""
        return logsumexp(jnp.where(is_in, log_probs[:, None, :], -jnp.inf), axis=-1)

    up_to, below, tied = mass(gap >= 0), mass(gap > 0), mass(gap == 0)
    # log(-log(F_< / F)), from whichever of the two masses is the smaller
    share = jnp.minimum(tied - up_to, 0)
    steps = jnp.where(below - up_to < share, jnp.log(up_to - below), _log_minus_log1m(share))
    return n * up_to + _log_1m_exp_minus(log_n + steps) + log_probs - tied


def _log_minus_log1m(log_x: jax.Array) -> jax.Array:
    """log(-log(1 - x)) from log x."""
    x = jnp.exp(log_x)
    return jnp.where(log_x < -20, log_x + x / 2, jnp.log(-jnp.log1p(-x)))


def _log_1m_exp_minus(log_x: jax.Array) -> jax.Array:
    """log(1 - exp(-x)) from log x."""
    x = jnp.exp(log_x)
    middle = jnp.log(-jnp.expm1(-x))
    return jnp.where(log_x < -20, log_x - x / 2, jnp.where(x < 1, middle, jnp.log1p(-jnp.exp(-x))))


def best_of_n_bound(n: Scalar) -> jax.Array:
    r"""The most that the best of n samples can diverge from the policy: log n - (n - 1)/n (nats).

    .. math:: \mathrm{KL}(\pi_n\,\|\,\pi) \le \log n - \frac{n - 1}{n}

    Equal in the limit of infinitely many responses, each unlikely, without ties. A world of few
    responses stays below: the divergence cannot exceed minus log-probability of the best response.

    Args:
        n: how many samples, at least 1.

    Raises:
        InputError: n below 1.

    Example:
        >>> [round(float(best_of_n_bound(n)), 3) for n in (1, 4, 16)]
        [0.0, 0.636, 1.835]

    References:
        Beirami et al., "Theoretical guarantees on the best-of-n alignment policy" (2024),
        theorem 1.
    """
    _check_n(n)
    n = jnp.asarray(n, jnp.result_type(float))
    return jnp.log(n) - (n - 1) / n


def _check_n(n: Scalar) -> None:
    if not isinstance(n, jax.core.Tracer) and not np.all(np.asarray(n) >= 1):
        raise refuse("n", n, "a number of samples >= 1")
