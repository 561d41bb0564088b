"""Worlds of the explorer's menu: the paper's four, a prompt alone, token sequences, one's own."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from toymodel import scenarios, sequences
from toymodel._errors import unknown
from toymodel.policies import Autoregressive
from toymodel.scenarios import Scenario

_ALONE = ([[0.12] * 8 + [0.03, 0.01]], [(0, 0, 4)])


@dataclasses.dataclass(frozen=True, eq=False)
class World:
    """A scenario and the Python that makes it, given ``import toymodel as tm``.

    Args:
        name: in the menu.
        code: the expression that stands where `toymodel.simulate` takes a scenario.
        setup: lines before it.
        make: makes the scenario.
    """

    name: str
    code: str
    setup: str
    make: Callable[[], Scenario]

    @functools.cached_property
    def scenario(self) -> Scenario:
        """The scenario, made when it is first asked for: no arrays at import, in no precision."""
        return self.make()


def _overlapping(prefix: int) -> Scenario:
    policy = Autoregressive()
    table = policy.log_probs(policy.init(jax.random.key(0), (4, 256)))
    return sequences.overlapping_pairs(jax.random.key(1), prefix=prefix, log_table=table)


def _overlapping_code(prefix: int) -> str:
    return (
        "import jax\n"
        "policy = tm.Autoregressive()\n"
        "table = policy.log_probs(policy.init(jax.random.key(0), (4, 256)))\n"
        "world = tm.sequences.overlapping_pairs("
        f"jax.random.key(1), prefix={prefix}, log_table=table)\n"
    )


#: What the menu holds besides the scenarios that have a name: lines that make it, and what they do.
_OTHERS: dict[str, tuple[str, Callable[[], Scenario]]] = {
    "one prompt alone": (
        f"world = tm.scenarios.build({_ALONE[0]}, {_ALONE[1]})\n",
        lambda: scenarios.build(*_ALONE),
    ),
    "tokens, none shared": (_overlapping_code(0), lambda: _overlapping(0)),
    "tokens, a prefix shared": (_overlapping_code(3), lambda: _overlapping(3)),
}


def names() -> list[str]:
    """The worlds that `get` knows, in the menu's order."""
    return [*scenarios.names(), *_OTHERS]


def get(world: str | Scenario) -> World:
    """A world by name, or around a scenario of one's own.

    Args:
        world: one of `names()`, or a `Scenario`.

    Raises:
        InputError: an unknown name; the nearest is suggested.

    Example:
        >>> get("both_on_policy").code
        '"both_on_policy"'
        >>> get("one prompt alone").scenario.shape
        (1, 10)
    """
    if isinstance(world, Scenario):
        return World(world.name, "world", f"world = {_code(world)}\n", lambda: world)
    if world in _OTHERS:
        setup, make = _OTHERS[world]
        return World(world, "world", setup, make)
    if world not in scenarios.names():
        raise unknown("scenario", world, names())
    return World(world, f'"{world}"', "", functools.partial(scenarios.get, world))


def _code(scenario: Scenario) -> str:
    """The call of `build` that makes this scenario, to the last digit."""
    pairs = scenario.pairs
    columns = (pairs.prompt, pairs.chosen, pairs.rejected, pairs.weight)
    rows = list(zip(*(np.asarray(column).tolist() for column in columns), strict=True))
    table = np.asarray(scenario.log_table).tolist()
    rewards = scenario.rewards
    known = "" if rewards is None else f", rewards={np.asarray(rewards).tolist()}"
    return f"tm.scenarios.build(log_table={table}, pairs={rows}{known}, name={scenario.name!r})"
