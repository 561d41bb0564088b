"""Who prefers: the better response, Bradley and Terry's coin, and annotators with flaws."""

import abc

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import refuse
from toymodel._struct import number, struct
from toymodel._typing import ArrayLike, PairArray, Scalar, TableArray
from toymodel.sampling.base import REGISTRY


class Annotator(abc.ABC):
    r"""Prefers one of two responses, with a probability that depends on their true rewards.

    Subclasses are frozen dataclasses (`struct`), so their numbers can be swept and mapped over.
    Each gives the log-odds of its preference and a ranking; the rest follows:

    .. math:: P(y \succ y') = \sigma(\mathrm{log\_odds}(x, y, y'))
    """

    def check(self, shape: tuple[int, int]) -> None:  # noqa: B027 (nothing to refuse is usual)
        """Refuse a world of another shape than the annotator's own arrays.

        Raises:
            InputError: an array that does not fit, named.
        """

    @abc.abstractmethod
    def log_odds(
        self, rewards: TableArray, prompt: PairArray, first: PairArray, second: PairArray
    ) -> PairArray:
        """Log-odds of the first being preferred, [pair]; infinite where that is certain.

        Args:
            rewards: true rewards, [prompt, response].
            prompt: index of the prompt, [pair].
            first: index of one response, [pair].
            second: index of the other, [pair].
        """

    @abc.abstractmethod
    def extremes(
        self, key: jax.Array, rewards: TableArray, prompt: PairArray, candidates: jax.Array
    ) -> tuple[PairArray, PairArray]:
        """The most and the least preferred of several responses, each [pair].

        With two candidates, the first returned is preferred as often as `probability` says.

        Args:
            key: for the annotator's own chance.
            rewards: true rewards, [prompt, response].
            prompt: index of the prompt, [pair].
            candidates: indices of different responses, [pair, candidate].
        """

    def probability(
        self, rewards: TableArray, prompt: PairArray, first: PairArray, second: PairArray
    ) -> PairArray:
        """P(the first is preferred), [pair]; arguments as in `log_odds`."""
        return jax.nn.sigmoid(self.log_odds(rewards, prompt, first, second))

    def prefer(
        self,
        key: jax.Array,
        rewards: TableArray,
        prompt: PairArray,
        first: PairArray,
        second: PairArray,
    ) -> PairArray:
        """Whether the first is preferred, drawn with `probability`, bool [pair]."""
        odds = self.log_odds(rewards, prompt, first, second)
        return odds + jax.random.logistic(key, odds.shape, odds.dtype) > 0


def _ends(
    order: jax.Array, prompt: PairArray, candidates: jax.Array
) -> tuple[PairArray, PairArray]:
    """The candidates that an order, from worst to best, puts last and first."""
    ranked = jnp.take_along_axis(candidates, order, axis=-1)
    return ranked[..., -1], ranked[..., 0]


def _gap(rewards: TableArray, prompt: PairArray, first: PairArray, second: PairArray) -> PairArray:
    return rewards[prompt, first] - rewards[prompt, second]


@REGISTRY.register("ideal")
@struct
class Ideal(Annotator):
    """Prefers the response with the higher true reward; tosses a fair coin on a tie.

    Example:
        >>> rewards, of = jnp.asarray([[1.0, 0.0, 0.0]]), jnp.asarray([0, 0])
        >>> Ideal().probability(rewards, of, of + jnp.arange(2), of + 1 + jnp.arange(2)).tolist()
        [1.0, 0.5]
    """

    def log_odds(
        self, rewards: TableArray, prompt: PairArray, first: PairArray, second: PairArray
    ) -> PairArray:
        gap = _gap(rewards, prompt, first, second)
        return jnp.where(gap == 0, 0.0, jnp.sign(gap) * jnp.inf)

    def extremes(
        self, key: jax.Array, rewards: TableArray, prompt: PairArray, candidates: jax.Array
    ) -> tuple[PairArray, PairArray]:
        seen = rewards[prompt[..., None], candidates]
        return _ends(jnp.lexsort((jax.random.uniform(key, seen.shape), seen)), prompt, candidates)


@REGISTRY.register("bradley_terry")
@struct
class BradleyTerry(Annotator):
    r"""Prefers by Bradley and Terry's coin; of several, by Plackett and Luce's ranking.

    .. math:: P(y \succ y') = \sigma\left(\frac{r(x, y) - r(x, y')}{\tau}\right)

    The ranking is that of reward plus Gumbel noise of scale tau, which for two responses is the
    same coin.

    Raises:
        InputError: a temperature that is not above 0.

    Example:
        >>> rewards, of = jnp.asarray([[1.0, 0.0]]), jnp.asarray([0])
        >>> round(float(BradleyTerry(0.5).probability(rewards, of, of, of + 1)[0]), 3)
        0.881

    References:
        Bradley and Terry, "Rank analysis of incomplete block designs" (1952); Plackett, "The
        analysis of permutations" (1975).
    """

    temperature: Scalar = number(default=1.0, doc="tau, in units of reward, above 0")

    def __post_init__(self) -> None:
        given = self.temperature
        if not isinstance(given, jax.core.Tracer) and not np.all(np.asarray(given) > 0):
            mend = "for preferences without chance use Ideal()"
            raise refuse("BradleyTerry.temperature", given, "a number > 0", mend)

    def log_odds(
        self, rewards: TableArray, prompt: PairArray, first: PairArray, second: PairArray
    ) -> PairArray:
        return _gap(rewards, prompt, first, second) / self.temperature

    def extremes(
        self, key: jax.Array, rewards: TableArray, prompt: PairArray, candidates: jax.Array
    ) -> tuple[PairArray, PairArray]:
        seen = rewards[prompt[..., None], candidates] / self.temperature
        noisy = seen + jax.random.gumbel(key, seen.shape, seen.dtype)
        return _ends(jnp.argsort(noisy), prompt, candidates)


@REGISTRY.register("noisy")
@struct
class Noisy(Annotator):
    r"""Another annotator whose answers are swapped at random.

    .. math:: P(y \succ y') = (1 - \epsilon)\,P_0(y \succ y') + \epsilon\,P_0(y' \succ y)

    Of several responses, the most and the least preferred are swapped with probability epsilon.

    Example:
        >>> rewards, of = jnp.asarray([[1.0, 0.0]]), jnp.asarray([0])
        >>> round(float(Noisy(Ideal(), 0.2).probability(rewards, of, of, of + 1)[0]), 3)
        0.8
    """

    annotator: Annotator = number(doc="whose answers are swapped")
    flip: Scalar = number(
        default=0.1, at_least=0, at_most=0.5, doc="epsilon, the share that is swapped"
    )

    def check(self, shape: tuple[int, int]) -> None:
        self.annotator.check(shape)

    def log_odds(
        self, rewards: TableArray, prompt: PairArray, first: PairArray, second: PairArray
    ) -> PairArray:
        odds = self.annotator.log_odds(rewards, prompt, first, second)
        yes, no = jax.nn.log_sigmoid(odds), jax.nn.log_sigmoid(-odds)
        kept, swapped = jnp.log1p(-jnp.asarray(self.flip)), jnp.log(jnp.asarray(self.flip))
        return jnp.logaddexp(kept + yes, swapped + no) - jnp.logaddexp(kept + no, swapped + yes)

    def extremes(
        self, key: jax.Array, rewards: TableArray, prompt: PairArray, candidates: jax.Array
    ) -> tuple[PairArray, PairArray]:
        inner, own = jax.random.split(key)
        best, worst = self.annotator.extremes(inner, rewards, prompt, candidates)
        is_swapped = jax.random.uniform(own, best.shape) < self.flip
        return jnp.where(is_swapped, worst, best), jnp.where(is_swapped, best, worst)


@REGISTRY.register("biased")
@struct(eq=False)
class Biased(Annotator):
    r"""Another annotator that takes :math:`r(x, y) + w\,b(x, y)` for the true reward.

    A bias of responses alone stands for length or style; one of prompts and responses for anything.

    Raises:
        InputError: a bias that is not [response] or [prompt, response].

    Example:
        >>> rewards, of = jnp.asarray([[1.0, 0.0]]), jnp.asarray([0])
        >>> float(Biased(Ideal(), [0.0, 1.0], weight=3.0).probability(rewards, of, of, of + 1)[0])
        0.0
    """

    annotator: Annotator = number(doc="who prefers")
    bias: ArrayLike = number(doc="b, in units of reward, [response] or [prompt, response]")
    weight: Scalar = number(default=1.0, doc="w; 0 for no bias")

    def __post_init__(self) -> None:
        bias = jnp.asarray(self.bias, float)  # loaded from a file, one of responses is a tuple
        if not isinstance(bias, jax.core.Tracer) and not np.all(np.isfinite(bias)):
            raise refuse("Biased.bias", bias.tolist(), "finite numbers")
        object.__setattr__(self, "bias", bias)

    def check(self, shape: tuple[int, int]) -> None:
        given = jnp.asarray(self.bias).shape
        if given != shape and given != shape[1:]:
            expected = f"[response] or [prompt, response], {shape[1:]} or {shape}"
            raise refuse("Biased.bias", f"shape {given}", expected)
        self.annotator.check(shape)

    def _seen(self, rewards: TableArray) -> TableArray:
        return rewards + self.weight * jnp.broadcast_to(jnp.asarray(self.bias), rewards.shape)

    def log_odds(
        self, rewards: TableArray, prompt: PairArray, first: PairArray, second: PairArray
    ) -> PairArray:
        return self.annotator.log_odds(self._seen(rewards), prompt, first, second)

    def extremes(
        self, key: jax.Array, rewards: TableArray, prompt: PairArray, candidates: jax.Array
    ) -> tuple[PairArray, PairArray]:
        return self.annotator.extremes(key, self._seen(rewards), prompt, candidates)
