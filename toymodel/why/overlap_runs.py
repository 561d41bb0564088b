"""Training for the study of overlap: many worlds at once, read token by token and by distance."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import optimisers, training
from toymodel.losses import DPO
from toymodel.policies import Autoregressive
from toymodel.policies.tokenwise import Tokenwise
from toymodel.scenarios import Scenario
from toymodel.sequences import (
    Sequences,
    TokenKind,
    by_kind,
    ches,
    kinds,
    mass_by_distance,
    overlapping_pairs,
    pair_token_log_probs,
)

SPACE = Sequences(vocabulary=4, length=4)
STEPS, EVERY = 600, 10
_LOSS = DPO(beta=0.1)
_TEACHER = Autoregressive(SPACE.vocabulary, SPACE.length)


def worlds(seeds: int, prompts: int, prefix: int, shared: int) -> Scenario:
    """A world for each seed, in one; the seed alone decides the table and the chosen."""

    def one(seed: int) -> Scenario:
        draw_table, draw_pairs = jax.random.split(jax.random.key(seed))
        table = _TEACHER.log_probs(_TEACHER.init(draw_table, (prompts, SPACE.size)))
        return overlapping_pairs(
            draw_pairs, SPACE, prompts=prompts, prefix=prefix, shared=shared, log_table=table
        )

    made: Scenario = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(one, range(seeds)))
    return made


@jax.jit
def _trained(world: Scenario, policy: Tokenwise, method: Any, seeds: jax.Array) -> dict[str, Any]:
    """What each seed's run shows; the first axis is the seed."""

    def one(world: Scenario, seed: jax.Array) -> dict[str, Any]:
        key, pairs = jax.random.key(seed), world.pairs
        params, reference, _ = training.start(world, policy, key)
        kind = kinds(SPACE, pairs)

        def read(log_probs: jax.Array) -> tuple[jax.Array, jax.Array]:
            chosen, rejected = pair_token_log_probs(SPACE, log_probs, pairs)
            return by_kind(chosen, kind), jnp.sum(rejected, axis=-1)

        def step(number: jax.Array, state: Any) -> Any:
            return training.update(
                *(world, policy, _LOSS, method, reference, key, number, state), batch_size=None
            )

        def segment(state: Any, _: None) -> Any:
            state = jax.lax.fori_loop(0, EVERY, step, state)
            return state, read(policy.log_probs(state[0]))

        first = read(reference)
        state, later = jax.lax.scan(
            segment, (params, method.build().init(params)), None, length=STEPS // EVERY
        )
        by_part, rejected = jax.tree.map(
            lambda start, rest: jnp.concatenate([start[None], rest]), first, later
        )
        ends = jnp.stack([reference, policy.log_probs(state[0])])
        found = {"chosen": by_part, "rejected": rejected}
        for half in ("chosen", "rejected"):
            to = getattr(pairs, half)
            found[f"distance_{half}"] = mass_by_distance(SPACE, ends, pairs.prompt, to)
        if isinstance(policy, Autoregressive):
            hidden = policy.hidden(params)
            found["ches"] = ches(
                hidden[pairs.prompt, pairs.chosen], hidden[pairs.prompt, pairs.rejected]
            )
        return found

    return jax.vmap(one)(world, seeds)


_DIMS: dict[str, Sequence[str]] = {
    "chosen": ("seed", "step", "pair", "kind"),
    "rejected": ("seed", "step", "pair"),
    "distance_chosen": ("seed", "when", "pair", "distance"),
    "distance_rejected": ("seed", "when", "pair", "distance"),
    "ches": ("seed", "pair"),
}


def trained(world: Scenario, policy: Tokenwise, optimiser: str, rate: float) -> xr.Dataset:
    """Train a policy on a world for each seed.

    Args:
        world: of `worlds`.
        policy: the policy's form.
        optimiser: its name.
        rate: its learning rate.

    Returns:
        log pi of the chosen by kind of token and of the rejected, both over training (nats); the
        mass by edit distance from either half, before and after; CHES at the start.
    """
    seeds = jnp.arange(world.log_table.shape[0])
    found = _trained(world, policy, optimisers.get(optimiser, rate), seeds)
    data = {name: (_DIMS[name], np.asarray(values)) for name, values in found.items()}
    return xr.Dataset(
        data,
        {
            "seed": np.asarray(seeds),
            "step": np.arange(0, STEPS + 1, EVERY),
            "kind": [kind.title for kind in TokenKind],
            "when": ["before", "after"],
        },
    )
