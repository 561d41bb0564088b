"""Losses of log-probabilities per token: SimPO and its relatives, and DPO per token."""

import jax.numpy as jnp

from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses import links
from toymodel.losses.base import PairBatch, PreferenceLoss, register


@register(
    "sigmoid_norm",
    formula="-log sg(beta (c/nc - r/nr))",
    paper="Lambert et al., Tulu 3 (2024), arXiv:2411.15124",
)
@struct
class SigmoidNorm(PreferenceLoss):
    """DPO on log-ratios per token."""

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature, per token")

    def _link(self, pairs: PairBatch) -> links.Link:
        chosen = pairs.chosen_log_ratio / pairs.chosen_length
        rejected = pairs.rejected_log_ratio / pairs.rejected_length
        return links.logistic(self.beta * (chosen - rejected))

    def value(self, pairs: PairBatch) -> PairArray:
        return self._link(pairs).value

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull = self.beta * self._link(pairs).slope
        return pull / pairs.chosen_length, -pull / pairs.rejected_length


@register(
    "alphapo",
    formula="-log sg(beta (g(lc/nc) - g(lr/nr)) - gamma), g(y) = (1 - exp(-alpha y))/alpha",
    paper="Gupta et al., AlphaPO (2025), arXiv:2501.03884",
)
@struct
class AlphaPO(PreferenceLoss):
    r"""SimPO with a reward whose shape alpha bends: :math:`g(y) = (1 - e^{-\alpha y})/\alpha`.

    For alpha > 0 the reward of an unlikely response falls exponentially; the exponent is held at 40
    beyond that, with slope zero, so that float32 does not overflow. For alpha < 0 the reward is
    bounded below, and the rejected's slope dies instead.
    """

    beta: Scalar = number(default=2.0, above=0, doc="scale of the reward")
    gamma: Scalar = number(default=0.5, at_least=0, doc="target margin, absolute")
    alpha: Scalar = number(default=0.25, doc="shape of the reward; 0 is SimPO")

    def _reward(self, per_token: PairArray) -> tuple[PairArray, PairArray]:
        """The reward, and the logarithm of its derivative (minus infinity where held)."""
        exponent = -self.alpha * per_token
        held = jnp.minimum(exponent, links.LARGEST_EXPONENT)
        safe = jnp.where(self.alpha == 0, 1.0, self.alpha)
        bent = -links.expm1(held) / safe
        log_slope = jnp.where(exponent > links.LARGEST_EXPONENT, -jnp.inf, exponent)
        return jnp.where(self.alpha == 0, per_token, bent), log_slope

    def _parts(self, pairs: PairBatch) -> tuple[links.Link, PairArray, PairArray]:
        chosen, chosen_slope = self._reward(pairs.chosen / pairs.chosen_length)
        rejected, rejected_slope = self._reward(pairs.rejected / pairs.rejected_length)
        link = links.logistic(self.beta * (chosen - rejected) - self.gamma)
        return link, chosen_slope, rejected_slope

    def value(self, pairs: PairBatch) -> PairArray:
        return self._parts(pairs)[0].value

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        link, chosen, rejected = self._parts(pairs)
        pull = self.beta * link.slope
        return (
            pull * jnp.exp(chosen) / pairs.chosen_length,
            -pull * jnp.exp(rejected) / pairs.rejected_length,
        )


@register(
    "simpo",
    formula="-log sg(beta (lc/nc - lr/nr) - gamma)",
    paper="Meng et al., SimPO (2024), arXiv:2405.14734",
)
@struct
class SimPO(PreferenceLoss):
    """Log-probabilities per token as rewards, with a target margin and without a reference.

    Gamma is absolute, as in TRL; the authors' code gives gamma/beta, for which use `SimPO.ratio`.
    """

    beta: Scalar = number(default=2.0, above=0, doc="scale of the reward")
    gamma: Scalar = number(default=0.5, at_least=0, doc="target margin, absolute")

    @classmethod
    def ratio(cls, beta: float = 2.0, gamma_over_beta: float = 0.25) -> "SimPO":
        """In the convention of the authors' code: the margin as a multiple of beta."""
        return cls(beta, beta * gamma_over_beta)

    @property
    def _bent(self) -> AlphaPO:
        return AlphaPO(self.beta, self.gamma, alpha=0.0)

    def value(self, pairs: PairBatch) -> PairArray:
        return self._bent.value(pairs)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        return self._bent.slopes(pairs)


@register(
    "rainbowpo",
    formula="-log sg(beta k ((lc/nc - lr/nr) - alpha (rc/nc - rr/nr) - (1-alpha) gamma))",
    paper="Zhao et al., RainbowPO (2024), arXiv:2410.04203",
)
@struct
class RainbowPO(PreferenceLoss):
    """A mix of DPO per token (alpha = 1) and SimPO (alpha = 0), with Mallows' dispersion k.

    Gamma is a multiple of beta, as in the authors' code.
    """

    beta: Scalar = number(default=10.0, above=0, doc="scale of the reward")
    alpha: Scalar = number(default=0.25, at_least=0, at_most=1, doc="share of the reference")
    gamma: Scalar = number(default=0.1, at_least=0, doc="target margin over beta")
    dispersion: Scalar = number(
        default=1.0, above=0, doc="k, minus log dispersion of the prompt; one number, or [pair]"
    )

    def _link(self, pairs: PairBatch) -> links.Link:
        policy = pairs.chosen / pairs.chosen_length - pairs.rejected / pairs.rejected_length
        reference = (
            pairs.reference_chosen / pairs.chosen_length
            - pairs.reference_rejected / pairs.rejected_length
        )
        mixed = policy - self.alpha * reference - (1 - self.alpha) * self.gamma
        return links.logistic(self.beta * self.dispersion * mixed)

    def value(self, pairs: PairBatch) -> PairArray:
        return self._link(pairs).value

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull = self.beta * self.dispersion * self._link(pairs).slope
        return pull / pairs.chosen_length, -pull / pairs.rejected_length
