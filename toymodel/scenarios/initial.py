"""The same world from another initial policy."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from toymodel._errors import refuse
from toymodel._typing import Scalar
from toymodel.scenarios.world import Role, Scenario


def with_initial(
    scenario: Scenario, *, chosen: Scalar | None = None, rejected: Scalar | None = None
) -> Scenario:
    r"""The same pairs, with another initial probability of every response that is in the data.

    Responses chosen for any prompt get probability `chosen`, those rejected for any prompt get
    `rejected`; the others are scaled to what is left. Numbers may be traced.

    Args:
        scenario: the world.
        chosen: initial probability of each chosen response; default: as it is, scaled with the
            others.
        rejected: the same of each rejected response.

    Raises:
        InputError: nothing is left for the other responses, or there are none. (Numbers that are
            traced make a table of NaN instead.)

    Example:
        >>> from toymodel.scenarios import both_on_policy
        >>> world = with_initial(both_on_policy(), chosen=0.05)
        >>> [round(float(p), 3) for p in world.table[0, [0, 4, 8]]]
        [0.05, 0.185, 0.046]
    """
    given = {
        (Role.OWN_CHOSEN, Role.OTHER_CHOSEN): chosen,
        (Role.OWN_REJECTED, Role.OTHER_REJECTED): rejected,
    }
    is_set, log_table = jnp.zeros(scenario.shape, bool), scenario.log_table
    for roles, value in given.items():
        if value is not None:
            is_its = (scenario.roles == roles[0]) | (scenario.roles == roles[1])
            log_table = jnp.where(is_its, jnp.log(value), log_table)
            is_set = is_set | is_its
    taken = jnp.sum(jnp.where(is_set, jnp.exp(log_table), 0), axis=-1, keepdims=True)
    rest = logsumexp(log_table, axis=-1, keepdims=True, b=jnp.where(is_set, 0.0, 1.0))
    moved = jnp.where(is_set, log_table, log_table - rest + jnp.log1p(-taken))
    if not isinstance(moved, jax.core.Tracer) and not bool(jnp.all(jnp.isfinite(moved))):
        left = float(1 - jnp.max(taken))
        raise refuse(
            "chosen, rejected",
            (chosen, rejected),
            "probabilities > 0 that leave some for the other responses",
            f"{left:.3g} is left now",
        )
    return dataclasses.replace(scenario, log_table=moved)
