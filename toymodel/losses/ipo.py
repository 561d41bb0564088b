"""IPO: a squared distance of the margin from a target."""

from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses.base import REGISTRY, PairBatch, PreferenceLoss


@REGISTRY.register("ipo")
@struct
class IPO(PreferenceLoss):
    r"""Identity preference optimisation, on summed log-probabilities.

    .. math:: L = \left(m - \frac{1}{2\eta}\right)^2, \quad a_+ = 2\left(m - \frac{1}{2\eta}\right),
        \quad a_- = -a_+

    Below the target margin 1/(2 eta) the chosen is pulled up and the rejected pushed down; above
    it both reverse. (The paper prints both signs the other way round; these are the derivatives.)

    References:
        Azar et al., "A General Theoretical Paradigm to Understand Learning from Human
        Preferences" (2023), equation 17; Yan et al., "3D-Properties" (ICLR 2025).
    """

    eta: Scalar = number(default=0.1, above=0, doc="regularisation: the target margin is 1/(2 eta)")

    def _excess(self, pairs: PairBatch) -> PairArray:
        return pairs.margin - 1 / (2 * self.eta)

    def value(self, pairs: PairBatch) -> PairArray:
        return self._excess(pairs) ** 2

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        slope = 2 * self._excess(pairs)
        return slope, -slope
