"""Do the three properties survive one epoch over many pairs? Few pairs often against many once.

Same number of updates, same batches, same rates; only the number of different pairs varies. Worlds
have features, so prompts without pairs can be measured too. ``docs/why/epoch.md`` has the answer.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import worlds
from toymodel.losses import DPO
from toymodel.policies import MLP, Policy, Tabular
from toymodel.why.epoch_runs import MEASURED, schedule, trace
from toymodel.worlds import Split, World

#: The worlds: a seed each.
SIZES = {
    **{"prompts": 256, "responses": 12, "features": 6, "heldout_prompts": 32},
    **{"shifted_prompts": 32, "heldout_responses": 2},
}
BATCH, UPDATES, EVERY = 4, 64, 4
#: Different pairs: each is seen in 64, 8 and 1 epochs.
PAIRS = (4, 32, 256)
BETA = 0.1
_STEPS = (1.0, 3.0, 10.0, 30.0, 100.0)
#: Learning rates, stated before anything was run; all are shown.
RATES: Mapping[str, tuple[float, ...]] = {
    "adam": tuple(1e-3 * step for step in _STEPS),
    "sgd": tuple(1.0 * step for step in _STEPS),
}


def _perceptron(world: World) -> Policy:
    return worlds.mlp(world, MLP(hidden=(32,)))


def _tabular(world: World) -> Policy:
    del world
    return Tabular()


POLICIES: Mapping[str, Callable[[World], Policy]] = {
    "feature MLP": _perceptron,
    "log-linear": worlds.loglinear,
    "tabular": _tabular,
}


def compute(seeds: int) -> xr.Dataset:
    """`MEASURED` over policies, optimisers, numbers of pairs, rates and splits; a world a seed."""
    made = [worlds.generate(jax.random.key(seed), **SIZES) for seed in range(seeds)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
    roles = jnp.stack(
        [jnp.stack([w.with_pairs(count).scenario.roles for count in PAIRS]) for w in made]
    )
    orders = [[schedule(count, BATCH, UPDATES, seed) for count in PAIRS] for seed in range(seeds)]
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    dims = ("seed", "pairs", "rate")
    places = {
        "seed": np.arange(seeds),
        "pairs": list(PAIRS),
        "rate": list(_STEPS),
        "step": EVERY * np.arange(UPDATES // EVERY + 1),
        "split": [split.title for split in Split],
    }
    by_policy = []
    for make in POLICIES.values():
        by_optimiser = []
        for optimiser, rates in RATES.items():
            found = trace(
                *(stacked, roles, jnp.asarray(orders), jnp.asarray(rates), keys),
                make=make,
                loss=DPO(beta=BETA),
                optimiser=optimiser,
                every=EVERY,
            )
            columns = {name: ((*dims, "split"), np.asarray(found[name])) for name in MEASURED} | {
                name: ((*dims, "step", "split"), np.asarray(found[name]))
                for name in ("chosen", "rejected")
            }
            by_optimiser.append(xr.Dataset(columns, places))
        by_policy.append(xr.concat(by_optimiser, xr.Variable("optimiser", list(RATES))))
    joined: xr.Dataset = xr.concat(by_policy, xr.Variable("policy", list(POLICIES)))
    return joined
