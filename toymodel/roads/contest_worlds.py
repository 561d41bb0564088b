"""The contest's worlds and data: the same prompts under more labels, noise, or other sources."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from toymodel import sampling, worlds
from toymodel._typing import TableArray
from toymodel.scenarios import Pairs, Scenario
from toymodel.worlds import World

#: Of a world: 32 prompts with labels, 32 held out.
SIZES: Mapping[str, Any] = {
    **{"prompts": 32, "heldout_prompts": 32, "shifted_prompts": 0},
    **{"responses": 12, "heldout_responses": 0, "features": 4},
}
MOST = 512  # labelled pairs
ROUNDS = 4  # of iterative DPO, which spend the same number of labels


@dataclasses.dataclass(frozen=True)
class Condition:
    """What the labelled data are.

    Args:
        pairs: how many, a multiple of `ROUNDS`.
        flip: share of labels swapped at random, on top of Bradley and Terry's coin.
        off_policy: share of responses that another policy wrote.
    """

    pairs: int = 128
    flip: float = 0.0
    off_policy: float = 0.0


TEMPERATURE = 0.5  # of the annotators' coin; true rewards have standard deviation 1
#: Name -> data. The first is the base; each other changes one thing.
CONDITIONS: Mapping[str, Condition] = {
    "base": Condition(),
    "32 pairs": Condition(pairs=32),
    "512 pairs": Condition(pairs=MOST),
    "20 % swapped": Condition(flip=0.2),
    "40 % swapped": Condition(flip=0.4),
    "half off-policy": Condition(off_policy=0.5),
    "all off-policy": Condition(off_policy=1.0),
}


class Data(NamedTuple):
    """A world under one condition; several lead by axes [world, condition]."""

    scenario: Scenario  # all labels; those beyond the condition's number have weight zero
    first_round: Scenario  # the same with a quarter of the labels
    annotator: sampling.Annotator  # who labels further rounds
    heldout: Pairs  # pairs of held-out prompts in their true order


def make(seeds: Sequence[int]) -> tuple[World, Data]:
    """Worlds of some seeds, [world], and their data, [world, condition]."""
    made = [worlds.generate(jax.random.key(seed), **SIZES, pairs=1) for seed in seeds]
    stacked: World = jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds) + 1_000_000)
    each = [_under(stacked, keys, *pair) for pair in enumerate(CONDITIONS.values())]
    return stacked, jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *each)


def _under(world: World, keys: jax.Array, number: int, condition: Condition) -> Data:
    """One condition in every world, [world]."""
    annotator = sampling.Noisy(sampling.BradleyTerry(TEMPERATURE), condition.flip)
    draw = functools.partial(_collect, condition.off_policy, annotator)
    pairs = draw(world, jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number))
    whole, first = (
        _with_weights(world.scenario, pairs, count)
        for count in (condition.pairs, condition.pairs // ROUNDS)
    )
    spread = jax.tree.map(lambda leaf: jnp.full(len(keys), leaf), annotator)
    return Data(whole, first, spread, world.evaluation.pairs)


@jax.jit
def _collect(
    off_policy: jax.Array, annotator: sampling.Annotator, world: World, keys: jax.Array
) -> Pairs:
    """`MOST` labelled pairs in every world, in rounds over its training prompts."""

    def one(world: World, key: jax.Array) -> Pairs:
        mine, theirs = jax.random.split(key)
        other = _another_policy(theirs, world)
        order = np.arange(SIZES["prompts"])
        comparison = sampling.Mixed(other, off_policy)
        pairs: Pairs = sampling.collect(
            mine, world.scenario, comparison, annotator, count=MOST, prompts=order
        )
        return pairs

    return jax.vmap(one)(world, keys)


def _another_policy(key: jax.Array, world: World) -> TableArray:
    """A policy as peaked as the initial one, in another random direction of the features."""
    features = world.prompt_features, world.response_features
    size = features[0].shape[-1]
    mixing = jax.random.normal(key, (size, size)) / size
    table: TableArray = jax.nn.log_softmax(features[0] @ mixing @ features[1].T, axis=-1)
    return table


def _with_weights(scenario: Scenario, pairs: Pairs, count: int) -> Scenario:
    """The worlds with the first `count` pairs, [world]; roles follow from these alone."""
    weight = jnp.broadcast_to(jnp.arange(MOST) < count, pairs.weight.shape)
    weight = weight.astype(pairs.weight.dtype)
    kept = jax.tree.map(lambda leaf: np.asarray(leaf[:, :count]), pairs)
    roles = []
    for row in range(len(pairs.weight)):
        alone = jax.tree.map(lambda leaf, row=row: leaf[row], (scenario, kept))
        roles.append(np.asarray(sampling.with_pairs(*alone).roles))
    return dataclasses.replace(
        scenario,
        pairs=dataclasses.replace(pairs, weight=weight),
        roles=jnp.asarray(np.stack(roles)),
    )
