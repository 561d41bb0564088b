"""Losses made of losses: weighted sums, and transformations that any loss can be put through."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid

from toymodel._errors import refuse
from toymodel._struct import choice, number, static, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses import links
from toymodel.losses.base import DetachedLoss, PairBatch, PreferenceLoss, register
from toymodel.losses.dpo import DPO


@register("sum", formula="sum of weight_k loss_k", paper="such as MPO (2024), arXiv:2411.10442")
@struct
class WeightedSum(DetachedLoss):
    """A weighted sum of losses, itself a loss.

    Example:
        >>> from toymodel.losses import SFT
        >>> rpo = WeightedSum((DPO(beta=0.1), SFT()), (1.0, 0.005))
    """

    losses: tuple[PreferenceLoss, ...] = number(default=(DPO(),), doc="the losses")
    weights: tuple[Scalar, ...] = number(default=(1.0,), doc="the weight of each")

    def __post_init__(self) -> None:
        if len(self.losses) != len(self.weights) or not self.losses:
            given = f"{len(self.losses)} losses and {len(self.weights)} weights"
            raise refuse("WeightedSum", given, "as many weights as losses, at least one")

    @property
    def takes_weights(self) -> bool:
        return all(loss.takes_weights for loss in self.losses)

    def held(self, pairs: PairBatch) -> Any:
        return [loss.held(pairs) for loss in self.losses]

    def value_holding(self, pairs: PairBatch, held: Any) -> PairArray:
        terms = zip(self.weights, self.losses, held, strict=True)
        return sum_of(weight * loss.value_holding(pairs, h) for weight, loss, h in terms)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        both = [loss.slopes(pairs) for loss in self.losses]
        chosen = sum_of(w * slopes[0] for w, slopes in zip(self.weights, both, strict=True))
        rejected = sum_of(w * slopes[1] for w, slopes in zip(self.weights, both, strict=True))
        return chosen, rejected


def sum_of(terms: Any) -> PairArray:
    """The sum of arrays."""
    total: PairArray = sum(terms)
    return total


def _reverse_kl(c: PairArray, alpha: Scalar) -> tuple[PairArray, PairArray]:
    del alpha
    return c, jnp.ones_like(c)


def _forward_kl(c: PairArray, alpha: Scalar) -> tuple[PairArray, PairArray]:
    del alpha
    value, slope = links.held_exponential(-c)
    return 1 - value, slope


def _jensen_shannon(c: PairArray, alpha: Scalar) -> tuple[PairArray, PairArray]:
    del alpha
    return jnp.log(2.0) + log_sigmoid(c), sigmoid(-c)


def _alpha(c: PairArray, alpha: Scalar) -> tuple[PairArray, PairArray]:
    power = jnp.asarray(alpha) - 1
    safe = jnp.where(power == 0, 1.0, power)
    exponent = power * c
    _, slope = links.held_exponential(exponent)
    value = links.expm1(jnp.minimum(exponent, links.LARGEST_EXPONENT)) / safe
    return jnp.where(power == 0, c, value), slope


#: Scores s(c) of a log-ratio with their derivatives, by divergence; s(0) = 0 and s'(0) = 1.
DIVERGENCES = {
    "reverse_kl": _reverse_kl,
    "forward_kl": _forward_kl,
    "js": _jensen_shannon,
    "alpha": _alpha,
}


@register(
    "f_dpo",
    formula="loss with s(c), s(r) for c, r; s from the f-divergence",
    paper="Wang et al., Beyond reverse KL (2023), arXiv:2309.16240",
)
@struct
class FDivergence(DetachedLoss):
    r"""Any loss of log-ratios under another divergence than reverse KL.

    A log-ratio c becomes s(c): c for reverse KL, :math:`1 - e^{-c}` for forward KL,
    :math:`\log 2\sigma(c)` for Jensen-Shannon, :math:`(e^{(\alpha-1)c} - 1)/(\alpha - 1)` for
    alpha. Exponents are held at 40, with slope zero beyond, so that float32 does not overflow.
    """

    loss: PreferenceLoss = number(default=DPO(), doc="the loss, which must use the reference")
    divergence: str = choice(default="forward_kl", among=DIVERGENCES)
    alpha: Scalar = number(default=0.5, doc="the alpha of divergence alpha")

    def _scored(self, pairs: PairBatch) -> tuple[PairBatch, PairArray, PairArray]:
        score = DIVERGENCES[self.divergence]
        chosen, chosen_slope = score(pairs.chosen_log_ratio, self.alpha)
        rejected, rejected_slope = score(pairs.rejected_log_ratio, self.alpha)
        zero = jnp.zeros_like(chosen)
        seen = dataclasses.replace(
            pairs, chosen=chosen, rejected=rejected, reference_chosen=zero, reference_rejected=zero
        )
        return seen, chosen_slope, rejected_slope

    def held(self, pairs: PairBatch) -> Any:
        return self.loss.held(self._scored(pairs)[0])

    def value_holding(self, pairs: PairBatch, held: Any) -> PairArray:
        return self.loss.value_holding(self._scored(pairs)[0], held)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        seen, chosen_slope, rejected_slope = self._scored(pairs)
        chosen, rejected = self.loss.slopes(seen)
        return chosen * chosen_slope, rejected * rejected_slope


@register(
    "ld_dpo",
    formula="loss with tokens beyond the shorter length weighted by alpha",
    paper="Liu et al., LD-DPO (2024), arXiv:2409.06411",
)
@struct
class LengthDesensitised(DetachedLoss):
    """Any loss with the excess of the longer response discounted.

    The log-probability of tokens beyond the shorter response's length counts alpha times, under
    policy and reference. The slopes are those of the tokens within that length; the others' are
    alpha times as large. Responses of one token have no excess.
    """

    loss: PreferenceLoss = number(default=DPO(), doc="the loss")
    alpha: Scalar = number(default=0.5, at_least=0, at_most=1, doc="weight of the excess tokens")

    def _discounted(self, pairs: PairBatch) -> PairBatch:
        rest = 1 - self.alpha
        return dataclasses.replace(
            pairs,
            chosen=pairs.chosen - rest * pairs.chosen_excess,
            rejected=pairs.rejected - rest * pairs.rejected_excess,
            reference_chosen=pairs.reference_chosen - rest * pairs.reference_chosen_excess,
            reference_rejected=pairs.reference_rejected - rest * pairs.reference_rejected_excess,
        )

    def held(self, pairs: PairBatch) -> Any:
        return self.loss.held(self._discounted(pairs))

    def value_holding(self, pairs: PairBatch, held: Any) -> PairArray:
        return self.loss.value_holding(self._discounted(pairs), held)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        return self.loss.slopes(self._discounted(pairs))


@register(
    "wpo",
    formula="w loss, w = exp((lc - Sc)/nc + (lr - Sr)/nr), detached",
    paper="Zhou et al., WPO (2024), arXiv:2406.11827",
)
@struct
class WPO(DetachedLoss):
    """Any loss with each pair weighted by how likely the present policy is to produce it.

    S is the sum over tokens of log sum pi^2 (the aligned weight of the paper); 0 for the plain
    one. The weight is detached, and at most `largest`: 1 in the authors' code, no limit in TRL.
    """

    loss: PreferenceLoss = number(default=DPO(), doc="the loss")
    aligned: bool = static(default=True, doc="divide by the likelihood of the policy's own choice")
    largest: Scalar = number(default=1.0, above=0, doc="the largest weight")

    def _weight(self, pairs: PairBatch) -> PairArray:
        chosen, rejected = pairs.chosen, pairs.rejected
        if self.aligned:
            chosen = chosen - pairs.chosen_concentration
            rejected = rejected - pairs.rejected_concentration
        log_weight = chosen / pairs.chosen_length + rejected / pairs.rejected_length
        weight: PairArray = jnp.exp(jnp.minimum(log_weight, jnp.log(self.largest)))
        return weight

    def held(self, pairs: PairBatch) -> Any:
        return self._weight(pairs), self.loss.held(pairs)

    def value_holding(self, pairs: PairBatch, held: Any) -> PairArray:
        weight, of_loss = held
        values: PairArray = weight * self.loss.value_holding(pairs, of_loss)
        return values

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        weight, (chosen, rejected) = self._weight(pairs), self.loss.slopes(pairs)
        return weight * chosen, weight * rejected
