"""Comparisons that see only a part of the response space."""

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import refuse
from toymodel._struct import number, struct
from toymodel._typing import ArrayLike, PairArray, Scalar, TableArray
from toymodel.sampling.annotators import Annotator
from toymodel.sampling.base import REGISTRY
from toymodel.sampling.comparisons import Comparison, Halves


@REGISTRY.register("within")
@struct(eq=False)
class Within(Comparison):
    """Another comparison that never draws some responses: held-out ones, say.

    Raises:
        InputError: a mask that is not [response] or [prompt, response].

    Example:
        >>> from toymodel import sampling, scenarios
        >>> world = scenarios.random_rewards(jax.random.key(0), scenarios.both_on_policy())
        >>> first_three = Within(sampling.FromPolicy(), [True] * 3 + [False] * 7)
        >>> pairs = sampling.collect(jax.random.key(1), world, first_three, "ideal", count=50)
        >>> sorted({int(y) for y in pairs.chosen} | {int(y) for y in pairs.rejected})
        [0, 1, 2]
    """

    comparison: Comparison = number(doc="which responses are compared, of those allowed")
    allowed: ArrayLike = number(doc="what may be drawn, bool [response] or [prompt, response]")

    def __post_init__(self) -> None:
        object.__setattr__(self, "allowed", jnp.asarray(self.allowed, bool))

    @property
    def needs(self) -> int:
        return self.comparison.needs

    def _both(self, allowed: jax.Array) -> jax.Array:
        own = jnp.asarray(self.allowed)
        if own.shape not in (allowed.shape, allowed.shape[1:]):
            expected = f"[response] or [prompt, response] of {allowed.shape}"
            raise refuse("Within.allowed", f"shape {own.shape}", expected)
        return allowed & jnp.broadcast_to(own, allowed.shape)

    def support(self, allowed: jax.Array) -> jax.Array:
        return self.comparison.support(self._both(allowed))

    def draw(
        self,
        key: jax.Array,
        annotator: Annotator,
        rewards: TableArray,
        prompt: PairArray,
        log_probs: TableArray,
        allowed: jax.Array,
    ) -> Halves:
        both = self._both(allowed)
        return self.comparison.draw(key, annotator, rewards, prompt, log_probs, both)


@REGISTRY.register("covering")
@struct
class Covering(Comparison):
    """Another comparison, over a random share of each prompt's responses that stays the same.

    The share is of the responses that could be drawn, rounded to the nearest whole number, and
    never fewer than one comparison takes. With one seed, a greater share holds every smaller one.

    Example:
        >>> from toymodel.sampling import FromPolicy
        >>> Covering(FromPolicy(), 0.3).support(jnp.ones((2, 10), bool)).sum(-1).tolist()
        [3, 3]
    """

    comparison: Comparison = number(doc="which responses are compared, of those covered")
    share: Scalar = number(
        default=0.5, at_least=0, at_most=1, doc="share of the responses that is covered"
    )
    seed: Scalar = number(default=0, at_least=0, doc="which responses they are")

    def __post_init__(self) -> None:
        if not isinstance(self.seed, jax.core.Tracer) and np.any(np.asarray(self.seed) % 1 != 0):
            raise refuse("Covering.seed", self.seed, "a whole number >= 0")

    @property
    def needs(self) -> int:
        return self.comparison.needs

    def support(self, allowed: jax.Array) -> jax.Array:
        could = self.comparison.support(allowed)
        key = jax.random.key(jnp.asarray(self.seed, int))
        place = jnp.where(could, jax.random.uniform(key, could.shape), jnp.inf)
        rank = jnp.argsort(jnp.argsort(place, axis=-1), axis=-1)
        count = jnp.sum(could, axis=-1, keepdims=True)
        kept = jnp.maximum(jnp.floor(self.share * count + 0.5), self.needs)
        return could & (rank < kept)

    def draw(
        self,
        key: jax.Array,
        annotator: Annotator,
        rewards: TableArray,
        prompt: PairArray,
        log_probs: TableArray,
        allowed: jax.Array,
    ) -> Halves:
        covered = self.support(allowed)
        return self.comparison.draw(key, annotator, rewards, prompt, log_probs, covered)
