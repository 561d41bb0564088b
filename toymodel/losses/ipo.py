"""IPO: a squared distance of the margin from a target."""

from toymodel._struct import number, static, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses import links
from toymodel.losses.base import PairBatch, PreferenceLoss, register


@register(
    "ipo",
    formula="(m - 1/(2 eta))^2",
    paper="Azar et al., IPO (2023), arXiv:2310.12036, equation 17",
)
@struct
class IPO(PreferenceLoss):
    r"""Identity preference optimisation.

    .. math:: L = \left(m - \frac{1}{2\eta}\right)^2, \quad a_+ = 2\left(m - \frac{1}{2\eta}\right),
        \quad a_- = -a_+

    Below the target margin 1/(2 eta) the chosen is pulled up and the rejected pushed down; above
    it both reverse. (The 3D-Properties paper prints both signs the other way round; these are the
    derivatives.) Summed log-probabilities are the default, as in that paper and OpenRLHF; TRL
    divides each log-ratio by its response's length.
    """

    of_margin = True
    eta: Scalar = number(default=0.1, above=0, doc="regularisation: the target margin is 1/(2 eta)")
    per_token: bool = static(default=False, doc="divide each log-ratio by its length, as TRL does")

    def _link(self, pairs: PairBatch) -> links.Link:
        margin = pairs.margin
        if self.per_token:
            chosen = pairs.chosen_log_ratio / pairs.chosen_length
            margin = chosen - pairs.rejected_log_ratio / pairs.rejected_length
        return links.square(margin, 1 / (2 * self.eta))

    def value(self, pairs: PairBatch) -> PairArray:
        return self._link(pairs).value

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull = self._link(pairs).slope
        if self.per_token:
            return pull / pairs.chosen_length, -pull / pairs.rejected_length
        return pull, -pull
