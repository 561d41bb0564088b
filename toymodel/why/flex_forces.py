r"""Flex-DPO taken apart: three forces with a switch each, and the ratio that its clock favours.

Flex-DPO's slopes are those of two forces at a speed. With :math:`D = (\beta_+ + \beta_-)/2` and
:math:`\Sigma = (\beta_+ - \beta_-)/2`,

.. math:: a_\pm = \mp(D \pm \Sigma)\,\sigma(-u), \qquad u = \beta_+ c - \beta_- r

- the *pace* D parts chosen and rejected; alone it would be DPO's;
- the *sum* force :math:`a_+ + a_- = -2\Sigma\,\sigma(-u)` moves every response outside the pair;
- the *clock* :math:`\sigma(-u)` says when both stop.
"""

from collections.abc import Callable

import jax
import numpy as np

from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar
from toymodel.exact import furthest_ratio
from toymodel.losses import DetachedLoss, PairBatch

#: What is switched on, in the order of the picture.
FORMS = ("all", "pace", "sum", "clock")


@struct
class SplitFlex(DetachedLoss):
    r"""Flex-DPO with strengths of its own for the clock.

    .. math::
        a_+ = -p\,\sigma(-u), \quad a_- = q\,\sigma(-u), \quad
        u = \kappa_+ c - \kappa_- r

    The clock is detached, so that it can differ; with :math:`\kappa = (p, q)` the slopes are
    Flex-DPO's.
    """

    pull: Scalar = number(default=0.1, above=0, doc="strength p on the chosen")
    push: Scalar = number(default=0.1, above=0, doc="strength q on the rejected")
    clock_chosen: Scalar = number(default=0.1, at_least=0, doc="the clock's strength on the chosen")
    clock_rejected: Scalar = number(
        default=0.1, at_least=0, doc="the clock's strength on the rejected"
    )

    def held(self, pairs: PairBatch) -> PairArray:
        """The clock, sigma(-u)."""
        score = self.clock_chosen * pairs.chosen_log_ratio
        return jax.nn.sigmoid(self.clock_rejected * pairs.rejected_log_ratio - score)

    def value_holding(self, pairs: PairBatch, held: PairArray) -> PairArray:
        """The forces' potential at a held speed."""
        pushed = self.push * pairs.rejected_log_ratio
        return held * (pushed - self.pull * pairs.chosen_log_ratio)

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        speed = self.held(pairs)
        return -self.pull * speed, self.push * speed


def strengths(form: str, beta: float, ratio: float) -> dict[str, float]:
    """The numbers of a `SplitFlex` in which one force is Flex-DPO's and the others are DPO's.

    Args:
        form: of `FORMS`; "all" is Flex-DPO itself.
        beta: beta_chosen.
        ratio: beta_rejected / beta_chosen, below 3.

    Example:
        >>> [round(value, 3) for value in strengths("sum", 0.1, 0.5).values()]
        [0.125, 0.075, 0.1, 0.1]
    """
    mean, half = beta * (1 + ratio) / 2, beta * (1 - ratio) / 2
    pull, push = {
        "all": (beta, beta * ratio),
        "pace": (mean, mean),
        "sum": (beta + half, beta - half),
        "clock": (beta, beta),
    }[form]
    clock = beta * ratio if form in ("all", "clock") else beta
    return {"pull": pull, "push": push, "clock_chosen": beta, "clock_rejected": clock}


Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _fixed(ratio: float) -> Rule:
    return lambda score, drop: np.full_like(score, ratio)


#: Ways to choose beta_rejected / beta_chosen: from the score of a run with DPO and beta times its
#: drop, or fixed. The second is the extremum of `exact.flex_rejected_extremum` at the run's end.
RULES: dict[str, Rule] = {
    "exp(1 - u/2)": lambda score, drop: np.asarray(furthest_ratio(score)),
    "1.28 / beta drop": lambda score, drop: np.minimum(1.278 / np.maximum(drop, 1e-6), 0.9),
    **{str(ratio): _fixed(ratio) for ratio in (0.2, 0.5, 0.8, 0.9)},
    "1 (DPO)": _fixed(1.0),
}
