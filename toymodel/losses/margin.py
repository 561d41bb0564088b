"""Losses of the margin alone, so that a+ = -a-: DPO's relatives, which differ in their link."""

import abc

from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses import links
from toymodel.losses.base import PairBatch, PreferenceLoss, register


class MarginLoss(PreferenceLoss):
    r"""A loss :math:`\phi(\beta m)` with slopes :math:`a_+ = \beta\phi'(\beta m) = -a_-`."""

    of_margin = True
    beta: Scalar

    @abc.abstractmethod
    def link(self, score: PairArray) -> links.Link:
        """The link and its derivative at the score beta m."""

    def value(self, pairs: PairBatch) -> PairArray:
        return self.link(self.beta * pairs.margin).value

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull = self.beta * self.link(self.beta * pairs.margin).slope
        return pull, -pull


@register(
    "cdpo",
    formula="-(1-eps) log sg(beta m) - eps log sg(-beta m)",
    paper="Mitchell, A note on DPO with noisy preferences (2023)",
)
@struct
class CDPO(MarginLoss):
    """Conservative DPO: labels are smoothed, so the margin has a finite target.

    The minimum is at beta m = log((1 - eps) / eps); beyond it both slopes reverse.
    """

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    label_smoothing: Scalar = number(
        default=0.1, at_least=0, at_most=1, doc="probability eps that a label is wrong"
    )

    def link(self, score: PairArray) -> links.Link:
        return links.logistic(score, self.label_smoothing)


@register(
    "robust",
    formula="[-(1-eps) log sg(beta m) + eps log sg(-beta m)] / (1 - 2 eps)",
    paper="Chowdhury et al., Provably robust DPO (2024), arXiv:2403.00409",
)
@struct
class Robust(MarginLoss):
    """Robust DPO: an unbiased estimate of DPO's loss under label flips.

    It is unbounded below: the slope tends to -beta eps/(1 - 2 eps), and the margin grows linearly.
    """

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    label_smoothing: Scalar = number(
        default=0.1, at_least=0, below=0.5, doc="share eps of flipped labels"
    )

    def link(self, score: PairArray) -> links.Link:
        return links.robust(score, self.label_smoothing)


@register(
    "hinge",
    formula="max(0, 1 - beta m)",
    paper="Liu et al., RSO (2023), arXiv:2309.06657; Zhao et al., SLiC-HF (2023)",
)
@struct
class Hinge(MarginLoss):
    """A hinge on the margin against the reference; at the kink the slope is zero."""

    beta: Scalar = number(default=0.1, above=0, doc="inverse of the margin that is enough")

    def link(self, score: PairArray) -> links.Link:
        return links.hinge(score)


@register(
    "exo_pair",
    formula="KL((sg(beta m), sg(-beta m)) || (1-eps, eps))",
    paper="Ji et al., EXO (2024), arXiv:2402.00856, equation 16",
)
@struct
class EXO(MarginLoss):
    """Efficient exact optimisation: a reverse KL to the smoothed label.

    Both slopes vanish on both sides: a pair that is far wrong is given up.
    """

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    label_smoothing: Scalar = number(
        default=1e-3, above=0, below=1, doc="probability eps of the label's other side"
    )

    def link(self, score: PairArray) -> links.Link:
        return links.reverse_kl_to_label(score, self.label_smoothing)


@register(
    "discopop",
    formula="-log sg(x) (1-w) + exp(-x) w, x = beta m, w = sg(x/tau)",
    paper="Lu et al., DiscoPOP (2024), arXiv:2406.08414, equation 5",
)
@struct
class DiscoPOP(MarginLoss):
    """A discovered loss: logistic and exponential, mixed by the margin.

    It is not monotone. At margin zero, where training starts, it *lowers* the margin, towards a
    local minimum at beta m = -0.119 (for tau 0.05).
    """

    beta: Scalar = number(default=0.05, above=0, doc="inverse temperature")
    tau: Scalar = number(default=0.05, above=0, at_most=1, doc="width of the mixing")

    def link(self, score: PairArray) -> links.Link:
        return links.log_ratio_modulated(score, self.tau)


@register(
    "odpo",
    formula="-log sg(beta m - offset)",
    paper="Amini et al., DPO with an offset (2024), arXiv:2402.10571",
)
@struct
class ODPO(MarginLoss):
    """DPO with an offset: the margin a pair should have, for how much better its chosen is."""

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    offset: Scalar = number(default=1.0, doc="the offset; one number, or one a pair, [pair]")

    def link(self, score: PairArray) -> links.Link:
        return links.logistic(score - self.offset)
