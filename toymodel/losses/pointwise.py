"""Losses that treat the two halves of a pair each on its own, against a fixed point of its own."""

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid

from toymodel._struct import number, static, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses import links
from toymodel.losses.base import DetachedLoss, PairBatch, PreferenceLoss, register


def _bell(x: PairArray) -> PairArray:
    """The derivative of the logistic function."""
    return sigmoid(x) * sigmoid(-x)


@register(
    "nca_pair",
    formula="-log sg(beta c) - log sg(-beta c)/2 - log sg(-beta r)/2",
    paper="Chen et al., NCA (2024), arXiv:2402.05369",
)
@struct
class NCA(PreferenceLoss):
    """Noise-contrastive alignment: the chosen is pulled up only until beta c = log 2."""

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")

    def value(self, pairs: PairBatch) -> PairArray:
        chosen, rejected = self.beta * pairs.chosen_log_ratio, self.beta * pairs.rejected_log_ratio
        repelled = log_sigmoid(-chosen) + log_sigmoid(-rejected)
        return -log_sigmoid(chosen) - repelled / 2

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        chosen, rejected = self.beta * pairs.chosen_log_ratio, self.beta * pairs.rejected_log_ratio
        up, down = sigmoid(-chosen), sigmoid(chosen) / 2
        return self.beta * (down - up), self.beta / 2 * sigmoid(rejected)


@register(
    "bco_pair",
    formula="-log sg(beta c - delta) - log sg(delta - beta r)",
    paper="Jung et al., BCO (2024), arXiv:2404.04656",
)
@struct
class BCO(DetachedLoss):
    """Binary classifier optimisation: chosen above, rejected below a threshold delta.

    Delta is data to the slopes (detached): zero in TRL's DPO trainer, the running mean of all
    rewards in its authors' training, which `running_delta` keeps. With ``batch_delta`` it is the
    mean over the present batch, detached.
    """

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    delta: Scalar = number(default=0.0, doc="the threshold between rewards, detached")
    batch_delta: bool = static(default=False, doc="take the batch's mean reward instead of delta")

    def rewards(self, pairs: PairBatch) -> jax.Array:
        """beta c and beta r, [2, pair]."""
        return self.beta * jnp.stack([pairs.chosen_log_ratio, pairs.rejected_log_ratio])

    def held(self, pairs: PairBatch) -> Scalar:
        return jnp.mean(self.rewards(pairs)) if self.batch_delta else jnp.asarray(self.delta)

    def value_holding(self, pairs: PairBatch, held: Scalar) -> PairArray:
        chosen, rejected = self.rewards(pairs)
        return -log_sigmoid(chosen - held) - log_sigmoid(held - rejected)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        (chosen, rejected), delta = self.rewards(pairs), self.held(pairs)
        return -self.beta * sigmoid(delta - chosen), self.beta * sigmoid(rejected - delta)

    def running_delta(
        self, delta: Scalar, count: Scalar, pairs: PairBatch
    ) -> tuple[Scalar, Scalar]:
        """The running mean of rewards and their number, after one more batch.

        Example:
            >>> pairs = PairBatch(*(jnp.asarray([p]) for p in (-1.0, -2.0, -2.0, -2.0)))
            >>> delta, count = BCO(beta=1.0).running_delta(0.0, 0, pairs)
            >>> float(delta), int(count)
            (0.5, 2)
        """
        rewards = self.rewards(pairs)
        total = count + rewards.size
        return (delta * count + jnp.sum(rewards)) / total, total


@register(
    "sppo_hard",
    formula="(c - 1/(2 beta))^2 + (r + 1/(2 beta))^2",
    paper="Wu et al., SPPO (2024), arXiv:2405.00675, equation 4.7",
)
@struct
class SPPO(PreferenceLoss):
    """Self-play preference optimisation with hard labels: each log-ratio to a target of its own."""

    beta: Scalar = number(default=0.1, above=0, doc="the targets are +- 1/(2 beta)")

    def value(self, pairs: PairBatch) -> PairArray:
        target = 1 / (2 * self.beta)
        return (pairs.chosen_log_ratio - target) ** 2 + (pairs.rejected_log_ratio + target) ** 2

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        target = 1 / (2 * self.beta)
        return (
            2 * (pairs.chosen_log_ratio - target),
            2 * (pairs.rejected_log_ratio + target),
        )


@register(
    "cal_dpo",
    formula="-log sg(m) + alpha [(c - 1/(2 beta))^2 + (r + 1/(2 beta))^2]",
    paper="Xiao et al., Cal-DPO (2024), arXiv:2412.14516",
)
@struct
class CalDPO(PreferenceLoss):
    """Calibrated DPO: the margin's loss without beta, plus a target for each log-ratio."""

    beta: Scalar = number(default=0.1, above=0, doc="the targets are +- 1/(2 beta)")
    alpha: Scalar = number(default=1.0, at_least=0, doc="weight of the calibration (code: 0.5)")

    def value(self, pairs: PairBatch) -> PairArray:
        return -log_sigmoid(pairs.margin) + self.alpha * SPPO(self.beta).value(pairs)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull, (chosen, rejected) = sigmoid(-pairs.margin), SPPO(self.beta).slopes(pairs)
        return self.alpha * chosen - pull, self.alpha * rejected + pull


@register(
    "apo_zero",
    formula="sg(-beta c) + sg(beta r)",
    paper="D'Oosterlinck et al., APO (2024), arXiv:2408.06266, equation 7",
)
@struct
class APOZero(PreferenceLoss):
    """Anchored preference optimisation: chosen up, rejected down, each until it is far enough."""

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")

    def value(self, pairs: PairBatch) -> PairArray:
        chosen, rejected = self.beta * pairs.chosen_log_ratio, self.beta * pairs.rejected_log_ratio
        return links.probability(-chosen) + links.probability(rejected)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        chosen, rejected = self.beta * pairs.chosen_log_ratio, self.beta * pairs.rejected_log_ratio
        return -self.beta * _bell(chosen), self.beta * _bell(rejected)


@register(
    "apo_down",
    formula="sg(beta c) + sg(-beta m)",
    paper="D'Oosterlinck et al., APO (2024), arXiv:2408.06266, equation 8",
)
@struct
class APODown(PreferenceLoss):
    """Anchored preference optimisation for a policy better than its data: chosen down as well."""

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")

    def value(self, pairs: PairBatch) -> PairArray:
        chosen = self.beta * pairs.chosen_log_ratio
        return links.probability(chosen) + links.probability(-self.beta * pairs.margin)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        down = self.beta * _bell(self.beta * pairs.chosen_log_ratio)
        apart = self.beta * _bell(self.beta * pairs.margin)
        return down - apart, apart


@register(
    "kto",
    formula="[wd sg(beta (KL - c)) + wu sg(beta (r - KL))] / 2",
    paper="Ethayarajh et al., KTO (2024), arXiv:2402.01306, equations 7 and 8",
)
@struct
class KTO(DetachedLoss):
    """Kahneman-Tversky optimisation on pairs.

    KL is the mean log-ratio of mismatched prompts and responses in the batch, at least zero, and
    detached. The half makes it a mean over responses, as in TRL.
    """

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    desirable_weight: Scalar = number(default=1.0, at_least=0, doc="weight wd of chosen responses")
    undesirable_weight: Scalar = number(default=1.0, at_least=0, doc="weight wu of rejected ones")

    def held(self, pairs: PairBatch) -> Scalar:
        mismatched = jnp.broadcast_to(pairs.mismatched_log_ratio, pairs.chosen.shape)
        return jnp.maximum(jnp.mean(mismatched), 0.0)

    def _scores(self, pairs: PairBatch, kl: Scalar) -> tuple[PairArray, PairArray]:
        return (
            self.beta * (pairs.chosen_log_ratio - kl),
            self.beta * (kl - pairs.rejected_log_ratio),
        )

    def value_holding(self, pairs: PairBatch, held: Scalar) -> PairArray:
        chosen, rejected = self._scores(pairs, held)
        desirable = self.desirable_weight * links.probability(-chosen)
        return (desirable + self.undesirable_weight * links.probability(-rejected)) / 2

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        chosen, rejected = self._scores(pairs, self.held(pairs))
        half = self.beta / 2
        return (
            -half * self.desirable_weight * _bell(chosen),
            half * self.undesirable_weight * _bell(rejected),
        )
