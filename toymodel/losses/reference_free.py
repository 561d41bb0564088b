"""Losses without a reference: hinges, likelihood ratios and odds, each with a likelihood term."""

import jax.numpy as jnp
from jax.nn import log_sigmoid, relu

from toymodel._struct import number, static, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses import links
from toymodel.losses.base import PairBatch, PreferenceLoss, register


@register(
    "slic",
    formula="max(0, delta - lc + lr) - eta lc",
    paper="Zhao et al., SLiC-HF (2023), arXiv:2305.10425, equation 1",
)
@struct
class SLiC(PreferenceLoss):
    r"""Sequence likelihood calibration: a hinge without a reference, plus an SFT term.

    .. math::
        L = \max(0, \delta - \log\pi_+ + \log\pi_-) - \eta\log\pi_+, \quad
        a_+ = -h - \eta, \quad a_- = h

    with h = 1 where the hinge is active and 0 elsewhere. At the kink itself, h = 0.
    """

    delta: Scalar = number(
        default=5.0, at_least=0, doc="margin (nats) beyond which the hinge rests"
    )
    eta: Scalar = number(default=0.1, at_least=0, doc="weight of -log pi(y+), the SFT term")

    def _shortfall(self, pairs: PairBatch) -> PairArray:
        return self.delta - pairs.chosen + pairs.rejected

    def value(self, pairs: PairBatch) -> PairArray:
        return relu(self._shortfall(pairs)) - self.eta * pairs.chosen

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        active = (self._shortfall(pairs) > 0).astype(jnp.result_type(pairs.chosen))
        return -active - self.eta, active


@register("sft", formula="-lc / mean(nc)", paper="supervised fine-tuning on the chosen response")
@struct
class SFT(PreferenceLoss):
    """Cross-entropy on the chosen response.

    By default the mean over the batch is a mean over tokens, as in TRL: every chosen token of the
    batch counts the same, which couples pairs by their lengths. Per sequence, it is -lc.
    """

    per_token: bool = static(default=True, doc="a mean over tokens rather than over sequences")

    def _length(self, pairs: PairBatch) -> Scalar:
        if not self.per_token:
            return 1.0
        return jnp.mean(jnp.broadcast_to(pairs.chosen_length, pairs.chosen.shape))

    def value(self, pairs: PairBatch) -> PairArray:
        return -pairs.chosen / self._length(pairs)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        ones = jnp.ones_like(pairs.chosen)
        return -ones / self._length(pairs), 0 * ones


@register(
    "cpo",
    formula="-(1-eps) log sg(beta (lc - lr)) - eps log sg(-beta (lc - lr)) - alpha lc / mean(nc)",
    paper="Xu et al., CPO (2024), arXiv:2401.08417, equation 3",
)
@struct
class CPO(PreferenceLoss):
    """Contrastive preference optimisation: DPO with a uniform reference, plus cross-entropy."""

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    alpha: Scalar = number(default=1.0, at_least=0, doc="weight of the cross-entropy (token mean)")
    label_smoothing: Scalar = number(
        default=0.0, at_least=0, at_most=1, doc="probability eps that a label is wrong"
    )

    def _link(self, pairs: PairBatch) -> links.Link:
        return links.logistic(self.beta * (pairs.chosen - pairs.rejected), self.label_smoothing)

    def value(self, pairs: PairBatch) -> PairArray:
        return self._link(pairs).value + self.alpha * SFT().value(pairs)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull = self.beta * self._link(pairs).slope
        return pull + self.alpha * SFT().slopes(pairs)[0], -pull


@register(
    "orpo",
    formula="-alpha lc/nc - beta log sg(logit(exp(lc/nc)) - logit(exp(lr/nr)))",
    paper="Hong et al., ORPO (2024), arXiv:2403.07691, equations 4 and 7",
)
@struct
class ORPO(PreferenceLoss):
    r"""Odds-ratio preference optimisation: cross-entropy per token plus a log odds ratio.

    With y and z the log-probabilities per token and p = e^y, q = e^z,
    :math:`a_+ = -\frac{\beta}{n_+}\frac{\sigma(-o)}{1-p} - \frac{\alpha}{n_+}` and
    :math:`a_- = \frac{\beta}{n_-}\frac{\sigma(-o)}{1-q}`, o being the log odds ratio. The odds of
    a probability of one are infinite, and so would a- be: y and z are held below -1e-6, with slope
    zero beyond.
    """

    beta: Scalar = number(default=0.1, above=0, doc="weight of the odds ratio (the paper's lambda)")
    alpha: Scalar = number(default=1.0, at_least=0, doc="weight of the cross-entropy, -lc/nc")

    def _logits(self, pairs: PairBatch) -> list[PairArray]:
        """log p and log(1 - p) per token, of the chosen and then of the rejected."""
        results = []
        for total, length in (
            (pairs.chosen, pairs.chosen_length),
            (pairs.rejected, pairs.rejected_length),
        ):
            per_token = jnp.minimum(total / length, _LARGEST_LOG_PROBABILITY)
            results += [per_token, links.log1mexp(per_token)]
        return results

    def value(self, pairs: PairBatch) -> PairArray:
        y, rest_y, z, rest_z = self._logits(pairs)
        odds_ratio = -self.beta * log_sigmoid((y - rest_y) - (z - rest_z))
        return odds_ratio - self.alpha * pairs.chosen / pairs.chosen_length

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        y, rest_y, z, rest_z = self._logits(pairs)
        # sigma(-o)/(1-p) = q / (p (1-q) + q (1-p)), as logarithms
        log_sum = jnp.logaddexp(y + rest_z, z + rest_y)
        free = [
            per_token / length < _LARGEST_LOG_PROBABILITY
            for per_token, length in (
                (pairs.chosen, pairs.chosen_length),
                (pairs.rejected, pairs.rejected_length),
            )
        ]
        chosen = -self.beta * free[0] * jnp.exp(z - log_sum) - self.alpha
        rejected = self.beta * free[1] * jnp.exp(z + rest_y - rest_z - log_sum)
        return chosen / pairs.chosen_length, rejected / pairs.rejected_length


_LARGEST_LOG_PROBABILITY = -1e-6
