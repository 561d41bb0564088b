"""How every method's learning rate is chosen: by the points on validation prompts."""

from typing import Any

import numpy as np

from toymodel.llm.miniature.records import Records

_CRITERION = "validation/points"


def rates(records: Records, **fields: Any) -> list[float]:
    """Learning rates that were run with these fields, from the least.

    Args:
        records: of the miniature.
        fields: of its cells.
    """
    return sorted({row["learning_rate"] for row in records.where(**fields)})


def best_rate(records: Records, **fields: Any) -> float:
    """The rate with the highest mean over seeds of points on validation prompts.

    The lower one of two that are equal. One rule for every method, so that none is favoured; test
    sets are not looked at.

    Args:
        records: of the miniature.
        fields: of the cells that are compared, all but the learning rate.

    Returns:
        The rate; NaN where no such cell was run.

    Example:
        >>> row = {"seed": 0, "method": "dpo"}
        >>> rows = [row | {"learning_rate": r, "validation/points": 3 - r} for r in (0.1, 0.2)]
        >>> best_rate(Records(rows), method="dpo")
        0.1
    """
    tried = rates(records, **fields)
    if not tried:
        return float("nan")
    means = [np.nanmean(records.values(_CRITERION, learning_rate=r, **fields)) for r in tried]
    return tried[int(np.argmax(means))]


def best(records: Records, **fields: Any) -> dict[str, Any]:
    """Fields of the cells at the chosen rate, to be given to `Records.values`."""
    return {**fields, "learning_rate": best_rate(records, **fields)}
