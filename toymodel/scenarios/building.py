"""Scenarios of any size from a table and pairs, checked where they enter."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from toymodel._errors import refuse
from toymodel._typing import ArrayLike, TableArray
from toymodel.scenarios.world import Pairs, Role, Scenario

_ROW_SUM_TOLERANCE = 1e-6


def build(
    table: ArrayLike | None = None,
    pairs: Iterable[Sequence[float]] = (),
    *,
    log_table: ArrayLike | None = None,
    rewards: ArrayLike | None = None,
    name: str = "custom",
) -> Scenario:
    """A scenario of any size from an initial table and preference pairs.

    Args:
        table: initial probabilities, [prompt, response]; each row positive and summing to one.
        pairs: tuples (prompt, chosen, rejected) or (prompt, chosen, rejected, weight); indices
            from 0, weights >= 0 and 1 where left out.
        log_table: the table as log-probabilities instead, for entries too small for `table`.
        rewards: the true reward of each response to each prompt, [prompt, response]; default:
            none, for a world where only preferences are known. See also `random_rewards`.
        name: for legends and files.

    Returns:
        The scenario, with every response's `Role` derived from the pairs. A response that is both
        chosen and rejected for the same prompt counts by which of the two has the greater weight
        (chosen on a tie).

    Raises:
        InputError: a table that is no distribution, indices out of range, a pair whose chosen and
            rejected response are the same, no pairs, no pair with a positive weight, or rewards of
            another shape or not finite.

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
        rewards=None if rewards is None else checked_rewards(rewards, checked.shape),
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


def checked_rewards(rewards: ArrayLike, shape: tuple[int, ...]) -> TableArray:
    """Rewards as an array of a world's shape, [prompt, response]; others are refused."""
    values = _numbers("rewards", rewards, "[prompt, response]")
    if values.shape != shape:
        raise refuse("rewards", f"shape {values.shape}", f"the table's shape, {shape}")
    if not np.all(np.isfinite(values)):
        prompt, response = np.argwhere(~np.isfinite(values))[0]
        raise refuse(f"rewards[{prompt}, {response}]", values[prompt, response].item(), "finite")
    return jnp.asarray(values, float)
