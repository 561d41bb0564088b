"""The contract of every preference loss: a batch of pairs in, values and closed-form slopes out."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from toymodel._registry import Registry
from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar

#: All losses, by name. `toymodel.losses.register` adds to it.
REGISTRY: Registry[type["PreferenceLoss"]] = Registry("loss")


@struct(eq=False)
class PairBatch:
    """What a preference loss sees of a batch of pairs: log-probabilities (nats) and lengths."""

    chosen: PairArray = number(doc="log pi(y+), log-probability of the chosen response, [pair]")
    rejected: PairArray = number(doc="log pi(y-), log-probability of the rejected one, [pair]")
    reference_chosen: PairArray = number(doc="log pi0(y+), [pair]")
    reference_rejected: PairArray = number(doc="log pi0(y-), [pair]")
    chosen_length: PairArray | Scalar = number(
        default=1.0, above=0, doc="nc, length of y+ in tokens, [pair]"
    )
    rejected_length: PairArray | Scalar = number(
        default=1.0, above=0, doc="nr, length of y- in tokens, [pair]"
    )
    mismatched_log_ratio: PairArray | Scalar = number(
        default=0.0, doc="log pi - log pi0 of another prompt's responses (KTO's KL), [pair]"
    )
    chosen_concentration: PairArray | Scalar = number(
        default=0.0, doc="sum over the tokens of y+ of log sum pi^2 (WPO's alignment), [pair]"
    )
    rejected_concentration: PairArray | Scalar = number(default=0.0, doc="the same for y-, [pair]")
    chosen_excess: PairArray | Scalar = number(
        default=0.0, doc="part of log pi(y+) beyond the shorter response's length (LD), [pair]"
    )
    rejected_excess: PairArray | Scalar = number(default=0.0, doc="the same for y-, [pair]")
    reference_chosen_excess: PairArray | Scalar = number(
        default=0.0, doc="the same for y+ under the reference, [pair]"
    )
    reference_rejected_excess: PairArray | Scalar = number(
        default=0.0, doc="the same for y- under the reference, [pair]"
    )

    @property
    def chosen_log_ratio(self) -> PairArray:
        """c = log pi(y+) - log pi0(y+), [pair]."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_log_ratio(self) -> PairArray:
        """r = log pi(y-) - log pi0(y-), [pair]."""
        return self.rejected - self.reference_rejected

    @property
    def margin(self) -> PairArray:
        """m = c - r, [pair]."""
        return self.chosen_log_ratio - self.rejected_log_ratio


class SignedLog(NamedTuple):
    """A number as its sign (-1, 0 or 1) and the logarithm of its size, which cannot overflow.

    A number that is exactly zero has sign 0 and ``log_abs`` minus infinity, as in
    ``numpy.linalg.slogdet``.
    """

    sign: jax.Array
    log_abs: jax.Array

    @property
    def value(self) -> jax.Array:
        """The number itself; overflows and underflows where floating point does."""
        return self.sign * jnp.exp(self.log_abs)

    @classmethod
    def of(cls, value: jax.Array) -> "SignedLog":
        """From the number itself."""
        value = jnp.asarray(value)
        log_abs = jnp.log(jnp.abs(value))  # of a subnormal, too, this may be minus infinity
        return cls(jnp.where(log_abs == -jnp.inf, 0, jnp.sign(value)), log_abs)


class PreferenceLoss(abc.ABC):
    """A loss on preference pairs, defined by its value and, by hand, its two slopes.

    The objective of training is the weighted mean of `value` over pairs. The slopes are the
    gradient of the *sum* of `value` over the batch, so for a loss that treats pairs one by one
    they are each pair's own derivatives. Everything else (gradients in probabilities, logits and
    parameters) follows from them and is written once, in `toymodel.gradients`.

    A subclass is a `toymodel.losses.struct` dataclass. Its numbers are leaves.
    """

    #: The formula in plain text, and where it comes from; `register` sets both.
    formula: ClassVar[str] = ""
    paper: ClassVar[str] = ""

    #: Whether each pair's slopes are a function of its margin alone. Then the partition function
    #: cancels, and sweeps compute nothing but the pairs' logits until something is recorded.
    of_margin: ClassVar[bool] = False

    @property
    def takes_weights(self) -> bool:
        """Whether pairs may have unequal weights in the mean."""
        return True

    @abc.abstractmethod
    def value(self, pairs: PairBatch) -> PairArray:
        """The loss of each pair, [pair]."""

    @abc.abstractmethod
    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        """a+ = dL/dlog pi(y+) and a- = dL/dlog pi(y-), in closed form, each [pair]."""

    def log_slopes(self, pairs: PairBatch) -> tuple[SignedLog, SignedLog]:
        """The slopes as `SignedLog`; override where the logarithm outlives the slope itself."""
        chosen, rejected = self.slopes(pairs)
        return SignedLog.of(chosen), SignedLog.of(rejected)

    def held(self, pairs: PairBatch) -> Any:
        """What the loss computes from the policy but does not differentiate (detaches)."""
        del pairs
        return ()

    def value_holding(self, pairs: PairBatch, held: Any) -> PairArray:
        """The loss with its detached part given: the slopes are the derivatives of this."""
        del held
        return self.value(pairs)


class DetachedLoss(PreferenceLoss):
    """A loss with a detached part: define `held` and `value_holding`."""

    def value(self, pairs: PairBatch) -> PairArray:
        return self.value_holding(pairs, jax.lax.stop_gradient(self.held(pairs)))

    @abc.abstractmethod
    def held(self, pairs: PairBatch) -> Any: ...

    @abc.abstractmethod
    def value_holding(self, pairs: PairBatch, held: Any) -> PairArray: ...


Loss = TypeVar("Loss", bound=type[PreferenceLoss])


def register(name: str, *, formula: str = "", paper: str = "") -> Callable[[Loss], Loss]:
    """A class decorator that makes a loss known by name.

    Args:
        name: the name that `toymodel.losses.get` takes.
        formula: the loss in plain text, in the words lc, lr (log-probabilities), rc, rr (of the
            reference), c, r (log-ratios), m (margin), nc, nr (lengths), sg (logistic function).
        paper: where it comes from.

    Example:
        >>> from toymodel.losses import get, number, struct
        >>> @register("square_of_margin", formula="scale (m - 1)^2")
        ... @struct
        ... class SquaredMargin(PreferenceLoss):
        ...     '''Push the margin to one.'''
        ...     scale: float = number(default=1.0, above=0, doc="size of the loss")
        ...     def value(self, pairs):
        ...         return self.scale * (pairs.margin - 1) ** 2
        ...     def slopes(self, pairs):
        ...         slope = 2 * self.scale * (pairs.margin - 1)
        ...         return slope, -slope
        >>> get("square_of_margin", scale=2.0)
        SquaredMargin(scale=2.0)
    """

    def add(loss: Loss) -> Loss:
        loss.formula, loss.paper = formula, paper
        return REGISTRY.register(name)(loss)  # type: ignore[return-value]

    return add
