"""Identities of preference optimisation, each as a residual that is zero where the identity holds.

The numbers are those of the list in ``docs/identities.md``. Tests run every residual over random
worlds; a reader can call one to see by how much a loss departs from it.
"""

import jax
import jax.numpy as jnp

from toymodel import exact, gradients, rewards
from toymodel._typing import CurveArray, PairArray, Params, Scalar, TableArray
from toymodel.losses import DPO, FlexDPO, PairBatch, PreferenceLoss
from toymodel.policies import Policy
from toymodel.scenarios import Pairs, Role, Scenario, role_masks


def corollary_1(loss: PreferenceLoss, pairs: PairBatch) -> PairArray:
    r"""Identity 1: :math:`(\partial L/\partial\pi_-) / (\partial L/\partial\pi_+) = -\pi_+/\pi_-`.

    In slopes: a+ = -a-. It holds for every function of the margin and, where slopes are
    derivatives of the pair's own loss, for no other.

    Returns:
        (a+ + a-) relative to the larger slope, [pair]; zero where both slopes are zero.

    References:
        Yan et al., "3D-Properties" (ICLR 2025), Corollary 1.
    """
    chosen, rejected = loss.slopes(pairs)
    size = jnp.maximum(jnp.abs(chosen), jnp.abs(rejected))
    return (chosen + rejected) / jnp.where(size > 0, size, 1.0)


def tabular_margin(
    scenario: Scenario, log_probs: CurveArray, times: jax.Array, beta: Scalar
) -> jax.Array:
    r"""Identity 2, closed form: the margin of DPO's tabular gradient flow is `exact.margin`.

    Args:
        scenario: a world with one pair a prompt.
        log_probs: log-probabilities along the flow, [record, prompt, response].
        times: times of the records, [record].
        beta: DPO's beta.

    Returns:
        Measured minus closed-form margin (nats), [record, pair].
    """
    pairs = scenario.pairs

    def measured(table: TableArray) -> PairArray:
        return gradients.pair_batch(table, scenario.log_table, pairs).margin

    def closed(share: Scalar) -> jax.Array:
        return exact.margin(times, beta, 0.0, share)

    return jax.vmap(measured)(log_probs) - jax.vmap(closed, out_axes=1)(pairs.share)


def tabular_monotone(scenario: Scenario, log_probs: CurveArray) -> tuple[jax.Array, jax.Array]:
    r"""Identity 2, monotonicity: log pi+ never falls; the unseen mass turns where pi+ meets pi-.

    For a tabular softmax, one pair a prompt, a margin loss and gradient flow below its target
    margin. The pair's logits part at v = dz+/dt >= 0, hence
    :math:`d\log\pi_+/dt = (1 - \pi_+ + \pi_-)\,v \ge 0` and, for every unseen k,
    :math:`d\log\pi_k/dt = (\pi_- - \pi_+)\,v`: dispersion while the rejected response is the
    likelier of the two, and never after.

    Returns:
        The largest fall of log pi+ between records (nats); and the largest rise of the mass
        outside the pair between records from pi+ >= pi- on, or fall between records with
        pi+ <= pi-. Each [pair], and zero where there is none.
    """
    pairs = scenario.pairs
    chosen = log_probs[:, pairs.prompt, pairs.chosen]
    rejected = log_probs[:, pairs.prompt, pairs.rejected]
    masks = role_masks(scenario.roles)
    own = masks[..., Role.OWN_CHOSEN] + masks[..., Role.OWN_REJECTED]
    outside = jnp.sum(jnp.exp(log_probs) * (1 - own)[None], axis=-1)[:, pairs.prompt]
    change = jnp.diff(outside, axis=0)
    wrong = jnp.where(
        chosen[:-1] >= rejected[:-1], change, jnp.where(chosen[1:] <= rejected[1:], -change, 0.0)
    )
    fall = jnp.max(-jnp.diff(chosen, axis=0), axis=0)
    return jnp.maximum(fall, 0.0), jnp.maximum(jnp.max(wrong, axis=0), 0.0)


def unseen_force(
    loss: PreferenceLoss, log_probs: TableArray, reference: TableArray, pairs: Pairs
) -> TableArray:
    r"""Identity 3: an unseen response's logit moves at :math:`\sum_i w_i (a_+^i + a_-^i)\,\pi_k`.

    Negative pushes it down. Zero for margin losses; for Flex-DPO proportional to
    :math:`-(\beta_+ - \beta_-)\pi_k`; the SFT term adds :math:`-\gamma\pi_k`.

    Returns:
        The velocity by automatic differentiation of the objective, minus the formula, [prompt,
        response]; the responses of a prompt's own pairs, which move otherwise too, count as zero.
    """

    def objective(logits: TableArray) -> Scalar:
        return gradients.objective(loss, jax.nn.log_softmax(logits, axis=-1), reference, pairs)

    velocity = -jax.grad(objective)(log_probs)
    chosen, rejected = loss.slopes(gradients.pair_batch(log_probs, reference, pairs))
    both = pairs.share * (chosen + rejected)
    force = jnp.zeros_like(log_probs[:, 0]).at[pairs.prompt].add(both)
    never_paired = jnp.ones_like(log_probs)
    for response in (pairs.chosen, pairs.rejected):
        never_paired = never_paired.at[pairs.prompt, response].set(0.0)
    residual: jax.Array = never_paired * (velocity - force[:, None] * jnp.exp(log_probs))
    return residual


def unseen_clock(scenario: Scenario, log_probs: CurveArray) -> CurveArray:
    r"""Identity 3, integrated: :math:`e^{-z_j} - e^{-z_k}` is constant for unseen j, k.

    For a tabular policy under gradient flow on any loss and any pairs: given how far the likeliest
    unseen response of a prompt has moved, `exact.unseen_change` says how far the others have.

    Args:
        scenario: the world.
        log_probs: log-probabilities along the flow from the scenario's table, [record, prompt,
            response].

    Returns:
        Measured minus predicted change of logit (nats), [record, prompt, response]; responses of
        a prompt's own pairs count as zero.
    """
    masks = role_masks(scenario.roles)
    is_unseen = masks[..., Role.OWN_CHOSEN] + masks[..., Role.OWN_REJECTED] == 0

    def of_prompt(start: jax.Array, unseen: jax.Array, now: jax.Array) -> jax.Array:
        change = exact.logit_changes(start, now)
        leader = jnp.argmax(jnp.where(unseen, start, -jnp.inf))
        behind = jnp.where(unseen, start - start[leader], 0.0)
        return jnp.where(unseen, change - exact.unseen_change(behind, change[leader]), 0.0)

    over_prompts = jax.vmap(of_prompt)
    residual: CurveArray = jax.vmap(over_prompts, in_axes=(None, None, 0))(
        scenario.log_table, is_unseen, log_probs
    )
    return residual


def flex_extremum(pairs: PairBatch, beta_chosen: Scalar) -> PairArray:
    r"""Identity 5: Flex-DPO's rejected gradient is extremal in beta_rejected where `exact` says.

    Returns:
        The derivative of log|dL/dpi-| in log beta_rejected at `exact.flex_rejected_extremum`,
        [pair]; defined for r < 0.

    References:
        Yan et al., "3D-Properties" (ICLR 2025) gives the limit 1/|r|, which this meets as
        beta_chosen c grows.
    """
    at = exact.flex_rejected_extremum(
        pairs.rejected_log_ratio, beta_chosen * pairs.chosen_log_ratio
    )

    def log_size(log_beta: PairArray) -> Scalar:
        loss = FlexDPO(beta_chosen, jnp.exp(log_beta))
        return jnp.sum(gradients.probabilities(loss, pairs)[1].log_abs)

    derivative: PairArray = jax.grad(log_size)(jnp.log(at))
    return derivative


def rlhf_optimum(rewards: TableArray, reference: TableArray, beta: Scalar) -> TableArray:
    r"""Identity 6: DPO's population minimiser is RLHF's optimum, for Bradley-Terry preferences.

    With every pair of responses compared (`exact.population_pairs`), the margins of
    `exact.rlhf_policy` are :math:`\beta m = r - r'`, where the pulls of the two orders cancel.

    Args:
        rewards: r(x, y), [prompt, response].
        reference: log-probabilities (nats) of the reference, [prompt, response].
        beta: of RLHF and of DPO.

    Returns:
        The gradient of DPO's population loss in the logits, at RLHF's optimum, relative to beta,
        [prompt, response].

    References:
        Rafailov et al., "Direct Preference Optimization" (2023), section 4.
    """
    best = exact.rlhf_policy(rewards, reference, beta)
    pairs = exact.population_pairs(rewards)
    return gradients.logits(DPO(beta), best, reference, pairs) / beta


def balanced_reward(model: Policy, params: Params, pairs: Pairs) -> tuple[TableArray, Scalar]:
    """Identity 7: Bradley-Terry gradients are balanced, in every parameterisation of the reward.

    Returns:
        The sum over responses of dL/dr, [prompt]; and the largest difference between the
        parameters' gradient by automatic differentiation of the loss and the sum over pairs of
        dL/dr+ times the gradient of (r+ - r-), which the balance implies.
    """
    table = model.logits(params)
    in_rewards = rewards.table_gradient(table, pairs)
    slope, _ = rewards.bradley_terry_slopes(*pairs.read(table))

    def differences(params: Params) -> Scalar:
        chosen, rejected = pairs.read(model.logits(params))
        return pairs.mean(jax.lax.stop_gradient(slope) * (chosen - rejected))

    automatic = jax.grad(lambda p: rewards.objective(model.logits(p), pairs))(params)
    gaps = jax.tree.map(
        lambda a, b: jnp.max(jnp.abs(a - b)), automatic, jax.grad(differences)(params)
    )
    return jnp.sum(in_rewards, axis=-1), jnp.max(jnp.stack(jax.tree.leaves(gaps)))
