"""Annotators, comparisons, collected pairs, regimes, and training on pairs drawn as it goes."""

import dataclasses
import itertools
import json

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import toymodel as tm
from tests import strategies as draws
from toymodel import InputError, exact, gradients, objectives, sampling, scenarios, simulation
from toymodel.objectives import Iterative
from toymodel.sampling import (
    BestWorst,
    Biased,
    BradleyTerry,
    Covering,
    FromPolicy,
    FromTable,
    Ideal,
    Mixed,
    Noisy,
    Within,
)

SHAPE = (2, 4)
COUNT = 30_000  # draws; frequencies must be within five standard errors
ALL = np.ones(SHAPE, bool)
LOG_PROBS = jax.nn.log_softmax(jnp.asarray([[0.5, -0.5, 0.0, 1.5], [0.0, 0.3, -2.0, 1.0]]), -1)
OTHER = jax.nn.log_softmax(jnp.asarray([[-1.0, 1.0, 0.5, -1.5], [0.0, 0.3, 2.0, -1.0]]), -1)
REWARDS = jnp.asarray([[0.3, 1.0, -0.4, 0.0], [0.0, 1.0, 1.0, -1.0]])  # one tie


def within_errors(found, expected, count=COUNT):
    """Whether frequencies agree with probabilities, certain ones exactly."""
    error = np.sqrt(np.asarray(expected) * (1 - np.asarray(expected)) / count)
    return np.all(np.abs(found - np.asarray(expected)) <= 5 * error + 1e-12)


# Annotators -------------------------------------------------------------------------------------

ordered = np.indices((SHAPE[0], SHAPE[1], SHAPE[1])).reshape(3, -1)
BIAS = np.asarray([0.0, 0.5, -1.0, 2.0])


@draws.compiled
def probabilities(rewards, temperature, flip, weight):
    coin = BradleyTerry(temperature)
    made = {
        "ideal": Ideal(),
        "coin": coin,
        "noisy": Noisy(coin, flip),
        "noisy ideal": Noisy(Ideal(), flip),
        "biased": Biased(coin, BIAS, weight),
        "biased by prompt": Biased(Ideal(), jnp.asarray([BIAS, -BIAS]), weight),
    }
    return {name: who.probability(rewards, *ordered).reshape(2, 4, 4) for name, who in made.items()}


@given(
    rewards=hnp.arrays(float, SHAPE, elements=st.integers(-1, 1).map(float) | st.floats(-3, 3)),
    temperature=draws.positive(0.01, 100.0),
    flip=st.floats(0.0, 0.5),
    weight=st.floats(-2.0, 2.0),
)
def test_probabilities_of_preference(rewards, temperature, flip, weight):
    found = probabilities(rewards, temperature, flip, weight)

    def gap(table):
        return table[:, :, None] - table[:, None, :]

    def coin(table):
        return 1 / (1 + np.exp(np.clip(-gap(table) / temperature, -700, 700)))

    ideal = (1 + np.sign(gap(rewards))) / 2
    seen, by_prompt = rewards + weight * BIAS, rewards + weight * np.asarray([BIAS, -BIAS])
    expected = {
        "ideal": ideal,
        "coin": coin(rewards),
        "noisy": (1 - flip) * coin(rewards) + flip * (1 - coin(rewards)),
        "noisy ideal": (1 - flip) * ideal + flip * (1 - ideal),
        "biased": coin(seen),
        "biased by prompt": (1 + np.sign(gap(by_prompt))) / 2,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-10, err_msg=name)
        both_orders = found[name] + np.swapaxes(found[name], 1, 2)
        np.testing.assert_allclose(both_orders, 1, atol=1e-10, err_msg=name)


ANNOTATORS = {
    "ideal": Ideal(),
    "coin": BradleyTerry(0.7),
    "noisy": Noisy(BradleyTerry(0.7), 0.25),
    "noisy ideal": Noisy(Ideal(), 0.1),
    "biased": Biased(BradleyTerry(0.5), BIAS, 0.3),
}
every_annotator = pytest.mark.parametrize("who", ANNOTATORS.values(), ids=ANNOTATORS)


@draws.compiled
def answers(who):
    """COUNT / 10 answers to each ordered pair, as preferences and as rankings of two."""
    prompt, first, second = (jnp.repeat(part, COUNT // 10) for part in ordered)
    preferred = who.prefer(jax.random.key(1), REWARDS, prompt, first, second)
    candidates = jnp.stack([first, second], axis=-1)
    best, worst = who.extremes(jax.random.key(2), REWARDS, prompt, candidates)
    is_other = jnp.where(best == first, worst == second, worst == first)
    shares = [part.reshape(-1, COUNT // 10).mean(-1) for part in (preferred, best == first)]
    return *shares, jnp.all(is_other), who.probability(REWARDS, *ordered)


@every_annotator
def test_answers_are_as_frequent_as_their_probabilities(who):
    preferred, ranked_first, is_other, expected = map(np.asarray, answers(who))
    differ = ordered[1] != ordered[2]
    assert within_errors(preferred, expected, COUNT // 10)
    assert within_errors(ranked_first[differ], expected[differ], COUNT // 10)
    assert is_other


def test_annotators_map_over_their_numbers():
    temperatures, flips = jnp.asarray([0.1, 1.0, 10.0]), jnp.asarray([0.0, 0.2, 0.5])

    def one(temperature, flip):
        who = Noisy(BradleyTerry(temperature), flip)
        return who.probability(REWARDS, *ordered)

    found = jax.vmap(one)(temperatures, flips)
    for row, temperature, flip in zip(found, temperatures, flips, strict=True):
        expected = one(float(temperature), float(flip))
        np.testing.assert_allclose(row, expected, atol=1e-12)


# Comparisons ------------------------------------------------------------------------------------


@draws.compiled
def both_halves(comparison, who, key):
    """COUNT pairs of each prompt."""
    prompt = jnp.repeat(jnp.arange(SHAPE[0]), COUNT)
    pairs = sampling.compare(key, comparison, who, prompt, LOG_PROBS, REWARDS)
    return pairs.chosen, pairs.rejected


def frequencies(comparison, who, seed=0):
    """How often each response was chosen and each rejected, [prompt, chosen, rejected]."""
    chosen, rejected = both_halves(comparison, who, jax.random.key(seed))
    found = np.zeros((SHAPE[0], SHAPE[1], SHAPE[1]))
    np.add.at(found, (np.repeat(np.arange(SHAPE[0]), COUNT), chosen, rejected), 1 / COUNT)
    return found


def then(first, second):
    """P(y, y') of a draw from one policy and, without y, a draw from another."""
    p, q = np.exp(first), np.exp(second)
    joint = p[:, :, None] * q[:, None, :] / (1 - q[:, :, None])
    return np.where(np.eye(SHAPE[1], dtype=bool), 0, joint)


def preferred(joint, who):
    """P(chosen, rejected) where `joint` are the two compared."""
    wins = np.asarray(who.probability(REWARDS, *ordered)).reshape(joint.shape)
    return (joint + np.swapaxes(joint, 1, 2)) * wins


DRAWN = {
    "from_policy": (FromPolicy(), then(LOG_PROBS, LOG_PROBS)),
    "from_table": (FromTable(OTHER + 3.0), then(OTHER, OTHER)),
    "mixed": (
        Mixed(OTHER, 0.3),
        sum(
            a * b * then(q, r)
            for (a, q), (b, r) in itertools.product([(0.7, LOG_PROBS), (0.3, OTHER)], repeat=2)
        ),
    ),
    "mixed, none": (Mixed(OTHER, 0.0), then(LOG_PROBS, LOG_PROBS)),
    "mixed, all": (Mixed(OTHER, 1.0), then(OTHER, OTHER)),
    "best_worst": (BestWorst(2), then(LOG_PROBS, LOG_PROBS)),
}


@pytest.mark.parametrize(("comparison", "joint"), DRAWN.values(), ids=DRAWN)
def test_pairs_are_as_frequent_as_their_probabilities(comparison, joint):
    np.testing.assert_allclose(joint.sum((1, 2)), 1, atol=1e-12)
    who = ANNOTATORS["noisy"]
    assert within_errors(frequencies(comparison, who), preferred(joint, who))


@pytest.mark.parametrize("name", ["ideal", "coin", "noisy ideal"])
def test_best_and_worst_of_three_by_enumeration(name):
    """Three draws without replacement, then the annotator's ranking: Plackett and Luce's."""
    who, expected = ANNOTATORS[name], np.zeros((SHAPE[0], SHAPE[1], SHAPE[1]))
    for x, drawn in itertools.product(range(SHAPE[0]), itertools.permutations(range(4), 3)):
        p, left = np.exp(LOG_PROBS[x]), 1.0
        chance = 1.0
        for y in drawn:
            chance *= p[y] / left
            left -= p[y]
        for ranking in itertools.permutations(drawn):
            r = np.asarray(REWARDS)[x, list(ranking)]
            if name == "coin":
                worth = np.exp(r / 0.7)
                share = worth[0] / worth.sum() * worth[1] / worth[1:].sum()
            else:
                is_sorted = np.all(np.diff(r) <= 0)
                ways = np.prod([np.sum(r == value) for value in set(r)])  # at most one tie
                share = is_sorted / ways
            expected[x, ranking[0], ranking[-1]] += chance * share
    if name == "noisy ideal":
        expected = 0.9 * expected + 0.1 * np.swapaxes(expected, 1, 2)
    np.testing.assert_allclose(expected.sum((1, 2)), 1, atol=1e-12)
    assert within_errors(frequencies(BestWorst(3), who), expected)


@draws.compiled
def few_pairs(comparison, key):
    prompt = jnp.repeat(jnp.arange(SHAPE[0]), 50)
    return sampling.compare(key, comparison, BradleyTerry(), prompt, LOG_PROBS, REWARDS)


masks = hnp.arrays(bool, SHAPE).filter(lambda mask: mask.sum(1).min() >= 2)
SOURCES = {
    "table": lambda mask: FromTable(jnp.where(mask, OTHER, -jnp.inf)),
    "mixed": lambda mask: Within(Mixed(OTHER, 0.5), mask),
    "best_worst": lambda mask: BestWorst(2, jnp.where(mask, OTHER, -jnp.inf)),
    "covering": lambda mask: Covering(Within(FromPolicy(), mask), 0.8),
    "within covering": lambda mask: Within(Covering(FromPolicy(), 0.8), mask),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@settings(max_examples=10)
@given(mask=masks, seed=st.integers(0, 2**31 - 1))
def test_what_is_barred_is_never_drawn(source, mask, seed):
    comparison = source(mask)
    comparison.check(SHAPE)
    pairs = few_pairs(comparison, jax.random.key(seed))
    support = np.asarray(comparison.support(jnp.asarray(ALL)))
    assert not np.any(support & ~mask)
    for half in (pairs.chosen, pairs.rejected):
        assert np.all(support[np.asarray(pairs.prompt), np.asarray(half)])
    assert np.all(pairs.chosen != pairs.rejected)


@given(shares=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 2**31 - 1))
def test_coverage_is_nested_and_as_large_as_said(shares, seed):
    small, large = (
        np.asarray(Covering(FromPolicy(), share, seed).support(jnp.ones((3, 10), bool)))
        for share in sorted(shares)
    )
    assert not np.any(small & ~large)
    assert np.all(small.sum(1) == max(2, np.floor(10 * min(shares) + 0.5)))


def test_coverage_maps_over_shares_and_differs_by_seed():
    space = jnp.ones((3, 10), bool)
    shares = jnp.linspace(0.2, 1.0, 5)
    found = jax.vmap(lambda share: Covering(BestWorst(3), share).support(space))(shares)
    assert found.sum((1, 2)).tolist() == [9, 12, 18, 24, 30]  # never fewer than one takes
    other = Covering(FromPolicy(), 0.5, seed=1).support(space)
    assert np.any(other != Covering(FromPolicy(), 0.5, seed=0).support(space))


# Collecting -------------------------------------------------------------------------------------


def gathered(key, world, *arguments, **others):
    """`collect`, compiled as one program rather than operation by operation."""
    return draws.compiled(
        lambda key: sampling.collect(jax.random.key(key), world, *arguments, **others)
    )(key)


WORLD = scenarios.random_rewards(jax.random.key(0), scenarios.both_on_policy())
LARGER = scenarios.build(  # three held-out prompts, two held-out responses
    np.full((8, 6), 1 / 6),
    [(x, 0, 1) for x in range(5)],
    rewards=np.random.default_rng(0).normal(size=(8, 6)),
)
HELD_OUT = np.arange(6) >= 4


def test_collected_pairs_come_in_rounds_and_hold_out_what_is_held_out():
    world, not_heldout = LARGER, Within(FromPolicy(), ~HELD_OUT)
    pairs = gathered(1, world, not_heldout, Ideal(), count=12)
    assert pairs.prompt.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    better, worse = pairs.read(world.rewards)
    assert np.all(better > worse)
    assert not np.any(HELD_OUT[pairs.chosen] | HELD_OUT[pairs.rejected])
    usual = gathered(1, world, "from_policy", "bradley_terry")
    assert len(usual) == len(world.pairs)
    elsewhere = gathered(1, world, FromPolicy(), Ideal(), count=3, prompts=[7, 2])
    assert elsewhere.prompt.tolist() == [7, 2, 7]
    again = gathered(1, world, not_heldout, Ideal(), count=12)
    jax.tree.map(np.testing.assert_array_equal, pairs, again)
    worlds_in_one = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), world)
    keys = jnp.stack([jax.random.key(1), jax.random.key(2)])
    mapped = draws.compiled(
        jax.vmap(
            lambda key, one: sampling.collect(
                key, one, not_heldout, Ideal(), count=12, prompts=np.arange(5)
            )
        )
    )(keys, worlds_in_one)
    jax.tree.map(lambda one, two: np.testing.assert_array_equal(one, two[0]), pairs, mapped)
    assert np.any(mapped.chosen[0] != mapped.chosen[1])


def test_the_present_policy_is_asked():
    """Nearly all its mass on two responses: these are compared."""
    log_probs = jax.nn.log_softmax(jnp.zeros(WORLD.shape).at[:, 3:5].set(50.0), axis=-1)
    pairs = gathered(0, WORLD, FromPolicy(), Ideal(), log_probs, count=40)
    both = np.stack([pairs.chosen, pairs.rejected])
    assert np.all(np.sort(both, axis=0) == np.asarray([[3], [4]]))
    off = gathered(0, WORLD, FromTable(WORLD.log_table), Ideal(), log_probs, count=40)
    assert len(np.unique(off.chosen)) > 3


def test_a_world_with_other_pairs_is_built_anew():
    pairs = gathered(3, WORLD, BestWorst(4), Noisy(Ideal()), count=9)
    found = sampling.with_pairs(WORLD, pairs)
    rows = zip(pairs.prompt, pairs.chosen, pairs.rejected, pairs.weight, strict=True)
    expected = scenarios.build(
        log_table=WORLD.log_table,
        pairs=[tuple(map(float, row)) for row in rows],
        rewards=WORLD.rewards,
        name=WORLD.name,
    )
    jax.tree.map(np.testing.assert_array_equal, found.pairs, pairs)
    np.testing.assert_array_equal(found.roles, expected.roles)
    np.testing.assert_array_equal(found.log_table, WORLD.log_table)
    np.testing.assert_array_equal(found.rewards, WORLD.rewards)
    assert found.name == WORLD.name


# The population ---------------------------------------------------------------------------------


@every_annotator
def test_the_population_has_both_orders_of_every_pair(who):
    world = scenarios.build(log_table=LOG_PROBS, pairs=[(0, 0, 1), (1, 0, 1)], rewards=REWARDS)
    pairs = sampling.all_pairs(world, who)
    table = np.zeros((SHAPE[0], SHAPE[1], SHAPE[1]))
    np.add.at(table, (pairs.prompt, pairs.chosen, pairs.rejected), pairs.weight)
    off_diagonal = np.broadcast_to(~np.eye(4, dtype=bool), table.shape)
    expected = np.asarray(who.probability(REWARDS, *ordered)).reshape(table.shape)
    np.testing.assert_allclose(table, np.where(off_diagonal, expected, 0), atol=1e-15)
    one = scenarios.build(log_table=LOG_PROBS, pairs=[(1, 0, 1)], rewards=REWARDS)
    np.testing.assert_array_equal(sampling.all_pairs(one, who).prompt, 1)


def test_the_population_of_temperature_one_is_that_of_the_exact_layer():
    found, expected = (
        sampling.all_pairs(WORLD, BradleyTerry(1.0)),
        exact.population_pairs(WORLD.rewards),
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-14), found, expected)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_dpo_on_the_population_converges_to_rlhfs_optimum(temperature):
    """Identity 6, trained rather than integrated; a coin of scale tau hides the scale of r."""
    beta, population = 0.5, sampling.all_pairs(WORLD, BradleyTerry(temperature))
    world = sampling.with_pairs(WORLD, population)
    run = tm.simulate(
        world, "tabular", tm.losses.DPO(beta), "sgd", learning_rate=200.0, steps=1500, record=1500
    )
    best = exact.rlhf_policy(WORLD.rewards / temperature, WORLD.log_table, beta)
    assert np.abs(run.log_probs[0] - best).max() > 1
    np.testing.assert_allclose(run.log_probs[-1], best, atol=1e-4)


# Regimes ----------------------------------------------------------------------------------------


def test_the_papers_scenarios_lie_in_four_quadrants():
    """As their names say: a half that is on-policy lies above -1 nat, one that is not below -2."""
    for name in scenarios.PAPER:
        chosen, rejected = sampling.policy_gap(scenarios.get(name))
        is_off = {"chosen": False, "rejected": False}
        for half in is_off:
            is_off[half] = name in (f"{half}_off_policy", "both_off_policy")
        for half, gaps in (("chosen", chosen), ("rejected", rejected)):
            assert np.all(gaps < -2 if is_off[half] else gaps > -1), (name, half)


@given(hnp.arrays(float, SHAPE, elements=st.floats(-5.0, 0.0)))
def test_the_policys_own_samples_have_no_gap(logits):
    """Each response once, weighted by its probability: the mean gap is zero."""
    log_probs = jax.nn.log_softmax(jnp.asarray(logits), axis=-1)
    prompt, chosen = (part.ravel() for part in np.indices(SHAPE))
    weight = np.exp(log_probs)[prompt, chosen]
    world = scenarios.build(
        log_table=log_probs,
        pairs=np.stack([prompt, chosen, (chosen + 1) % 4, weight], axis=1),
    )
    gaps, after = sampling.policy_gap(world)
    means = [np.sum(np.asarray(gaps * weight)[prompt == x]) for x in range(2)]
    np.testing.assert_allclose(means, 0, atol=1e-10)
    np.testing.assert_allclose(after, np.roll(np.reshape(gaps, SHAPE), -1, axis=1).ravel())
    elsewhere = sampling.policy_gap(world, OTHER)[0]
    usual = np.sum(np.exp(OTHER) * OTHER, axis=-1)
    np.testing.assert_allclose(elsewhere, (OTHER - usual[:, None]).ravel(), atol=1e-12)


def test_coverage_counts_responses_of_prompts_with_pairs():
    table = np.full((3, 5), 0.2)
    world = scenarios.build(table, [(0, 0, 1), (0, 1, 2), (2, 0, 1), (2, 3, 4, 0.0)])
    assert float(sampling.coverage(world)) == pytest.approx(5 / 10)
    whole = sampling.with_pairs(WORLD, sampling.all_pairs(WORLD, "bradley_terry"))
    assert float(sampling.coverage(whole)) == 1.0
    part = Covering(FromPolicy(), 0.3)
    pairs = gathered(0, WORLD, part, Ideal(), count=400)
    assert float(sampling.coverage(sampling.with_pairs(WORLD, pairs))) == pytest.approx(0.3)


# Training on fresh pairs ------------------------------------------------------------------------

DPO = tm.losses.DPO(beta=0.1)
RUN = {"optimiser": "sgd", "learning_rate": 10.0, "steps": 12, "record": 1, "progress": False}


def trained(objective, seed=(0, 1), **others):
    return tm.simulate(WORLD, "tabular", objective, **{**RUN, **others}, seed=seed)


def test_without_rounds_it_is_the_plain_loss():
    never = trained(Iterative(DPO, every=1000)).log_probs
    np.testing.assert_array_equal(never, trained(DPO).log_probs)
    some = trained(Iterative(DPO, every=5)).log_probs
    np.testing.assert_array_equal(some[:, :6], never[:, :6])
    assert np.all(np.abs(some[:, 6] - never[:, 6]).max((1, 2)) > 1e-3)
    assert np.abs(some[0, 6] - some[1, 6]).max() > 1e-3, "seeds have rounds of their own"


NESTED = Iterative(
    tm.losses.FlexDPO(0.1, 0.05),
    Covering(Within(Mixed(WORLD.log_table, 0.5), [True] * 9 + [False]), 0.7, seed=3),
    Noisy(Biased(BradleyTerry(0.5), np.arange(10.0), 0.1), 0.2),
    every=2,
)


@pytest.fixture(scope="module")
def nested_run():
    return trained(NESTED, steps=6)


@draws.compiled
def refreshed(objective, memory, log_probs, number):
    return objective.refresh(memory, WORLD, log_probs, jax.random.key(0), number)


@draws.compiled
def gradient(objective, memory, log_probs, number):
    return objective.logit_gradient(memory, WORLD, log_probs, jax.random.key(0), number)


@draws.compiled
def stepped(memory, logits):
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    slope = gradients.logits(NESTED.loss, log_probs, WORLD.log_table, memory.pairs)
    return logits - 10.0 * slope


def test_rounds_by_hand(nested_run):
    """A run of several rounds is that of fixed pairs, collected at each round by hand."""
    memory = NESTED.begin(WORLD, WORLD.log_table, jax.random.key(0))
    logits, log_probs, seen = WORLD.log_table, WORLD.log_table, []
    for number in range(6):
        memory = refreshed(NESTED, memory, log_probs, number)
        seen.append(memory.pairs)
        logits = stepped(memory, logits)
        log_probs = jax.nn.log_softmax(logits, axis=-1)
    np.testing.assert_allclose(nested_run.log_probs[0, -1], log_probs, atol=1e-10)
    jax.tree.map(np.testing.assert_array_equal, seen[0], WORLD.pairs)
    for one, two in ((0, 1), (2, 3), (4, 5)):
        jax.tree.map(np.testing.assert_array_equal, seen[one], seen[two])
    for one, two in ((1, 2), (3, 4)):
        np.testing.assert_array_equal(seen[one].prompt, seen[two].prompt)
        assert np.any(seen[one].chosen != seen[two].chosen)


def test_the_reference_moves_if_told_so():
    later = jax.nn.log_softmax(WORLD.log_table[:, ::-1] * 2, axis=-1)
    for moves, expected in ((False, WORLD.log_table), (True, later)):
        objective = Iterative(DPO, every=3, move_reference=moves)
        memory = objective.begin(WORLD, WORLD.log_table, jax.random.key(0))
        for number in (0, 2):
            before = refreshed(objective, memory, later, number)
            jax.tree.map(np.testing.assert_array_equal, before, memory)
        after = refreshed(objective, memory, later, 3)
        np.testing.assert_array_equal(after.reference, expected)


def test_online_training_raises_the_reward_and_nothing_recompiles():
    run = trained(Iterative(DPO, every=1), steps=60)
    mean = jnp.einsum("sxy,xy->s", jnp.exp(run.log_probs[:, -1]), WORLD.rewards) / 4
    before = jnp.sum(WORLD.table * WORLD.rewards) / 4
    assert np.all(mean > before + 0.1)
    compilations = simulation._advance._cache_size()
    trained(Iterative(tm.losses.DPO(beta=0.2), annotator=BradleyTerry(0.3), every=7), steps=60)
    assert simulation._advance._cache_size() == compilations


def test_mini_batches_are_of_the_round():
    objective = Iterative(DPO, every=2, batch_size=2)
    memory = objective.begin(WORLD, WORLD.log_table, jax.random.key(0))
    memory = refreshed(objective, memory, WORLD.log_table, 2)
    parts = [gradient(objective, memory, WORLD.log_table, number) for number in (2, 3)]
    whole = gradients.logits(DPO, WORLD.log_table, WORLD.log_table, memory.pairs)
    np.testing.assert_allclose(sum(parts) / 2, whole, atol=1e-12)
    assert np.abs(parts[0] - parts[1]).max() > 1e-3


SAVED = {
    "plain": Iterative(DPO),
    "nested": NESTED,
    "tables": Iterative(
        DPO,
        FromTable(WORLD.log_table),
        Biased(Ideal(), np.ones(WORLD.shape), 0.1),
        every=4,
        move_reference=True,
        batch_size=2,
    ),
    "masked": Iterative(DPO, BestWorst(3, WORLD.log_table.at[:, 0].set(-jnp.inf)), Ideal()),
}


@pytest.mark.parametrize("objective", SAVED.values(), ids=SAVED)
def test_objectives_are_described_and_rebuilt(objective):
    described = json.loads(json.dumps(objectives.REGISTRY.describe(objective)))
    rebuilt = objectives.REGISTRY.rebuild(described)
    assert jax.tree.structure(rebuilt) == jax.tree.structure(objective)
    jax.tree.map(np.testing.assert_array_equal, rebuilt, objective)


def test_runs_are_saved_and_loaded(nested_run, tmp_path):
    loaded = tm.load(nested_run.save(tmp_path / "run.zarr"))
    jax.tree.map(np.testing.assert_array_equal, loaded.loss, NESTED)
    compilations = simulation._advance._cache_size()
    again = trained(loaded.loss, steps=6)
    np.testing.assert_array_equal(again.log_probs, nested_run.log_probs)
    assert simulation._advance._cache_size() == compilations


# Refusals ---------------------------------------------------------------------------------------

KEY = jax.random.key(0)
PLAIN = scenarios.both_on_policy()


def collected(world=WORLD, comparison=FromPolicy(), annotator=Ideal(), *arguments, **others):  # noqa: B008
    return sampling.collect(KEY, world, comparison, annotator, *arguments, **others)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BradleyTerry(0), r"^BradleyTerry.temperature: got 0, .* use Ideal\(\)"),
        (lambda: BradleyTerry(-1.0), "^BradleyTerry.temperature: got"),
        (lambda: BradleyTerry(np.nan), "^BradleyTerry.temperature: got nan"),
        (lambda: Noisy(Ideal(), 0.6), "^Noisy.flip: got 0.6"),
        (lambda: Biased(Ideal(), [np.inf]), "^Biased.bias: got"),
        (lambda: FromTable([[0.0, np.nan]]), "^FromTable.log_table: got"),
        (lambda: Mixed(OTHER, 1.5), "^Mixed.share: got"),
        (lambda: BestWorst(1), "^BestWorst.n: got 1"),
        (lambda: BestWorst(2.0), "^BestWorst.n: got 2.0"),
        (lambda: Covering(FromPolicy(), 0.5, seed=0.5), "^Covering.seed: got 0.5"),
        (lambda: collected(PLAIN), "^scenario.rewards: got None.*random_rewards"),
        (lambda: sampling.all_pairs(PLAIN, Ideal()), "^scenario.rewards: got None"),
        (lambda: collected(comparison=BestWorst(11)), "^BestWorst: got '10 responses .* least 11"),
        (
            lambda: collected(comparison=Within(FromPolicy(), [True] + [False] * 9)),
            "^Within: got '1 responses",
        ),
        (lambda: collected(comparison=Within(FromPolicy(), [True])), "^Within.allowed: got"),
        (lambda: collected(comparison=FromTable(OTHER)), r"^FromTable.log_table: got 'shape \(2"),
        (lambda: collected(comparison=Mixed(OTHER)), "^Mixed.log_table: got 'shape"),
        (
            lambda: collected(annotator=Noisy(Biased(Ideal(), [1.0, 2.0]))),
            r"^Biased.bias: got 'shape \(2,\)'",
        ),
        (lambda: collected(annotator=Ideal), r"write Ideal\(\)"),
        (lambda: collected(comparison=Ideal()), "^comparison: got Ideal"),
        (lambda: collected(annotator="bradly_terry"), "did you mean 'bradley_terry'"),
        (lambda: collected(log_probs=OTHER), r"^log_probs: got 'shape \(2, 4\)'"),
        (lambda: collected(count=0), "^count: got 0"),
        (lambda: collected(prompts=[4]), r"^prompts: got \[4\]"),
        (
            lambda: jax.vmap(lambda one: collected(one))(
                jax.tree.map(lambda leaf: leaf[None], WORLD)
            ),
            "^prompts: got None.* traced",
        ),
        (
            lambda: jax.jit(lambda pairs: sampling.with_pairs(WORLD, pairs).roles)(WORLD.pairs),
            "^pairs: got traced",
        ),
        (lambda: tm.simulate(PLAIN, "tabular", Iterative(DPO), **RUN), "^scenario.rewards: got"),
        (lambda: trained(Iterative(DPO, every=1.5)), "^Iterative.every: got 1.5"),
        (lambda: trained(Iterative(DPO, every=0)), "^Iterative.every: got 0"),
        (lambda: trained(Iterative(DPO, batch_size=5)), "^Iterative.batch_size: got 5"),
        (lambda: trained(Iterative(DPO, BestWorst(11))), "^BestWorst: got"),
        (lambda: trained(Iterative(DPO, Ideal())), "^Iterative.comparison: got Ideal"),
        (lambda: trained(Iterative(DPO), batch_size=2), "^batch_size: got 2"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_loss_that_joins_pairs_takes_no_weights():
    pairs = dataclasses.replace(WORLD.pairs, weight=jnp.arange(1.0, 5.0))
    with pytest.raises(InputError, match=r"^scenario.pairs.weight: got"):
        Iterative(tm.losses.get("aot_unpaired")).check(dataclasses.replace(WORLD, pairs=pairs))
