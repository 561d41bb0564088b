"""Losses that see the whole batch: sorted margins, and a beta that follows the batch."""

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid

from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses import links
from toymodel.losses.base import DetachedLoss, PairBatch, PreferenceLoss, register


@register(
    "aot",
    formula="cDPO of d = sort(lc - lr) - sort(rc - rr)",
    paper="Melnyk et al., AOT (2024), arXiv:2406.05882",
)
@struct
class AOT(PreferenceLoss):
    """Alignment by optimal transport: the policy's margins dominate the reference's, as a whole.

    A value stands at the pair whose policy margin has that rank; ties keep the pairs' order.
    """

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    label_smoothing: Scalar = number(
        default=0.0, at_least=0, at_most=1, doc="probability eps that a label is wrong"
    )

    def _link(self, pairs: PairBatch) -> links.Link:
        policy = pairs.chosen - pairs.rejected
        reference = jnp.sort(pairs.reference_chosen - pairs.reference_rejected)
        rank = jnp.argsort(jnp.argsort(policy, stable=True), stable=True)
        return links.logistic(self.beta * (policy - reference[rank]), self.label_smoothing)

    def value(self, pairs: PairBatch) -> PairArray:
        return self._link(pairs).value

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull = self.beta * self._link(pairs).slope
        return pull, -pull


@register(
    "aot_unpaired",
    formula="cDPO of d = sort(c) - sort(r)",
    paper="Melnyk et al., AOT (2024), arXiv:2406.05882",
)
@struct
class AOTUnpaired(PreferenceLoss):
    """The unpaired form: the chosen log-ratios dominate the rejected ones, as a whole.

    A value joins a chosen and a rejected of different pairs (it stands at the chosen's), so that
    weights of pairs have no meaning.
    """

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    label_smoothing: Scalar = number(
        default=0.0, at_least=0, at_most=1, doc="probability eps that a label is wrong"
    )

    @property
    def takes_weights(self) -> bool:
        return False

    def _by_rank(self, pairs: PairBatch) -> tuple[links.Link, jax.Array, jax.Array]:
        """Value and slope by rank, and the rank of each chosen and of each rejected."""
        chosen, rejected = pairs.chosen_log_ratio, pairs.rejected_log_ratio
        ranks = [
            jnp.argsort(jnp.argsort(ratio, stable=True), stable=True)
            for ratio in (chosen, rejected)
        ]
        gaps = jnp.sort(chosen) - jnp.sort(rejected)
        return links.logistic(self.beta * gaps, self.label_smoothing), ranks[0], ranks[1]

    def value(self, pairs: PairBatch) -> PairArray:
        link, chosen, _ = self._by_rank(pairs)
        return link.value[chosen]

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        link, chosen, rejected = self._by_rank(pairs)
        pull = self.beta * link.slope
        return pull[chosen], -pull[rejected]


@register(
    "beta_dpo",
    formula="-log sg(b m), b = max(0.001, beta (1 + alpha (mean(m) - center)))",
    paper="Wu et al., beta-DPO (2024), arXiv:2407.08639",
)
@struct
class BetaDPO(DetachedLoss):
    """DPO whose beta follows the batch: larger for batches of large margins.

    The batch's beta is detached. The paper's center is a running mean of margins, given here as a
    number, and it also drops outlying pairs at random, which belongs to the choice of pairs.
    """

    beta: Scalar = number(default=0.1, above=0, doc="beta of a batch with the usual margin")
    alpha: Scalar = number(default=0.6, at_least=0, doc="how strongly beta follows the batch")
    center: Scalar = number(default=0.0, doc="the usual margin (nats)")

    def held(self, pairs: PairBatch) -> Scalar:
        change = self.alpha * (jnp.mean(pairs.margin) - self.center)
        return jnp.maximum(self.beta * (1 + change), _SMALLEST_BETA)

    def value_holding(self, pairs: PairBatch, held: Scalar) -> PairArray:
        return -log_sigmoid(held * pairs.margin)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        beta = self.held(pairs)
        pull = beta * sigmoid(-beta * pairs.margin)
        return -pull, pull


_SMALLEST_BETA = 1e-3
