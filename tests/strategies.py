"""What the tests draw: losses, batches of pairs, worlds and policies; and how results compare.

Worlds of every size are embedded in one shape, so that JAX compiles once: a missing prompt has no
pairs, a missing response has probability exp(-1e4) = 0, a missing pair has weight zero.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from toymodel.gradients import pair_batch
from toymodel.losses import REGISTRY, PairBatch, PreferenceLoss
from toymodel.policies import MLP, LogLinear, Policy, Tabular
from toymodel.scenarios import Pairs, Scenario, build

SHAPE = (4, 8)  # prompts, responses
PAIRS = 6
LOWEST = -1e4  # log-probability of the least likely response that must work
TOLERANCE = {64: 1e-10, 32: 1e-5}


#: ``jax.jit``, quick to compile rather than to run.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@contextlib.contextmanager
def precision(bits: int) -> Iterator[float]:
    """Compute in float64 or float32; gives the relative tolerance that goes with it."""
    with jax.enable_x64(bits == 64):
        yield TOLERANCE[bits]


def here(tree: Any) -> Any:
    """Arrays drawn in float64, in the precision of the moment."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), tree)


def relative_error(actual: Any, expected: Any, scale: Any = 0.0) -> jax.Array:
    """The largest error of any entry, relative to the entry or to `scale` if that is larger."""

    def of(one: jax.Array, other: jax.Array) -> jax.Array:
        floor = jnp.maximum(scale, 1e4 * jnp.finfo(one.dtype).tiny)
        return jnp.max(jnp.abs(one - other) / jnp.maximum(jnp.abs(other), floor))

    return jnp.max(jnp.stack(jax.tree.leaves(jax.tree.map(of, actual, expected))))


# Losses -----------------------------------------------------------------------------------------

Numbers = Callable[[float, float], st.SearchStrategy[float]]


def positive(least: float, most: float) -> st.SearchStrategy[float]:
    """A number between two positive ones, its logarithm uniform."""
    return st.floats(np.log10(least), np.log10(most)).map(lambda exponent: 10.0**exponent)


def nonnegative(least: float, most: float) -> st.SearchStrategy[float]:
    """The same, or zero."""
    return st.just(0.0) | positive(least, most)


class LossRow(NamedTuple):
    """What the tests know of a loss."""

    numbers: dict[str, Numbers]
    is_margin_loss: bool = False  # a function of the margin: a+ = -a-
    outlives_underflow: bool = False  # log_slopes stay finite where the slopes are zero
    kink: Callable[[Any, PairBatch], Any] = lambda loss, pairs: np.asarray(
        np.inf
    )  # distance from it


LOSSES = {
    "dpo": LossRow({"beta": positive}, is_margin_loss=True, outlives_underflow=True),
    "flex_dpo": LossRow(
        {"beta_chosen": positive, "beta_rejected": positive}, outlives_underflow=True
    ),
    "flex_sft_dpo": LossRow(
        {"beta_chosen": positive, "beta_rejected": positive, "gamma": nonnegative},
        outlives_underflow=True,
    ),
    "sft_dpo": LossRow({"beta": positive, "gamma": nonnegative}, outlives_underflow=True),
    "ipo": LossRow({"eta": positive}, is_margin_loss=True),
    "slic": LossRow(
        {"delta": nonnegative, "eta": nonnegative},
        kink=lambda loss, pairs: np.abs(loss.delta - pairs.chosen + pairs.rejected),
    ),
}


def losses(name: str, least: float = 1e-6, most: float = 1e3) -> st.SearchStrategy[PreferenceLoss]:
    """A loss with hyper-parameters of any size between the two."""
    numbers = {key: draw(least, most) for key, draw in LOSSES[name].numbers.items()}
    return st.builds(REGISTRY[name], **numbers)


@st.composite
def pair_batches(draw: st.DrawFn, lowest: float = LOWEST) -> PairBatch:
    """Log-probabilities down to `lowest`, among them an unlikely y- and an equal y+ and y-."""
    log_probs = st.floats(-20.0, 0.0) | st.floats(lowest, 0.0) | st.just(lowest)
    columns = draw(hnp.arrays(float, (4, PAIRS), elements=log_probs))
    columns[1, 0] = lowest
    columns[1, 1] = columns[0, 1]
    lengths = draw(hnp.arrays(int, (2, PAIRS), elements=st.integers(1, 9))).astype(float)
    return PairBatch(*columns, *lengths)


# Worlds -----------------------------------------------------------------------------------------


class World(NamedTuple):
    """Logits of a policy and of its reference, [prompt, response], and any pairs."""

    logits: jax.Array
    reference_logits: jax.Array
    pairs: Pairs

    @property
    def log_probs(self) -> jax.Array:
        return jax.nn.log_softmax(self.logits, axis=-1)

    @property
    def reference(self) -> jax.Array:
        return jax.nn.log_softmax(self.reference_logits, axis=-1)

    @property
    def batch(self) -> PairBatch:
        return pair_batch(self.log_probs, self.reference, self.pairs)

    @property
    def in_pair(self) -> np.ndarray:
        """Whether a response is in a pair of its prompt, [prompt, response]."""
        result = np.zeros(SHAPE, bool)
        for response in (self.pairs.chosen, self.pairs.rejected):
            result[np.asarray(self.pairs.prompt), np.asarray(response)] = True
        return result


@st.composite
def worlds(draw: st.DrawFn, size: float = 5.0) -> World:
    """One to four prompts, two to eight responses, logits up to `size`, any pairs and weights."""
    prompts, responses = draw(st.integers(1, SHAPE[0])), draw(st.integers(2, SHAPE[1]))
    logits = draw(hnp.arrays(float, (2, *SHAPE), elements=st.floats(-size, size)))
    logits[:, :, responses:] = LOWEST

    def indices(least: int, most: int) -> np.ndarray:
        return draw(hnp.arrays(int, PAIRS, elements=st.integers(least, most)))

    chosen = indices(0, responses - 1)
    rejected = (chosen + indices(1, responses - 1)) % responses
    weights = draw(hnp.arrays(float, PAIRS, elements=st.just(0.0) | st.floats(0.01, 10.0)))
    weights[0] += weights.sum() == 0
    return World(*logits, Pairs(indices(0, prompts - 1), chosen, rejected, weights))


@st.composite
def one_pair_worlds(draw: st.DrawFn) -> Scenario:
    """A scenario with random initial tables and one pair of any weight for each prompt."""
    prompts, responses = SHAPE[0] - 1, SHAPE[1] - 3
    logits = draw(hnp.arrays(float, (prompts, responses), elements=st.floats(-3.0, 3.0)))
    weights = draw(hnp.arrays(float, prompts, elements=st.floats(0.1, 10.0)))
    pairs = []
    for prompt, weight in enumerate(weights):
        chosen, rejected = draw(st.permutations(range(responses)))[:2]
        pairs.append((prompt, chosen, rejected, weight))
    return build(log_table=logits - np.logaddexp.reduce(logits, axis=1)[:, None], pairs=pairs)


# Policies ---------------------------------------------------------------------------------------

#: Every registered policy in several forms, for worlds of SHAPE.
POLICIES: dict[str, list[Policy]] = {
    "tabular": [Tabular()],
    "loglinear": [LogLinear(np.random.default_rng(0).normal(size=(*SHAPE, 5)))],
    "mlp": [
        MLP(hidden=(), activation="linear"),
        MLP(hidden=(5,), activation="relu"),
        MLP(hidden=(4, 3), activation="tanh", initialisation="glorot_uniform", scale=2.0),
        MLP(hidden=(3, 4), activation="sigmoid"),
        MLP(hidden=(3, 2, 4), activation="gelu", initialisation="lecun_normal"),
        MLP(hidden=(2, 3), activation="silu", scale=3.0),
    ],
}
POLICY_CASES = [policy for forms in POLICIES.values() for policy in forms]


def name_of(policy: Policy) -> str:
    """A short name for test listings."""
    settings = (f"{policy.hidden}-{policy.activation}",) if isinstance(policy, MLP) else ()
    return "-".join((type(policy).__name__, *settings))


@functools.cache
def shapes(policy: Policy) -> Any:
    """The shapes of its parameters, for worlds of SHAPE."""
    return jax.eval_shape(lambda: policy.init(jax.random.key(0), SHAPE))


def params(policy: Policy) -> st.SearchStrategy[Any]:
    """Standard normal parameters."""

    def drawn(seed: int) -> Any:
        generator = np.random.default_rng(seed)
        return jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), shapes(policy))

    return st.integers(0, 2**31 - 1).map(drawn)
