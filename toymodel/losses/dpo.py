"""DPO and the paper's two regularised relatives: one strength for each half, and an SFT term.

All four are cases of -log sigmoid(u) - gamma log pi(y+), with u linear in the two log-ratios.
"""

import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid

from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses.base import PairBatch, PreferenceLoss, SignedLog, register


@register(
    "dpo",
    formula="-log sg(beta m)",
    paper="Rafailov et al., DPO (2023), arXiv:2305.18290, equation 7",
)
@struct
class DPO(PreferenceLoss):
    r"""Direct preference optimisation.

    .. math:: L = -\log\sigma(\beta m), \quad a_+ = -\beta\sigma(-\beta m), \quad a_- = -a_+

    Example:
        >>> pairs = PairBatch(*(jnp.asarray([p]) for p in (-1.0, -2.0, -1.0, -1.0)))
        >>> chosen, rejected = DPO(beta=1.0).slopes(pairs)
        >>> round(float(chosen[0]), 3), round(float(rejected[0]), 3)
        (-0.269, 0.269)
    """

    beta: Scalar = number(
        default=0.1, above=0, doc="inverse temperature: strength of the reference"
    )

    def value(self, pairs: PairBatch) -> PairArray:
        return -log_sigmoid(self.beta * pairs.margin)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull = self.beta * sigmoid(-self.beta * pairs.margin)
        return -pull, pull

    def log_slopes(self, pairs: PairBatch) -> tuple[SignedLog, SignedLog]:
        log_pull = jnp.log(self.beta) + log_sigmoid(-self.beta * pairs.margin)
        one = jnp.ones_like(log_pull)
        return SignedLog(-one, log_pull), SignedLog(one, log_pull)


@register(
    "flex_dpo",
    formula="-log sg(beta_chosen c - beta_rejected r)",
    paper="Yan et al., 3D-Properties (2025), arXiv:2406.07327",
)
@struct
class FlexDPO(PreferenceLoss):
    r"""DPO with a strength of its own for each half of the pair.

    .. math::
        u = \beta_+ c - \beta_- r, \quad L = -\log\sigma(u), \quad
        a_+ = -\beta_+ \sigma(-u), \quad a_- = \beta_- \sigma(-u)
    """

    beta_chosen: Scalar = number(default=0.1, above=0, doc="strength on the chosen log-ratio")
    beta_rejected: Scalar = number(default=0.08, above=0, doc="strength on the rejected log-ratio")

    def _score(self, pairs: PairBatch) -> PairArray:
        chosen, rejected = pairs.chosen_log_ratio, pairs.rejected_log_ratio
        return self.beta_chosen * chosen - self.beta_rejected * rejected

    def value(self, pairs: PairBatch) -> PairArray:
        return -log_sigmoid(self._score(pairs))

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        error = sigmoid(-self._score(pairs))
        return -self.beta_chosen * error, self.beta_rejected * error

    def log_slopes(self, pairs: PairBatch) -> tuple[SignedLog, SignedLog]:
        log_error = log_sigmoid(-self._score(pairs))
        one = jnp.ones_like(log_error)
        return (
            SignedLog(-one, jnp.log(self.beta_chosen) + log_error),
            SignedLog(one, jnp.log(self.beta_rejected) + log_error),
        )


@register(
    "flex_sft_dpo",
    formula="-log sg(beta_chosen c - beta_rejected r) - gamma lc",
    paper="Yan et al., 3D-Properties (2025), arXiv:2406.07327",
)
@struct
class FlexSFTDPO(PreferenceLoss):
    r"""Flex-DPO and the SFT term together.

    .. math::
        L = -\log\sigma(u) - \gamma\log\pi_+, \quad
        a_+ = -\beta_+\sigma(-u) - \gamma, \quad a_- = \beta_-\sigma(-u)

    with :math:`u = \beta_+ c - \beta_- r`. The SFT term is per response, not per token.
    """

    beta_chosen: Scalar = number(default=0.1, above=0, doc="strength on the chosen log-ratio")
    beta_rejected: Scalar = number(default=0.08, above=0, doc="strength on the rejected log-ratio")
    gamma: Scalar = number(default=0.1, at_least=0, doc="weight of -log pi(y+), the SFT term")

    @property
    def _preference(self) -> FlexDPO:
        return FlexDPO(self.beta_chosen, self.beta_rejected)

    def value(self, pairs: PairBatch) -> PairArray:
        return self._preference.value(pairs) - self.gamma * pairs.chosen

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        chosen, rejected = self._preference.slopes(pairs)
        return chosen - self.gamma, rejected

    def log_slopes(self, pairs: PairBatch) -> tuple[SignedLog, SignedLog]:
        chosen, rejected = self._preference.log_slopes(pairs)
        log_abs = jnp.logaddexp(chosen.log_abs, jnp.log(self.gamma))
        return SignedLog(chosen.sign, log_abs), rejected


@register(
    "sft_dpo",
    formula="-log sg(beta m) - gamma lc",
    paper="Yan et al., 3D-Properties (2025), arXiv:2406.07327",
)
@struct
class SFTDPO(PreferenceLoss):
    r"""DPO plus a supervised term on the chosen response.

    .. math::
        L = -\log\sigma(\beta m) - \gamma\log\pi_+, \quad
        a_+ = -\beta\sigma(-\beta m) - \gamma, \quad a_- = \beta\sigma(-\beta m)

    The SFT term is per response, not per token.
    """

    beta: Scalar = number(
        default=0.1, above=0, doc="inverse temperature: strength of the reference"
    )
    gamma: Scalar = number(default=0.1, at_least=0, doc="weight of -log pi(y+), the SFT term")

    @property
    def _both(self) -> FlexSFTDPO:
        return FlexSFTDPO(self.beta, self.beta, self.gamma)

    def value(self, pairs: PairBatch) -> PairArray:
        return self._both.value(pairs)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        return self._both.slopes(pairs)

    def log_slopes(self, pairs: PairBatch) -> tuple[SignedLog, SignedLog]:
        return self._both.log_slopes(pairs)
