"""DPO with something added or bounded: penalties, length, mixtures and chi-squared."""

import jax.numpy as jnp
from jax.nn import log_sigmoid, relu, sigmoid

from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses import links
from toymodel.losses.base import PairBatch, PreferenceLoss, register


@register(
    "dpop",
    formula="-log sg(beta (m - lambda max(0, -c)))",
    paper="Pal et al., Smaug (2024), arXiv:2402.13228",
)
@struct
class DPOP(PreferenceLoss):
    """DPO-positive: a penalty once the chosen falls below the reference.

    The kink is where training starts, c = 0; the penalty's slope there is 0. Public code uses
    lambda 50.
    """

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    penalty: Scalar = number(default=5.0, at_least=0, doc="lambda, the weight of the penalty")

    def _score(self, pairs: PairBatch) -> PairArray:
        return self.beta * (pairs.margin - self.penalty * relu(-pairs.chosen_log_ratio))

    def value(self, pairs: PairBatch) -> PairArray:
        return -log_sigmoid(self._score(pairs))

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull = self.beta * sigmoid(-self._score(pairs))
        return -pull * (1 + self.penalty * (pairs.chosen_log_ratio < 0)), pull


@register(
    "rdpo",
    formula="-log sg(beta m - alpha (nc - nr))",
    paper="Park et al., Disentangling length from quality (2024), arXiv:2403.19159",
)
@struct
class RDPO(PreferenceLoss):
    """DPO with a length term.

    Conventions differ in the sign of alpha. Here a positive alpha asks a longer chosen response
    for a larger margin; deriving it from a reward r - alpha length gives the other sign, for which
    pass a negative alpha.
    """

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    alpha: Scalar = number(default=0.01, doc="margin asked for each token that y+ is longer")

    def _score(self, pairs: PairBatch) -> PairArray:
        longer = jnp.asarray(pairs.chosen_length - pairs.rejected_length)
        return self.beta * pairs.margin - self.alpha * longer

    def value(self, pairs: PairBatch) -> PairArray:
        return -log_sigmoid(self._score(pairs))

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        pull = self.beta * sigmoid(-self._score(pairs))
        return -pull, pull


@register(
    "bdpo",
    formula="-log sg(beta (c - log(lambda exp(r) + 1 - lambda)))",
    paper="Cho et al., Bounded-DPO (2025), arXiv:2506.12725",
)
@struct
class BDPO(PreferenceLoss):
    """Bounded DPO: the rejected is judged under a mixture of policy and reference.

    The mixture cannot fall below 1 - lambda of the reference, so the loss cannot be lowered by the
    rejected alone, and its slope dies as pi- vanishes.
    """

    beta: Scalar = number(default=0.1, above=0, doc="inverse temperature")
    mixture: Scalar = number(default=0.5, above=0, below=1, doc="lambda, the policy's share")

    def _parts(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        """The score, and the share of the policy in the mixture."""
        policy = jnp.log(self.mixture) + pairs.rejected_log_ratio
        reference = jnp.log1p(-jnp.asarray(self.mixture))
        score = self.beta * (pairs.chosen_log_ratio - jnp.logaddexp(policy, reference))
        return score, sigmoid(policy - reference)

    def value(self, pairs: PairBatch) -> PairArray:
        return -log_sigmoid(self._parts(pairs)[0])

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        score, share = self._parts(pairs)
        pull = self.beta * sigmoid(-score)
        return -pull, pull * share


@register(
    "chi_po",
    formula="-log sg(clip(beta (exp(c) + c - exp(r) - r), +-2R))",
    paper="Huang et al., Correcting the mythos of KL-regularization (2024), arXiv:2407.13399",
)
@struct
class ChiPO(PreferenceLoss):
    """DPO with a chi-squared divergence added to the KL.

    Beyond the clip both slopes are zero. Exponents are held at 40, beyond which the exponential's
    own slope is zero, so that float32 does not overflow.
    """

    beta: Scalar = number(default=0.05, above=0, doc="inverse temperature")
    clip: Scalar = number(default=1e4, above=0, doc="2R, the largest score")

    def _score(self, pairs: PairBatch) -> PairArray:
        chosen, rejected = (
            links.held_exponential(ratio)[0] + ratio
            for ratio in (pairs.chosen_log_ratio, pairs.rejected_log_ratio)
        )
        return self.beta * (chosen - rejected)

    def value(self, pairs: PairBatch) -> PairArray:
        return -log_sigmoid(jnp.clip(self._score(pairs), -self.clip, self.clip))

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        score = self._score(pairs)
        pull = self.beta * sigmoid(-score) * (jnp.abs(score) < self.clip)
        chosen, rejected = (
            1 + links.held_exponential(ratio)[1]
            for ratio in (pairs.chosen_log_ratio, pairs.rejected_log_ratio)
        )
        return -pull * chosen, pull * rejected
