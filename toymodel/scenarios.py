"""The world: prompts, responses, the initial table, preference pairs and each response's role.

Four scenarios come from the paper, named by content (which half of a pair the initial policy is
likely to produce itself: "on-policy"); `build` makes any other.
"""

import enum
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from toymodel._errors import InputError, refuse
from toymodel._registry import Registry
from toymodel._struct import label, number, struct
from toymodel._typing import ArrayLike, PairArray, Scalar, TableArray

_ROW_SUM_TOLERANCE = 1e-6


class Role(enum.IntEnum):
    """What a response is to a prompt."""

    OWN_CHOSEN = 0
    OWN_REJECTED = 1
    OTHER_CHOSEN = 2
    OTHER_REJECTED = 3
    UNSEEN = 4

    @property
    def title(self) -> str:
        """The role in words, for legends and tables."""
        return _ROLE_TITLES[self]


_ROLE_TITLES = {
    Role.OWN_CHOSEN: "own chosen",
    Role.OWN_REJECTED: "own rejected",
    Role.OTHER_CHOSEN: "another prompt's chosen",
    Role.OTHER_REJECTED: "another prompt's rejected",
    Role.UNSEEN: "never in the data",
}


@struct(eq=False)
class Pairs:
    """Preference pairs: for a prompt, a chosen and a rejected response, with a weight."""

    prompt: PairArray = number(doc="index of the prompt, [pair]")
    chosen: PairArray = number(doc="index of the chosen response, [pair]")
    rejected: PairArray = number(doc="index of the rejected response, [pair]")
    weight: PairArray = number(doc="weight in the mean over pairs, [pair]", at_least=0)

    def __len__(self) -> int:
        return int(self.prompt.shape[0])

    @property
    def share(self) -> PairArray:
        """Each pair's share of the mean, [pair]; zero if no pair (of a mini-batch) has weight."""
        total = jnp.sum(self.weight)
        return self.weight / jnp.where(total > 0, total, 1)

    def read(self, table: TableArray) -> tuple[PairArray, PairArray]:
        """A table's entries at the chosen and at the rejected responses, each [pair]."""
        return table[self.prompt, self.chosen], table[self.prompt, self.rejected]

    def mean(self, values: PairArray) -> Scalar:
        """The weighted mean of one number a pair."""
        return jnp.sum(self.share * values)

    def spread(self, like: TableArray, chosen: PairArray, rejected: PairArray) -> TableArray:
        """Derivatives of a mean over pairs as a table: the transpose of `read`, times the shares.

        Args:
            like: a table of the wanted shape, [prompt, response].
            chosen: what to add at each chosen response, [pair].
            rejected: what to add at each rejected response, [pair].
        """
        table = jnp.zeros_like(like).at[self.prompt, self.chosen].add(self.share * chosen)
        return table.at[self.prompt, self.rejected].add(self.share * rejected)


@struct(eq=False)
class Scenario:
    """A world to run in. Make one with `build`, or take one of the paper's four."""

    log_table: TableArray = number(doc="initial log-probabilities (nats), [prompt, response]")
    pairs: Pairs = number(doc="the preference pairs")
    roles: TableArray = number(doc="`Role` of each response to each prompt, [prompt, response]")
    name: str = label(default="custom", doc="the scenario's name, for legends and files")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of prompts and of responses."""
        prompts, responses = self.log_table.shape
        return prompts, responses

    @property
    def table(self) -> TableArray:
        """The initial probabilities, [prompt, response]: to show, not to compute with."""
        return jnp.exp(self.log_table)


def build(
    table: ArrayLike | None = None,
    pairs: Iterable[Sequence[float]] = (),
    *,
    log_table: ArrayLike | None = None,
    name: str = "custom",
) -> Scenario:
    """A scenario of any size from an initial table and preference pairs.

    Args:
        table: initial probabilities, [prompt, response]; each row positive and summing to one.
        pairs: tuples (prompt, chosen, rejected) or (prompt, chosen, rejected, weight); indices
            from 0, weights >= 0 and 1 where left out.
        log_table: the table as log-probabilities instead, for entries too small for `table`.
        name: for legends and files.

    Returns:
        The scenario, with every response's `Role` derived from the pairs. A response that is both
        chosen and rejected for the same prompt counts by which of the two has the greater weight
        (chosen on a tie).

    Raises:
        InputError: a table that is no distribution, indices out of range, a pair whose chosen and
            rejected response are the same, no pairs, or no pair with a positive weight.

    Example:
        >>> world = build([[0.5, 0.3, 0.2]], [(0, 0, 1)])
        >>> world.shape, [Role(int(k)).title for k in world.roles[0]]
        ((1, 3), ['own chosen', 'own rejected', 'never in the data'])
    """
    checked = _checked_log_table(table, log_table)
    rows = _checked_pairs(pairs, checked.shape)
    return Scenario(
        log_table=jnp.asarray(checked, float),
        pairs=Pairs(
            prompt=jnp.asarray(rows[:, 0], int),
            chosen=jnp.asarray(rows[:, 1], int),
            rejected=jnp.asarray(rows[:, 2], int),
            weight=jnp.asarray(rows[:, 3], float),
        ),
        roles=jnp.asarray(_roles(rows, checked.shape), int),
        name=name,
    )


def _checked_log_table(table: ArrayLike | None, log_table: ArrayLike | None) -> np.ndarray:
    if (table is None) == (log_table is None):
        given = "neither" if table is None else "both"
        raise refuse("table, log_table", given, "exactly one of the two")
    argument = "log_table" if table is None else "table"
    values = _numbers(argument, log_table if table is None else table, "[prompt, response]")
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise refuse(
            argument, f"shape {values.shape}", "[prompt, response], two responses at least"
        )
    if table is not None:
        for bad, what in ((np.isnan(values), "NaN"), (values < 0, "a negative probability")):
            if bad.any():
                prompt, response = np.argwhere(bad)[0]
                raise refuse(
                    f"{argument}[{prompt}, {response}]",
                    values[prompt, response].item(),
                    f"a probability > 0, not {what}",
                )
        if (values == 0).any():
            prompt, response = np.argwhere(values == 0)[0]
            raise refuse(
                f"{argument}[{prompt}, {response}]",
                0.0,
                "a probability > 0, since a softmax policy gives every response some",
                "use a small number such as 1e-12, or pass log_table",
            )
        values = np.log(values)
    if not np.all(np.isfinite(values)):
        prompt, response = np.argwhere(~np.isfinite(values))[0]
        raise refuse(
            f"{argument}[{prompt}, {response}]",
            values[prompt, response].item(),
            "a finite log-probability",
        )
    log_sums = np.logaddexp.reduce(values, axis=1)
    if np.any(np.abs(log_sums) > _ROW_SUM_TOLERANCE):
        row = int(np.argmax(np.abs(log_sums)))
        raise refuse(
            f"{argument}[{row}]",
            f"a row summing to {np.exp(min(log_sums[row], 100.0)):.6g}",
            f"a row summing to 1 (within {_ROW_SUM_TOLERANCE:g})",
            "divide the row by its sum",
        )
    return np.asarray(values - log_sums[:, None])


def _numbers(argument: str, given: Any, form: str) -> np.ndarray:
    try:
        return np.asarray(given, float)
    except (TypeError, ValueError):
        raise refuse(argument, given, f"numbers, {form}") from None


def _checked_pairs(pairs: Iterable[Sequence[float]], shape: tuple[int, ...]) -> np.ndarray:
    rows = list(pairs) if isinstance(pairs, Iterable) else []
    if not rows:
        raise refuse("pairs", pairs, "at least one (prompt, chosen, rejected)")
    form = "(prompt, chosen, rejected) or the three and a weight"
    checked = []
    for index, row in enumerate(rows):
        where = f"pairs[{index}]"
        values = _numbers(where, row, form)
        if values.shape not in ((3,), (4,)):
            raise refuse(where, row, form)
        sizes = {"prompt": shape[0], "chosen": shape[1], "rejected": shape[1]}
        for (what, size), value, given in zip(sizes.items(), values, row, strict=False):
            if not (value.is_integer() and 0 <= value < size):
                raise refuse(f"{where}.{what}", given, f"a whole number from 0 to {size - 1}")
        prompt, chosen, rejected, weight = (*values.tolist(), 1.0)[:4]
        if chosen == rejected:
            raise refuse(where, row, "a chosen response different from the rejected one")
        if not (np.isfinite(weight) and weight >= 0):
            raise refuse(f"{where}.weight", weight, "a finite number >= 0")
        checked.append((prompt, chosen, rejected, weight))
    result = np.asarray(checked, float)
    if result[:, 3].sum() <= 0:
        raise refuse("pairs", "weights that are all 0", "at least one positive weight")
    return result


def _roles(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Roles by net weight: own pairs first, then other prompts' pairs, else unseen."""
    net, chosen, appears = np.zeros((3, *shape))
    for prompt, y_chosen, y_rejected, weight in rows:
        x, y, z = int(prompt), int(y_chosen), int(y_rejected)
        net[x, y] += weight
        net[x, z] -= weight
        chosen[x, y] = appears[x, y] = appears[x, z] = 1

    def by_weight(net: np.ndarray, chosen: np.ndarray, if_chosen: Role, if_not: Role) -> np.ndarray:
        return np.where((net > 0) | ((net == 0) & (chosen > 0)), if_chosen, if_not)

    own = by_weight(net, chosen, Role.OWN_CHOSEN, Role.OWN_REJECTED)
    others = by_weight(net.sum(0), chosen.sum(0), Role.OTHER_CHOSEN, Role.OTHER_REJECTED)
    elsewhere = np.where(appears.any(0), others, Role.UNSEEN)
    return np.asarray(np.where(appears > 0, own, elsewhere))


#: All scenarios that have a name.
REGISTRY: Registry[Any] = Registry("scenario")

_PAPER_PAIRS = ((0, 0, 4), (1, 1, 6), (2, 2, 7), (3, 3, 5))


def _paper(name: str, chosen: float, rejected: float, unseen: tuple[float, float]) -> Scenario:
    row = [chosen] * 4 + [rejected] * 4 + list(unseen)
    return build([row] * 4, _PAPER_PAIRS, name=name)


@REGISTRY.register("both_on_policy")
def both_on_policy() -> Scenario:
    """Chosen and rejected both likely at the start: 0.12 and 0.12 (paper, Figure 3)."""
    return _paper("both_on_policy", 0.12, 0.12, (0.03, 0.01))


@REGISTRY.register("chosen_off_policy")
def chosen_off_policy() -> Scenario:
    """Chosen unlikely, rejected likely at the start: 0.02 and 0.12 (paper, Figure 3)."""
    return _paper("chosen_off_policy", 0.02, 0.12, (0.40, 0.04))


@REGISTRY.register("rejected_off_policy")
def rejected_off_policy() -> Scenario:
    """Chosen likely, rejected unlikely at the start: 0.12 and 0.02 (paper, Figure 3)."""
    return _paper("rejected_off_policy", 0.12, 0.02, (0.40, 0.04))


@REGISTRY.register("both_off_policy")
def both_off_policy() -> Scenario:
    """Chosen and rejected both unlikely at the start: 0.02 and 0.02 (paper, Figure 3)."""
    return _paper("both_off_policy", 0.02, 0.02, (0.80, 0.04))


#: The paper's four, in the order of the figure here.
PAPER = ("both_on_policy", "chosen_off_policy", "rejected_off_policy", "both_off_policy")


def names() -> list[str]:
    """The names that `get` knows."""
    return list(REGISTRY)


def get(scenario: str | Scenario) -> Scenario:
    """A scenario by name; a `Scenario` is handed through.

    Raises:
        InputError: an unknown name (the nearest is suggested) or something else altogether.

    Example:
        >>> get("both_on_policy").shape
        (4, 10)
    """
    if isinstance(scenario, Scenario):
        return scenario
    if not isinstance(scenario, str):
        raise InputError(f"scenario: got {scenario!r}, expected a Scenario or a name.")
    result: Scenario = REGISTRY.get(scenario)
    return result


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
    return Scenario(moved, scenario.pairs, scenario.roles, name=scenario.name)


def role_masks(roles: TableArray) -> jax.Array:
    """Roles as a one-hot array, [prompt, response, role]."""
    return jax.nn.one_hot(roles, len(Role))
