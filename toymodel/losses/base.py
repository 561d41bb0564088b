"""The contract of every preference loss: a batch of pairs in, values and closed-form slopes out."""

import abc
from typing import NamedTuple

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
        default=1.0, doc="length of y+ in tokens, [pair]", above=0
    )
    rejected_length: PairArray | Scalar = number(
        default=1.0, doc="length of y- in tokens, [pair]", above=0
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
        return cls(jnp.sign(value), jnp.log(jnp.abs(value)))


class PreferenceLoss(abc.ABC):
    """A loss on preference pairs, defined by its value and, by hand, its two slopes.

    The objective of training is the weighted mean of `value` over pairs. The slopes are the
    gradient of the *sum* of `value` over the batch, so for a loss that treats pairs one by one
    they are each pair's own derivatives. Everything else (gradients in probabilities, logits and
    parameters) follows from them and is written once, in `toymodel.gradients`.

    A subclass is a `toymodel.losses.struct` dataclass. Its numbers are leaves.
    """

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
