"""The paper's four worlds exactly, worlds that are built, and the role of every response."""

import dataclasses

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import assume, given

from toymodel import scenarios
from toymodel.scenarios import Role, build

LETTERS = dict(zip("CRcru", Role, strict=True))  # Own Chosen, Rejected; others' c, r; unseen


def roles_of(*rows):
    """Roles from a picture: a string for each prompt, a letter for each response."""
    return [[LETTERS[letter] for letter in row] for row in rows]


def uniform(prompts, responses):
    return np.full((prompts, responses), 1 / responses)


# The paper's worlds -----------------------------------------------------------------------------

PAPER = {
    "both_on_policy": [0.12] * 4 + [0.12] * 4 + [0.03, 0.01],
    "chosen_off_policy": [0.02] * 4 + [0.12] * 4 + [0.40, 0.04],
    "rejected_off_policy": [0.12] * 4 + [0.02] * 4 + [0.40, 0.04],
    "both_off_policy": [0.02] * 4 + [0.02] * 4 + [0.80, 0.04],
}
paper_worlds = pytest.mark.parametrize("name", PAPER)


def test_names():
    assert scenarios.names() == list(PAPER)


@paper_worlds
def test_paper_table(name):
    world = scenarios.get(name)
    assert (world.name, world.shape) == (name, (4, 10))
    np.testing.assert_allclose(world.table, [PAPER[name]] * 4, rtol=1e-14)


@paper_worlds
def test_paper_table_in_float32(name, float32):
    world = scenarios.get(name)
    assert world.log_table.dtype == world.pairs.weight.dtype == np.float32
    np.testing.assert_allclose(world.table, [PAPER[name]] * 4, rtol=1e-6)


@paper_worlds
def test_paper_pairs_and_roles(name):
    world = scenarios.get(name)
    pairs = np.stack([world.pairs.prompt, world.pairs.chosen, world.pairs.rejected], axis=1)
    assert pairs.tolist() == [[0, 0, 4], [1, 1, 6], [2, 2, 7], [3, 3, 5]]
    assert world.pairs.weight.tolist() == [1.0] * 4
    assert world.roles.tolist() == roles_of("CcccRrrruu", "cCccrrRruu", "ccCcrrrRuu", "cccCrRrruu")


# Built worlds -----------------------------------------------------------------------------------

BUILT = {  # pairs among three prompts and four responses -> roles
    "one pair": ([(0, 0, 1)], ("CRuu", "cruu", "cruu")),
    "two pairs share their chosen": ([(0, 0, 1), (0, 0, 2)], ("CRRu", "crru", "crru")),
    "chosen outweighs rejected": ([(0, 0, 1, 1), (0, 1, 2, 3)], ("CCRu", "ccru", "ccru")),
    "rejected outweighs chosen": ([(0, 0, 1, 3), (0, 1, 2, 1)], ("CRRu", "crru", "crru")),
    "weights add up": ([(0, 0, 1, 2), (0, 0, 1, 2), (0, 1, 2, 3)], ("CRRu", "crru", "crru")),
    "a tie is chosen": ([(0, 0, 1), (0, 1, 2)], ("CCRu", "ccru", "ccru")),
    "own pairs come first": ([(0, 0, 1), (1, 1, 0, 9)], ("CRuu", "RCuu", "rcuu")),
    "others' by weight": ([(0, 0, 1, 1), (1, 1, 2, 3)], ("CRru", "cCRu", "ccru")),
    "others' tie is chosen": ([(0, 0, 1), (1, 1, 0)], ("CRuu", "RCuu", "ccuu")),
    "weight zero counts as data": ([(0, 0, 1, 0), (1, 2, 3)], ("CRcr", "crCR", "crcr")),
}


@pytest.mark.parametrize(("pairs", "expected"), BUILT.values(), ids=BUILT)
def test_roles(pairs, expected):
    assert build(uniform(3, 4), pairs).roles.tolist() == roles_of(*expected)


def role_by_brute_force(pairs, prompt, response):
    """The rule in words: own pairs vote first, then other prompts'; a tie is chosen if ever so."""

    def votes(is_own):
        return [
            (+weight if response == chosen else -weight, response == chosen)
            for at, chosen, rejected, weight in pairs
            if (at == prompt) == is_own and response in (chosen, rejected)
        ]

    own, others = votes(True), votes(False)
    if not own and not others:
        return Role.UNSEEN
    total = sum(weight for weight, _ in own or others)
    ever_chosen = any(chosen for _, chosen in own or others)
    is_chosen = total > 0 or (total == 0 and ever_chosen)
    if own:
        return Role.OWN_CHOSEN if is_chosen else Role.OWN_REJECTED
    return Role.OTHER_CHOSEN if is_chosen else Role.OTHER_REJECTED


@st.composite
def pair_lists(draw):
    prompts, responses = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    responses_of_pair = st.permutations(range(responses)).map(lambda order: tuple(order[:2]))
    weight = st.sampled_from([0.0, 0.5, 1.0, 2.0])  # sums are exact, so that ties are ties
    pair = st.tuples(st.integers(0, prompts - 1), responses_of_pair, weight)
    pairs = [(x, *both, w) for x, both, w in draw(st.lists(pair, min_size=1, max_size=6))]
    assume(any(w > 0 for *_, w in pairs))
    return prompts, responses, pairs


@given(pair_lists())
def test_roles_by_brute_force(drawn):
    prompts, responses, pairs = drawn
    roles = build(uniform(prompts, responses), pairs).roles
    expected = [
        [role_by_brute_force(pairs, x, y) for y in range(responses)] for x in range(prompts)
    ]
    assert roles.tolist() == expected


def test_weights_are_kept_and_one_where_left_out():
    world = build(uniform(1, 3), [(0, 0, 1), (0, 0, 2, 2.5), (0, 1, 2, 0)])
    assert world.pairs.weight.tolist() == [1.0, 2.5, 0.0]
    np.testing.assert_allclose(world.pairs.share, [1 / 3.5, 2.5 / 3.5, 0.0])


def test_log_table_reaches_far_below_floating_point():
    row = [np.log(0.75), np.log(0.25), -1e3, -1e4]
    world = build(log_table=[row], pairs=[(0, 0, 3)])
    np.testing.assert_allclose(world.log_table, [row], rtol=1e-15)
    np.testing.assert_array_equal(world.table[0, 2:], 0.0)


def test_rows_are_normalised_within_their_tolerance():
    world = build([[0.5, 0.5 + 9e-7]], [(0, 0, 1)])
    np.testing.assert_allclose(np.sum(world.table, axis=1), 1.0, rtol=1e-15)


def test_the_name_is_for_people_only():
    world = build(uniform(1, 2), [(0, 0, 1)], name="mine")
    assert world.name == "mine"
    other = dataclasses.replace(world, name="yours")
    assert jax.tree.structure(world) == jax.tree.structure(other)


def test_get_hands_a_scenario_through():
    world = build(uniform(1, 2), [(0, 0, 1)])
    assert scenarios.get(world) is world


def test_role_masks_are_one_hot():
    world = scenarios.both_on_policy()
    masks = scenarios.role_masks(world.roles)
    np.testing.assert_array_equal(masks.argmax(-1), world.roles)
    np.testing.assert_array_equal(masks.sum(-1), 1)


@pytest.mark.parametrize("role", Role)
def test_every_role_has_a_title(role):
    assert role.title
