"""SLiC: a hinge on the difference of log-probabilities, with an SFT term."""

import jax.numpy as jnp
from jax.nn import relu

from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses.base import REGISTRY, PairBatch, PreferenceLoss


@REGISTRY.register("slic")
@struct
class SLiC(PreferenceLoss):
    r"""Sequence likelihood calibration: a hinge without a reference, plus an SFT term.

    .. math::
        L = \max(0, \delta - \log\pi_+ + \log\pi_-) - \eta\log\pi_+, \quad
        a_+ = -h - \eta, \quad a_- = h

    with h = 1 where the hinge is active and 0 elsewhere. At the kink itself, h = 0.

    References:
        Zhao et al., "SLiC-HF" (2023), equation 1; Yan et al., "3D-Properties" (ICLR 2025).
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
