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
import pytest

from toymodel.gradients import pair_batch
from toymodel.losses import REGISTRY, PairBatch, PreferenceLoss
from toymodel.policies import (
    MLP,
    Autoregressive,
    FeatureMLP,
    LogLinear,
    Policy,
    PrefixTabular,
    Tabular,
)
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


def positive(least: float, most: float) -> st.SearchStrategy[float]:
    """A number between two positive ones, its logarithm uniform."""
    return st.floats(np.log10(least), np.log10(most)).map(lambda exponent: 10.0**exponent)


class Range(NamedTuple):
    """Where a number of a loss may lie. Sizes are drawn uniform in logarithm, or `even`."""

    low: float = 1e-6
    high: float = 1e3
    zero: bool = False
    negative: bool = False
    even: bool = False

    def between(self, least: float, most: float) -> st.SearchStrategy[float]:
        """A number of the range whose size is between two others, too."""
        if self.even:
            return st.floats(self.low, self.high)
        sizes = positive(max(least, self.low), min(most, self.high))
        sizes = sizes | sizes.map(lambda size: -size) if self.negative else sizes
        return st.just(0.0) | sizes if self.zero else sizes

    def many(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Numbers throughout the range: both ends, zero where it is allowed, and between."""
        scaled, back = (float, float) if self.even else (np.log10, lambda size: 10.0**size)
        between = generator.uniform(scaled(self.low), scaled(self.high), count - 2)
        values = np.concatenate([[self.low, self.high], np.vectorize(back)(between)])
        if self.negative:
            values *= generator.choice([-1.0, 1.0], count)
        if self.zero:
            values[generator.random(count) < 0.1] = 0.0
        return generator.permutation(values)


POSITIVE = Range()
NONNEGATIVE = Range(zero=True)
SIGNED = Range(zero=True, negative=True)
SHARE = Range(0.0, 1.0, even=True)


class Inner(str):
    """The name, in LOSSES, of a loss inside a loss."""


class LossRow(NamedTuple):
    """What the tests know of a loss: its arguments, each a `Range`, structure or `Inner` losses."""

    arguments: dict[str, Any]
    balanced: bool = False  # a+ = -a- always, exactly
    outlives_underflow: bool = False  # log_slopes stay finite where the slopes are zero
    exponents: Callable[[Any, PairBatch], list] = lambda loss, pairs: []  # held at 40


def _log_ratios(loss: Any, pairs: PairBatch) -> list:
    del loss
    return [pairs.chosen_log_ratio, pairs.rejected_log_ratio]


def _minus_log_ratios(loss: Any, pairs: PairBatch) -> list:
    return [-ratio for ratio in _log_ratios(loss, pairs)]


def _powers(loss: Any, pairs: PairBatch) -> list:
    return [(loss.alpha - 1) * ratio for ratio in _log_ratios(loss, pairs)]


def _bends(loss: Any, pairs: PairBatch) -> list:
    chosen, rejected = pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length
    return [-loss.alpha * chosen, -loss.alpha * rejected]


_SMOOTHED = {"beta": POSITIVE, "label_smoothing": SHARE}
_BY_ALPHA = {"divergence": "alpha", "alpha": SIGNED}

#: Every registered loss; those with structure in several forms, named after a hyphen.
LOSSES = {
    "dpo": LossRow({"beta": POSITIVE}, balanced=True, outlives_underflow=True),
    "flex_dpo": LossRow(
        {"beta_chosen": POSITIVE, "beta_rejected": POSITIVE}, outlives_underflow=True
    ),
    "flex_sft_dpo": LossRow(
        {"beta_chosen": POSITIVE, "beta_rejected": POSITIVE, "gamma": NONNEGATIVE},
        outlives_underflow=True,
    ),
    "sft_dpo": LossRow({"beta": POSITIVE, "gamma": NONNEGATIVE}, outlives_underflow=True),
    "ipo": LossRow({"eta": POSITIVE, "per_token": False}, balanced=True),
    "ipo-per_token": LossRow({"eta": POSITIVE, "per_token": True}),
    # functions of the margin
    "cdpo": LossRow(_SMOOTHED, balanced=True),
    "robust": LossRow(
        {"beta": POSITIVE, "label_smoothing": Range(0.0, 0.45, even=True)}, balanced=True
    ),
    "hinge": LossRow({"beta": POSITIVE}, balanced=True),
    "exo_pair": LossRow({"beta": POSITIVE, "label_smoothing": Range(1e-6, 0.5)}, balanced=True),
    "discopop": LossRow({"beta": POSITIVE, "tau": Range(1e-6, 1.0)}, balanced=True),
    "odpo": LossRow({"beta": POSITIVE, "offset": SIGNED}, balanced=True),
    # one half of the pair at a time
    "nca_pair": LossRow({"beta": POSITIVE}),
    "bco_pair": LossRow({"beta": POSITIVE, "delta": SIGNED, "batch_delta": False}),
    "bco_pair-batch_delta": LossRow({"beta": POSITIVE, "delta": 0.0, "batch_delta": True}),
    "sppo_hard": LossRow({"beta": POSITIVE}),
    "cal_dpo": LossRow({"beta": POSITIVE, "alpha": NONNEGATIVE}),
    "apo_zero": LossRow({"beta": POSITIVE}),
    "apo_down": LossRow({"beta": POSITIVE}),
    "kto": LossRow(
        {
            "beta": POSITIVE,
            "desirable_weight": NONNEGATIVE,
            "undesirable_weight": NONNEGATIVE,
        }
    ),
    # per token
    "sigmoid_norm": LossRow({"beta": POSITIVE}),
    "alphapo": LossRow({"beta": POSITIVE, "gamma": NONNEGATIVE, "alpha": SIGNED}, exponents=_bends),
    "simpo": LossRow({"beta": POSITIVE, "gamma": NONNEGATIVE}),
    "rainbowpo": LossRow(
        {"beta": POSITIVE, "alpha": SHARE, "gamma": NONNEGATIVE, "dispersion": POSITIVE}
    ),
    # without a reference
    "slic": LossRow({"delta": NONNEGATIVE, "eta": NONNEGATIVE}),
    "sft": LossRow({"per_token": True}),
    "sft-per_sequence": LossRow({"per_token": False}),
    "cpo": LossRow({**_SMOOTHED, "alpha": NONNEGATIVE}),
    "orpo": LossRow({"beta": POSITIVE, "alpha": NONNEGATIVE}),
    # penalised and bounded
    "dpop": LossRow({"beta": POSITIVE, "penalty": NONNEGATIVE}),
    "rdpo": LossRow({"beta": POSITIVE, "alpha": SIGNED}, balanced=True),
    "bdpo": LossRow({"beta": POSITIVE, "mixture": Range(1e-6, 1 - 1e-6, even=True)}),
    "chi_po": LossRow({"beta": POSITIVE, "clip": POSITIVE}, exponents=_log_ratios),
    # of the whole batch
    "aot": LossRow(_SMOOTHED, balanced=True),
    "aot_unpaired": LossRow(_SMOOTHED),
    "beta_dpo": LossRow({"beta": POSITIVE, "alpha": NONNEGATIVE, "center": SIGNED}, balanced=True),
    # made of losses
    "sum": LossRow({"losses": (Inner("dpo"),), "weights": (SIGNED,)}, balanced=True),
    "sum-mpo": LossRow(
        {
            "losses": (Inner("dpo"), Inner("bco_pair-batch_delta"), Inner("sft")),
            "weights": (POSITIVE, POSITIVE, POSITIVE),
        }
    ),
    "f_dpo-reverse_kl": LossRow(
        {"loss": Inner("dpo"), "divergence": "reverse_kl", "alpha": 0.5}, balanced=True
    ),
    "f_dpo-forward_kl": LossRow(
        {"loss": Inner("dpo"), "divergence": "forward_kl", "alpha": 0.5},
        exponents=_minus_log_ratios,
    ),
    "f_dpo-js-hinge": LossRow({"loss": Inner("hinge"), "divergence": "js", "alpha": 0.5}),
    "f_dpo-js-bco": LossRow(
        {"loss": Inner("bco_pair-batch_delta"), "divergence": "js", "alpha": 0.5}
    ),
    "f_dpo-alpha": LossRow({"loss": Inner("dpo"), **_BY_ALPHA}, exponents=_powers),
    "f_dpo-alpha-ipo": LossRow({"loss": Inner("ipo-per_token"), **_BY_ALPHA}, exponents=_powers),
    "ld_dpo": LossRow({"loss": Inner("dpo"), "alpha": SHARE}, balanced=True),
    "ld_dpo-ipo": LossRow({"loss": Inner("ipo-per_token"), "alpha": SHARE}),
    "ld_dpo-aot": LossRow({"loss": Inner("aot"), "alpha": SHARE}, balanced=True),
    "wpo": LossRow({"loss": Inner("dpo"), "aligned": True, "largest": POSITIVE}, balanced=True),
    "wpo-plain-simpo": LossRow({"loss": Inner("simpo"), "aligned": False, "largest": POSITIVE}),
}

#: One loss of each kind. A plain `pytest` runs these; `pytest -m ""` runs all.
CORE = {
    *("dpo", "flex_dpo", "sft_dpo", "ipo", "slic", "hinge", "discopop", "kto", "simpo", "orpo"),
    *("aot", "bdpo", "f_dpo-forward_kl", "wpo"),
}
every_loss = pytest.mark.parametrize(
    "name",
    [name if name in CORE else pytest.param(name, marks=pytest.mark.slow) for name in LOSSES],
)


def registered_name(name: str) -> str:
    """The name, in the registry, of a row of LOSSES."""
    return name.split("-")[0]


def made(name: str, number: Callable[[Range], Any]) -> PreferenceLoss:
    """The loss of a row, each of its numbers given by a function of its range."""

    def fill(item: Any) -> Any:
        if isinstance(item, Range):
            return number(item)
        if isinstance(item, Inner):
            return made(item, number)
        return tuple(map(fill, item)) if isinstance(item, tuple) else item

    arguments = LOSSES[name].arguments.items()
    return REGISTRY[registered_name(name)](**{key: fill(item) for key, item in arguments})


def usual(name: str) -> PreferenceLoss:
    """The loss of a row with numbers in use: defaults, and 0.5 for weights of losses."""

    def fill(item: Any) -> Any:
        if isinstance(item, Inner):
            return usual(item)
        if isinstance(item, tuple) and not isinstance(item, Range):
            return tuple(map(fill, item))
        return 0.5 if isinstance(item, Range) else item

    arguments = LOSSES[name].arguments.items()
    given = {key: fill(item) for key, item in arguments if not isinstance(item, Range)}
    return REGISTRY[registered_name(name)](**given)


@st.composite
def losses(draw: st.DrawFn, name: str, least: float = 1e-6, most: float = 1e3) -> PreferenceLoss:
    """The loss of a row with numbers of any size between the two."""
    return made(name, lambda numbers: draw(numbers.between(least, most)))


def many_losses(name: str, generator: np.random.Generator, count: int) -> PreferenceLoss:
    """As many instances of a row's loss, in one: each number is an array."""
    loss = made(name, lambda numbers: numbers.many(generator, count))
    return jax.tree.map(lambda leaf: np.broadcast_to(leaf, count), loss)


def apart_from_ties(name: str, loss: PreferenceLoss, pairs: PairBatch, least: float) -> bool:
    """Whether no exponent is where it is held (AD takes half a slope), and nothing sorted ties."""
    if "aot" in name:
        policy = pairs.chosen - pairs.rejected, pairs.chosen_log_ratio, pairs.rejected_log_ratio
        return all(np.all(np.diff(np.sort(numbers)) > least) for numbers in policy)
    return all(np.all(np.abs(e - 40) > least) for e in LOSSES[name].exponents(loss, pairs))


@st.composite
def pair_batches(draw: st.DrawFn, lowest: float = LOWEST) -> PairBatch:
    """Log-probabilities down to `lowest`, among them an unlikely y- and an equal y+ and y-.

    The longer response has an excess: some share of its log-probability.
    """
    log_probs = st.floats(-20.0, 0.0) | st.floats(lowest, 0.0) | st.just(lowest)
    columns = draw(hnp.arrays(float, (4, PAIRS), elements=log_probs))
    columns[1, 0] = lowest
    columns[1, 1] = columns[0, 1]
    lengths = draw(hnp.arrays(int, (2, PAIRS), elements=st.integers(1, 9))).astype(float)
    shares = draw(hnp.arrays(float, (7, PAIRS), elements=st.floats(0.0, 1.0)))
    longer = np.sign(np.stack([lengths[0] - lengths[1], lengths[1] - lengths[0]] * 2)).clip(0)
    mismatched, concentrations = 60 * shares[0] - 30, lowest * shares[1:3]
    return PairBatch(
        *columns, *lengths, mismatched, *concentrations, *longer * shares[3:] * columns
    )


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
def worlds(draw: st.DrawFn, size: float = 5.0, weighted: bool = True) -> World:
    """One to four prompts, two to eight responses, logits up to `size`, any pairs and weights.

    Without weights, all pairs count the same.
    """
    prompts, responses = draw(st.integers(1, SHAPE[0])), draw(st.integers(2, SHAPE[1]))
    logits = draw(hnp.arrays(float, (2, *SHAPE), elements=st.floats(-size, size)))
    logits[:, :, responses:] = LOWEST

    def indices(least: int, most: int) -> np.ndarray:
        return draw(hnp.arrays(int, PAIRS, elements=st.integers(least, most)))

    chosen = indices(0, responses - 1)
    rejected = (chosen + indices(1, responses - 1)) % responses
    weights = draw(hnp.arrays(float, PAIRS, elements=st.just(0.0) | st.floats(0.01, 10.0)))
    weights[0] += weights.sum() == 0
    weights = weights if weighted else np.ones(PAIRS)
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
    "feature_mlp": [
        FeatureMLP(np.random.default_rng(1).normal(size=(SHAPE[0], 3)), network)
        for network in (MLP(hidden=()), MLP(hidden=(5,)), MLP(hidden=(4, 3), activation="tanh"))
    ],
    "prefix_tabular": [PrefixTabular(vocabulary=2, length=3)],
    "autoregressive": [
        Autoregressive(vocabulary=2, length=3, width=3, trained=trained)
        for trained in ("all", "unembedding")
    ],
}
POLICY_CASES = [policy for forms in POLICIES.values() for policy in forms]


def name_of(policy: Policy) -> str:
    """A short name for test listings."""
    network = policy.network if isinstance(policy, FeatureMLP) else policy
    settings = (f"{network.hidden}-{network.activation}",) if isinstance(network, MLP) else ()
    settings += (policy.trained,) if isinstance(policy, Autoregressive) else ()
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
