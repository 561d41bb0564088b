"""DPO and the paper's two regularised relatives: one strength for each half, and an SFT term.

All four are -log sigmoid(u) - gamma log pi(y+) with u = beta_chosen c - beta_rejected r, whose
derivatives stand once, in the three functions at the end.
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

    of_margin = True
    beta: Scalar = number(
        default=0.1, above=0, doc="inverse temperature: strength of the reference"
    )

    def value(self, pairs: PairBatch) -> PairArray:
        return -log_sigmoid(self.beta * pairs.margin)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull = self.beta * sigmoid(-self.beta * pairs.margin)
        return -pull, pull

    def log_slopes(self, pairs: PairBatch) -> tuple[SignedLog, SignedLog]:
        return _log_slopes(pairs, self.beta, self.beta, 0.0)


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

    def value(self, pairs: PairBatch) -> PairArray:
        return _value(pairs, self.beta_chosen, self.beta_rejected, 0.0)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        return _slopes(pairs, self.beta_chosen, self.beta_rejected, 0.0)

    def log_slopes(self, pairs: PairBatch) -> tuple[SignedLog, SignedLog]:
        return _log_slopes(pairs, self.beta_chosen, self.beta_rejected, 0.0)


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

    def value(self, pairs: PairBatch) -> PairArray:
        return _value(pairs, self.beta, self.beta, self.gamma)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        return _slopes(pairs, self.beta, self.beta, self.gamma)

    def log_slopes(self, pairs: PairBatch) -> tuple[SignedLog, SignedLog]:
        return _log_slopes(pairs, self.beta, self.beta, self.gamma)


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

    def value(self, pairs: PairBatch) -> PairArray:
        return _value(pairs, self.beta_chosen, self.beta_rejected, self.gamma)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        return _slopes(pairs, self.beta_chosen, self.beta_rejected, self.gamma)

    def log_slopes(self, pairs: PairBatch) -> tuple[SignedLog, SignedLog]:
        return _log_slopes(pairs, self.beta_chosen, self.beta_rejected, self.gamma)


def _score(pairs: PairBatch, beta_chosen: Scalar, beta_rejected: Scalar) -> PairArray:
    return beta_chosen * pairs.chosen_log_ratio - beta_rejected * pairs.rejected_log_ratio


def _value(
    pairs: PairBatch, beta_chosen: Scalar, beta_rejected: Scalar, gamma: Scalar
) -> PairArray:
    return -log_sigmoid(_score(pairs, beta_chosen, beta_rejected)) - gamma * pairs.chosen


def _slopes(
    pairs: PairBatch, beta_chosen: Scalar, beta_rejected: Scalar, gamma: Scalar
) -> tuple[PairArray, PairArray]:
    error = sigmoid(-_score(pairs, beta_chosen, beta_rejected))
    return -beta_chosen * error - gamma, beta_rejected * error


def _log_slopes(
    pairs: PairBatch, beta_chosen: Scalar, beta_rejected: Scalar, gamma: Scalar
) -> tuple[SignedLog, SignedLog]:
    """The same as logarithms: finite however small sigmoid(-u) is."""
    log_error = log_sigmoid(-_score(pairs, beta_chosen, beta_rejected))
    chosen = jnp.logaddexp(jnp.log(beta_chosen) + log_error, jnp.log(gamma))
    one = jnp.ones_like(log_error)
    return SignedLog(-one, chosen), SignedLog(one, jnp.log(beta_rejected) + log_error)
