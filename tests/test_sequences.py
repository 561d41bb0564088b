"""Sequences: numbers, prefixes, marginals, distances, kinds of tokens, CHES, worlds."""

import functools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from scipy import stats
from scipy.special import log_softmax, logsumexp

from tests.strategies import compiled
from toymodel import InputError
from toymodel.policies import Autoregressive
from toymodel.policies.autoregressive import Embeddings
from toymodel.scenarios import Pairs
from toymodel.sequences import (
    Sequences,
    TokenKind,
    by_kind,
    ches,
    hamming,
    kinds,
    levenshtein,
    mass_by_distance,
    overlapping_pairs,
    pair_token_log_probs,
    random_table,
    unembedding_kernel,
)

SPACES = [Sequences(2, 3), Sequences(3, 2), Sequences(5, 1)]
every_space = pytest.mark.parametrize("space", SPACES, ids=str)
KEY = jax.random.key(0)


# The space --------------------------------------------------------------------------------------


@every_space
def test_every_sequence_is_there_once_and_prefixes_are_what_comes_before(space):
    tokens = space.tokens
    assert tokens.shape == (space.size, space.length)
    assert len({tuple(row) for row in tokens}) == space.size
    assert [space.index(row) for row in tokens] == list(range(space.size))
    seen = {}
    for row, nodes in zip(tokens, space.prefix, strict=True):
        for t, node in enumerate(nodes):
            assert seen.setdefault(node, tuple(row[:t])) == tuple(row[:t])
    assert sorted(seen) == list(range(space.prefixes))
    assert len(set(seen.values())) == space.prefixes
    for node, before in seen.items():
        assert space.depth[node] == len(before)
        assert space.counts[node].tolist() == [before.count(v) for v in range(space.vocabulary)]


@compiled
def sums(space, edges, values):
    return space.along(edges), space.through(values), space.at_tokens(edges).sum(axis=-1)


@every_space
@given(seed=st.integers(0, 2**31 - 1))
def test_sums_up_and_down_the_tree(space, seed):
    generator = np.random.default_rng(seed)
    edges = generator.normal(size=(2, space.prefixes, space.vocabulary))
    values = generator.normal(size=(2, space.size))
    along, through, gathered = sums(space, edges, values)
    np.testing.assert_allclose(along, gathered, atol=1e-12)
    assert np.vdot(along, values) == pytest.approx(np.vdot(through, edges), abs=1e-10)


@compiled
def token_log_probs(space, log_probs):
    return space.token_log_probs(log_probs)


@every_space
@given(seed=st.integers(0, 2**31 - 1), spread=st.sampled_from([0.1, 3.0, 300.0]))
def test_token_log_probs_are_conditionals_by_brute_force(space, seed, spread):
    logits = spread * np.random.default_rng(seed).normal(size=space.size)
    log_probs = log_softmax(logits)
    found, tokens = np.asarray(token_log_probs(space, log_probs)), space.tokens
    for y in np.random.default_rng(seed).integers(space.size, size=3):
        for t in range(space.length):
            longer = (tokens[:, : t + 1] == tokens[y, : t + 1]).all(axis=1)
            shorter = (tokens[:, :t] == tokens[y, :t]).all(axis=1)
            expected = logsumexp(log_probs[longer]) - logsumexp(log_probs[shorter])
            assert found[y, t] == pytest.approx(float(expected), rel=1e-10, abs=1e-10)
    scale = float(np.abs(log_probs).max())
    np.testing.assert_allclose(found.sum(axis=-1), log_probs, rtol=0, atol=1e-13 * (1 + scale))


def test_marginals_stay_finite_at_extremes():
    space = Sequences(2, 3)
    log_probs = jnp.full(8, -1e4).at[0].set(0.0)
    assert np.isfinite(compiled(lambda p: space.next_log_probs(p))(log_probs)).all()


# Distances --------------------------------------------------------------------------------------


def edits(a, b):
    """Levenshtein by recursion on the definition."""

    @functools.cache
    def of(i, j):
        if i == 0 or j == 0:
            return i + j
        replaced = of(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, replaced)

    return of(len(a), len(b))


words = hnp.arrays(int, st.integers(0, 6), elements=st.integers(0, 3))


@given(a=words, b=words)
def test_levenshtein_is_its_recursion(a, b):
    assert levenshtein(a, b) == levenshtein(b, a) == edits(tuple(a), tuple(b))


def test_distances_broadcast_and_edits_are_never_more_than_replacements():
    tokens = Sequences(3, 4).tokens
    replaced = hamming(tokens[:, None], tokens[None])
    edited = levenshtein(tokens[:, None], tokens[None])
    assert replaced.shape == edited.shape == (81, 81)
    assert np.all(edited <= replaced)
    assert np.any(edited < replaced)
    assert np.array_equal(edited == 0, np.eye(81, dtype=bool))


@pytest.mark.parametrize(("name", "function"), [("levenshtein", levenshtein), ("hamming", hamming)])
def test_mass_by_distance_by_brute_force(name, function):
    space = Sequences(3, 3)
    log_probs = log_softmax(np.random.default_rng(0).normal(size=(2, 27)), axis=-1)
    prompts, to = jnp.array([0, 1, 1]), jnp.array([4, 0, 26])
    found = mass_by_distance(space, log_probs, prompts, to, name)
    np.testing.assert_allclose(found.sum(axis=-1), 1.0, rtol=1e-12)
    traced = jax.jit(lambda to: mass_by_distance(space, log_probs, prompts, to, name))(to)
    np.testing.assert_allclose(traced, found, rtol=1e-12)
    for case, (x, y) in enumerate(zip(prompts, to, strict=True)):
        for d in range(4):
            at = [function(row, space.tokens[y]) == d for row in space.tokens]
            assert found[case, d] == pytest.approx(float(np.exp(log_probs[x])[np.array(at)].sum()))


def test_distances_are_made_of_the_rows_asked_for_alone():
    """4**8 sequences: all distances between them would be four thousand million."""
    space = Sequences(4, 8)
    log_probs = np.full((1, space.size), -np.log(space.size))
    zero = jnp.array([0])
    found = mass_by_distance(space, log_probs, zero, zero, "hamming")
    np.testing.assert_allclose(found[0], stats.binom.pmf(np.arange(9), 8, 3 / 4), rtol=1e-9)
    with pytest.raises(InputError, match="space: got"):
        jax.jit(lambda to: mass_by_distance(space, log_probs, zero, to))(zero)


# Pairs ------------------------------------------------------------------------------------------

SPACE = Sequences(3, 4)
overlaps = st.integers(0, 3).flatmap(
    lambda prefix: st.tuples(st.just(prefix), st.integers(0, 3 - prefix))
)


@hypothesis.settings(max_examples=10)
@given(seed=st.integers(0, 2**31 - 1), overlap=overlaps)
def test_worlds_have_the_overlap_asked_for(seed, overlap):
    prefix, shared = overlap
    key = jax.random.key(seed)
    world = overlapping_pairs(key, SPACE, prompts=3, prefix=prefix, shared=shared)
    plain = overlapping_pairs(key, SPACE, prompts=3)
    np.testing.assert_array_equal(world.pairs.chosen, plain.pairs.chosen)
    np.testing.assert_array_equal(world.log_table, plain.log_table)
    found = np.asarray(kinds(SPACE, world.pairs))
    chosen, rejected = SPACE.tokens[world.pairs.chosen], SPACE.tokens[world.pairs.rejected]
    for row, one, other in zip(found, chosen, rejected, strict=True):
        same = one == other
        first = int(np.argmin(same))
        expected = [
            TokenKind.SHARED_PREFIX if t < first else
            TokenKind.SHARED_LATER if same[t] else TokenKind.UNSHARED
            for t in range(4)
        ]  # fmt: skip
        assert row.tolist() == expected
        assert first == prefix
        assert same.sum() == prefix + shared


def test_parts_by_kind_add_up_to_the_response():
    world = overlapping_pairs(KEY, SPACE, prefix=1, shared=1)
    generator = np.random.default_rng(1)
    curve = log_softmax(generator.normal(size=(2, *world.shape)), axis=-1)
    kind = kinds(SPACE, world.pairs)

    @compiled
    def read(curve):
        halves = pair_token_log_probs(SPACE, curve, world.pairs)
        return halves, [by_kind(half, kind) for half in halves], SPACE.token_log_probs(curve)

    halves, sums, tokens = read(curve)
    for part, parts, half in zip(
        halves, sums, (world.pairs.chosen, world.pairs.rejected), strict=True
    ):
        assert parts.shape == (2, 4, 3)
        expected = curve[:, world.pairs.prompt, half]
        np.testing.assert_allclose(parts.sum(axis=-1), expected, atol=1e-12)
        alone = tokens[:, world.pairs.prompt, half]
        np.testing.assert_allclose(part, alone, atol=1e-12)
    on_prefix = [parts[..., TokenKind.SHARED_PREFIX] for parts in sums]
    np.testing.assert_array_equal(*on_prefix)


def test_a_given_table_is_kept():
    table = random_table(jax.random.key(3), SPACE, 2)
    world = overlapping_pairs(KEY, SPACE, prompts=2, log_table=table)
    np.testing.assert_allclose(world.log_table, table, atol=1e-12)


# Hidden states ----------------------------------------------------------------------------------


@hypothesis.settings(max_examples=10)
@given(seed=st.integers(0, 2**31 - 1))
def test_ches_by_loops(seed):
    generator = np.random.default_rng(seed)
    chosen, rejected = generator.normal(size=(5, 3)), generator.normal(size=(2, 3))

    def product(a, b):
        return sum(float(h @ k) for h in a for k in b)

    plain = product(chosen, rejected) - product(chosen, chosen)
    mean = product(chosen, rejected) / (5 * 2) - product(chosen, chosen) / 5**2
    assert ches(chosen, rejected) == pytest.approx(plain)
    assert ches(chosen, rejected, per_token=True) == pytest.approx(mean)


POLICY = Autoregressive(3, 4, width=5, trained="unembedding")


def parts_of(params, x, y):
    return POLICY.hidden(params)[x, y], POLICY.residuals(params)[x, y]


@compiled
def kernels_of_two(params, x, y, a, b):
    """By the function, by the parts of its double sum, and by gradients of the policy."""
    one, other = parts_of(params, x, y), parts_of(params, a, b)
    terms = (one[1] @ other[1].T) * (one[0] @ other[0].T)
    gradients = [jax.grad(lambda p, at=at: POLICY.logits(p)[at])(params) for at in ((x, y), (a, b))]
    whole = sum(jnp.vdot(*leaves) for leaves in zip(*gradients, strict=True))
    return unembedding_kernel(*one, *other), terms, whole


@given(seed=st.integers(0, 2**31 - 1))
def test_unembedding_kernel_is_the_policys_and_a_double_sum(seed):
    generator = np.random.default_rng(seed)
    drawn = Embeddings(*(generator.normal(size=(n, 5)) for n in (3, 2, 4, 3)))
    found, terms, whole = kernels_of_two(drawn, *generator.integers([2, 81, 2, 81]))
    assert found == pytest.approx(sum(float(term) for term in np.ravel(terms)), abs=1e-10)
    assert found == pytest.approx(float(whole), abs=1e-10)


def test_ches_is_the_kernel_with_equal_residuals():
    """Then it is minus the chosen's speed; a factor of residual products scales both."""
    states = np.random.default_rng(0).normal(size=(2, 4, 5))
    residual = jnp.broadcast_to(jnp.array([0.5, -0.25, -0.25]), (4, 3))
    across = unembedding_kernel(states[0], residual, states[1], residual)
    own = unembedding_kernel(states[0], residual, states[0], residual)
    expected = float(residual[0] @ residual[0]) * ches(states[0], states[1])
    assert across - own == pytest.approx(float(expected))


def test_at_uniform_next_tokens_likeness_before_different_tokens_helps():
    """Residual products are 1[same token] - 1/V: disjoint tokens turn the sign of K+- around."""
    params = POLICY.init(KEY, (1, 81))._replace(unembedding=jnp.zeros((3, 5)))
    y, z = SPACE.index([0, 0, 0, 0]), SPACE.index([1, 2, 1, 2])
    one, other = parts_of(params, 0, y), parts_of(params, 0, z)
    product = float(one[0].sum(axis=0) @ other[0].sum(axis=0))
    assert unembedding_kernel(*one, *other) == pytest.approx(-product / 3)


# Refusals ---------------------------------------------------------------------------------------

REFUSED = {
    "Sequences.vocabulary": lambda: Sequences(1, 3),
    "Sequences.length": lambda: Sequences(2, 0),
    "Sequences:": lambda: Sequences(10, 9),
    "tokens": lambda: Sequences(2, 3).index([0, 2, 0]),
    "prefix": lambda: overlapping_pairs(KEY, SPACE, prefix=4),
    "shared": lambda: overlapping_pairs(KEY, SPACE, prefix=2, shared=2),
    "shared:": lambda: overlapping_pairs(KEY, SPACE, shared=True),
    "prompts": lambda: overlapping_pairs(KEY, SPACE, prompts=0),
    "prompts:": lambda: random_table(KEY, SPACE, 0),
    "spread": lambda: random_table(KEY, SPACE, 1, spread=-1.0),
    "log_table": lambda: overlapping_pairs(KEY, SPACE, prompts=2, log_table=jnp.zeros((2, 80))),
    "chosen, rejected": lambda: ches(jnp.ones((4, 3)), jnp.ones((4, 2))),
    "distance": lambda: mass_by_distance(
        SPACE, jnp.zeros((1, 81)), jnp.zeros(1, int), jnp.zeros(1, int), "edit"
    ),
}


@pytest.mark.parametrize("named", REFUSED)
def test_bad_settings_are_refused(named):
    with pytest.raises(InputError, match=rf"^{named}.*got .*expected"):
        REFUSED[named]()


def test_kinds_read_any_pairs():
    pairs = Pairs(*(jnp.array([n]) for n in (0, 0, 80)), weight=jnp.ones(1))
    assert kinds(SPACE, pairs).tolist() == [[TokenKind.UNSHARED] * 4]
