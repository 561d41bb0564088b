"""From slopes to gradients: in probabilities, logits and parameters; written once for all losses.

A loss gives a+ = dL/dlog pi(y+) and a- = dL/dlog pi(y-); the chain rule does the rest.
"""

import jax.numpy as jnp
from jax.scipy.special import logsumexp

from toymodel._typing import Params, Scalar, TableArray
from toymodel.losses.base import PairBatch, PreferenceLoss, SignedLog
from toymodel.policies.base import Policy
from toymodel.scenarios import Pairs


def pair_batch(log_probs: TableArray, reference: TableArray, pairs: Pairs) -> PairBatch:
    """What a loss sees of the pairs: their log-probabilities under policy and reference.

    Args:
        log_probs: log-probabilities of the policy, [prompt, response].
        reference: log-probabilities of the reference, [prompt, response].
        pairs: the preference pairs.

    Returns:
        The batch. Responses have one token, so lengths are one and nothing exceeds the shorter.
    """
    log_ratio = log_probs - reference
    # another prompt's responses: each prompt meets the responses of the pair before its own
    strangers = [jnp.roll(responses, 1) for responses in (pairs.chosen, pairs.rejected)]
    mismatched = sum(log_ratio[pairs.prompt, responses] for responses in strangers) / 2
    concentration = logsumexp(2 * log_probs, axis=-1)[pairs.prompt]
    ones = jnp.ones_like(concentration)
    return PairBatch(
        *pairs.read(log_probs),
        *pairs.read(reference),
        chosen_length=ones,
        rejected_length=ones,
        mismatched_log_ratio=mismatched,
        chosen_concentration=concentration,
        rejected_concentration=concentration,
    )


def objective(
    loss: PreferenceLoss, log_probs: TableArray, reference: TableArray, pairs: Pairs
) -> Scalar:
    """The number that training lowers: the weighted mean of the loss over pairs."""
    return pairs.mean(loss.value(pair_batch(log_probs, reference, pairs)))


def probabilities(loss: PreferenceLoss, batch: PairBatch) -> tuple[SignedLog, SignedLog]:
    r"""The gradient in probability space, as the paper writes it, for each pair.

    .. math:: \partial L/\partial\pi_\pm = a_\pm / \pi_\pm

    Returned as sign and logarithm: the rejected one reaches 1e43 in the paper's Figure 2 and
    would overflow beyond 1e38 in float32.

    Returns:
        dL/dpi(y+) and dL/dpi(y-), each [pair].

    References:
        Yan et al., "3D-Properties" (ICLR 2025), Corollaries 1 and 2.
    """
    chosen, rejected = loss.log_slopes(batch)
    return (
        SignedLog(chosen.sign, chosen.log_abs - batch.chosen),
        SignedLog(rejected.sign, rejected.log_abs - batch.rejected),
    )


def logits(
    loss: PreferenceLoss, log_probs: TableArray, reference: TableArray, pairs: Pairs
) -> TableArray:
    r"""The gradient of `objective` in the logits of a softmax policy, [prompt, response].

    .. math::
        \frac{\partial L}{\partial z_k} = \sum_i w_i \left[ a_+^i (1[k = y_+^i] - \pi_k)
        + a_-^i (1[k = y_-^i] - \pi_k) \right]

    with the weights normalised to sum to one. The two slopes are added before they meet pi_k, so
    for a margin loss (a+ = -a-) an unseen response's gradient is zero exactly.
    """
    chosen, rejected = loss.slopes(pair_batch(log_probs, reference, pairs))
    both = pairs.share * (chosen + rejected)
    total = jnp.zeros_like(log_probs[:, 0]).at[pairs.prompt].add(both)
    return pairs.spread(log_probs, chosen, rejected) - total[:, None] * jnp.exp(log_probs)


def parameters(
    loss: PreferenceLoss, policy: Policy, params: Params, reference: TableArray, pairs: Pairs
) -> Params:
    """The gradient of `objective` in the policy's parameters, by its closed-form VJP.

    Returns:
        A pytree like `params`.

    Example:
        >>> import jax, toymodel as tm
        >>> world, policy = tm.scenarios.both_on_policy(), tm.Tabular()
        >>> params, _ = policy.fit(world.log_table)
        >>> gradient = parameters(tm.losses.DPO(), policy, params, world.log_table, world.pairs)
        >>> round(float(gradient[0, 0]), 4), round(float(gradient[0, 4]), 4)
        (-0.0125, 0.0125)
    """
    return policy.vjp(params, logits(loss, policy.log_probs(params), reference, pairs))
