"""Which two responses of a prompt are compared: on-policy, off-policy, the best and worst of n."""

import abc
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import refuse
from toymodel._struct import number, optional, static, struct
from toymodel._typing import PairArray, Scalar, TableArray
from toymodel.sampling.annotators import Annotator
from toymodel.sampling.base import REGISTRY

Halves = tuple[PairArray, PairArray]  # indices of the chosen and of the rejected responses


class Comparison(abc.ABC):
    """Chooses which responses of a prompt an annotator sees, and so what data there are.

    Subclasses are frozen dataclasses (`struct`). A response is drawn only where `support` allows
    it, and a pair is always of two different responses.
    """

    @property
    def needs(self) -> int:
        """How many different responses one comparison takes."""
        return 2

    @abc.abstractmethod
    def support(self, allowed: jax.Array) -> jax.Array:
        """Which of the allowed responses can be drawn at all, bool [prompt, response]."""

    @abc.abstractmethod
    def draw(
        self,
        key: jax.Array,
        annotator: Annotator,
        rewards: TableArray,
        prompt: PairArray,
        log_probs: TableArray,
        allowed: jax.Array,
    ) -> Halves:
        """The chosen and the rejected response of each pair, each [pair].

        Args:
            key: for the draws and for the annotator.
            annotator: who prefers.
            rewards: true rewards, [prompt, response].
            prompt: index of each pair's prompt, [pair].
            log_probs: log-probabilities (nats) of the present policy, [prompt, response].
            allowed: what may be drawn, bool [prompt, response].
        """

    def check(self, shape: tuple[int, int]) -> None:
        """Refuse a world in which some prompt has too few responses to compare.

        Raises:
            InputError: too few responses that can be drawn, or a table of another shape, named.
        """
        support = self.support(jnp.ones(shape, bool))
        if isinstance(support, jax.core.Tracer):
            return
        counts = np.asarray(support).sum(axis=-1)
        if counts.min() < self.needs:
            prompt = int(counts.argmin())
            raise refuse(
                type(self).__name__,
                f"{counts[prompt]} responses that can be drawn for prompt {prompt}",
                f"at least {self.needs}, which one comparison takes",
                "allow more responses, or compare fewer",
            )


def _fitted(comparison: Comparison, field: str, shape: tuple[int, ...]) -> jax.Array:
    """A comparison's own table, refused unless it has the world's shape."""
    table = jnp.asarray(getattr(comparison, field))
    if table.shape != shape:
        where = f"{type(comparison).__name__}.{field}"
        raise refuse(where, f"shape {table.shape}", f"[prompt, response], {shape}")
    return table


def _noisy(
    key: jax.Array, log_weights: TableArray, prompt: PairArray, allowed: jax.Array
) -> jax.Array:
    """Log-weights of the pairs' prompts plus Gumbel noise, [pair, response]; -inf where barred."""
    rows = jnp.where(allowed, log_weights, -jnp.inf)[prompt]
    return rows + jax.random.gumbel(key, rows.shape, rows.dtype)


def _two(
    key: jax.Array,
    annotator: Annotator,
    rewards: TableArray,
    prompt: PairArray,
    log_weights: TableArray,
    allowed: jax.Array,
) -> Halves:
    """Two different responses by their weights, the preferred one first."""
    drawn, coin = jax.random.split(key)
    _, two = jax.lax.top_k(_noisy(drawn, log_weights, prompt, allowed), 2)
    return _preferred(coin, annotator, rewards, prompt, two[:, 0], two[:, 1])


def _preferred(
    key: jax.Array,
    annotator: Annotator,
    rewards: TableArray,
    prompt: PairArray,
    first: PairArray,
    second: PairArray,
) -> Halves:
    is_first = annotator.prefer(key, rewards, prompt, first, second)
    return jnp.where(is_first, first, second), jnp.where(is_first, second, first)


def _hold_weights(comparison: Comparison, field: str = "log_table") -> None:
    """Make a field an array of log-weights: finite or -inf (never drawn), not NaN or +inf."""
    table = getattr(comparison, field)
    if not isinstance(table, jax.core.Tracer):
        values = np.asarray(table)
        if values.dtype.kind not in "fiu" or np.any(np.isnan(values) | (values == np.inf)):
            where = f"{type(comparison).__name__}.{field}"
            raise refuse(where, table, "log-weights: finite, or -inf for what must not be drawn")
    object.__setattr__(comparison, field, jnp.asarray(table, float))


@REGISTRY.register("from_policy")
@struct
class FromPolicy(Comparison):
    r"""Two different responses of the present policy: on-policy data.

    Drawn one after the other without replacement (the two largest of log-probability plus Gumbel
    noise):

    .. math:: P(y, y') = \pi(y)\,\frac{\pi(y')}{1 - \pi(y)}

    Example:
        >>> from toymodel import sampling, scenarios
        >>> world = scenarios.random_rewards(jax.random.key(0), scenarios.both_on_policy())
        >>> pairs = sampling.collect(jax.random.key(1), world, FromPolicy(), "ideal", count=8)
        >>> pairs.prompt.tolist()
        [0, 1, 2, 3, 0, 1, 2, 3]
    """

    def support(self, allowed: jax.Array) -> jax.Array:
        return allowed

    def draw(
        self,
        key: jax.Array,
        annotator: Annotator,
        rewards: TableArray,
        prompt: PairArray,
        log_probs: TableArray,
        allowed: jax.Array,
    ) -> Halves:
        return _two(key, annotator, rewards, prompt, log_probs, allowed)


@REGISTRY.register("from_table")
@struct(eq=False)
class FromTable(Comparison):
    """Two different responses of another policy, whatever the present one is: off-policy data.

    Drawn as `FromPolicy` draws from its own.

    Raises:
        InputError: log-weights that are NaN or +inf.
    """

    log_table: TableArray = dataclasses.field(
        metadata={
            "doc": "how likely a response is drawn, as a logarithm up to a constant of the prompt; "
            "-inf for one that must not be, [prompt, response]"
        }
    )

    def __post_init__(self) -> None:
        _hold_weights(self)

    def support(self, allowed: jax.Array) -> jax.Array:
        return allowed & (_fitted(self, "log_table", allowed.shape) > -jnp.inf)

    def draw(
        self,
        key: jax.Array,
        annotator: Annotator,
        rewards: TableArray,
        prompt: PairArray,
        log_probs: TableArray,
        allowed: jax.Array,
    ) -> Halves:
        return _two(key, annotator, rewards, prompt, jnp.asarray(self.log_table), allowed)


@REGISTRY.register("mixed")
@struct(eq=False)
class Mixed(Comparison):
    r"""Each response from another policy with a given share, else from the present one.

    With :math:`q_1` the present policy, :math:`q_2` the other, and :math:`\lambda_1 = 1 - \lambda`,
    :math:`\lambda_2 = \lambda` the share,

    .. math::
        P(y, y') = \sum_i \lambda_i q_i(y)\,\sum_j \lambda_j \frac{q_j(y')}{1 - q_j(y)}

    Share 0 draws as `FromPolicy`, share 1 as `FromTable`.

    Raises:
        InputError: log-weights that are not finite, or a share out of its range.
    """

    log_table: TableArray = number(
        doc="the other policy's log-weights, up to a constant of the prompt, [prompt, response]"
    )
    share: Scalar = number(default=0.5, at_least=0, at_most=1, doc="lambda, the off-policy share")

    def __post_init__(self) -> None:
        _hold_weights(self)

    def support(self, allowed: jax.Array) -> jax.Array:
        _fitted(self, "log_table", allowed.shape)
        return allowed

    def draw(
        self,
        key: jax.Array,
        annotator: Annotator,
        rewards: TableArray,
        prompt: PairArray,
        log_probs: TableArray,
        allowed: jax.Array,
    ) -> Halves:
        source, one, two, coin = jax.random.split(key, 4)
        is_other = jax.random.uniform(source, (2, *prompt.shape)) < self.share

        def noisy(key: jax.Array, from_other: jax.Array) -> jax.Array:
            own = _noisy(key, log_probs, prompt, allowed)
            other = _noisy(key, jnp.asarray(self.log_table), prompt, allowed)
            return jnp.where(from_other[:, None], other, own)

        first = jnp.argmax(noisy(one, is_other[0]), axis=-1)
        is_first = jnp.arange(log_probs.shape[1])[None, :] == first[:, None]
        left = jnp.where(is_first, -jnp.inf, noisy(two, is_other[1]))
        second = jnp.argmax(left, axis=-1)
        return _preferred(coin, annotator, rewards, prompt, first, second)


@REGISTRY.register("best_worst")
@struct(eq=False)
class BestWorst(Comparison):
    """The most and the least preferred of n different responses.

    They are drawn without replacement, then ranked by the annotator's `extremes`: `Ideal` by true
    reward, `BradleyTerry` by Plackett and Luce's ranking, `Noisy` with the two ends swapped now
    and then. With n = 2 this is the comparison of two.

    Raises:
        InputError: n below 2.
    """

    n: int = static(doc="how many responses are drawn")
    log_table: TableArray | None = optional(
        default=None, doc="log-weights of another policy to draw from; None for the present one"
    )

    def __post_init__(self) -> None:
        if not isinstance(self.n, int) or isinstance(self.n, bool) or self.n < 2:
            raise refuse("BestWorst.n", self.n, "a whole number >= 2")
        if self.log_table is not None:
            _hold_weights(self)

    @property
    def needs(self) -> int:
        return self.n

    def support(self, allowed: jax.Array) -> jax.Array:
        if self.log_table is None:
            return allowed
        return allowed & (_fitted(self, "log_table", allowed.shape) > -jnp.inf)

    def draw(
        self,
        key: jax.Array,
        annotator: Annotator,
        rewards: TableArray,
        prompt: PairArray,
        log_probs: TableArray,
        allowed: jax.Array,
    ) -> Halves:
        drawn, ranked = jax.random.split(key)
        weights = log_probs if self.log_table is None else jnp.asarray(self.log_table)
        _, candidates = jax.lax.top_k(_noisy(drawn, weights, prompt, allowed), self.n)
        return annotator.extremes(ranked, rewards, prompt, candidates)
