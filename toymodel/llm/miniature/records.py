"""What cells left, by seed."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


class Records:
    """Results of cells; each is a mapping with the fields of its cell and what was measured.

    Args:
        rows: of all seeds.

    Example:
        >>> rows = [{"seed": s, "method": "dpo", "full": 0.5 + 0.1 * s} for s in (0, 1)]
        >>> Records(rows).values("full", method="dpo").tolist()
        [0.5, 0.6]
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.rows = list(rows)
        self.seeds = sorted({row["seed"] for row in self.rows})

    def where(self, **fields: Any) -> list[Mapping[str, Any]]:
        """The rows with these fields."""
        return [r for r in self.rows if all(r.get(k) == v for k, v in fields.items())]

    def of_seed(self, seed: int) -> "Records":
        """Those of one seed."""
        return Records(self.where(seed=seed))

    def values(self, name: str, **fields: Any) -> np.ndarray:
        """A measured number, [seed]; NaN where a seed has none."""
        found = np.full(len(self.seeds), np.nan)
        for row in self.where(**fields):
            value = row.get(name)
            found[self.seeds.index(row["seed"])] = np.nan if value is None else value
        return found

    def change(self, name: str, **fields: Any) -> np.ndarray:
        """A number after training less before, [seed]."""
        before, after = (self.values(f"{when}/{name}", **fields) for when in ("before", "after"))
        return np.asarray(after - before)

    def curves(self, name: str, **fields: Any) -> tuple[np.ndarray, np.ndarray]:
        """Steps and a measured curve, [seed, step], of the seeds that have it."""
        rows = [row["curves"] for row in self.where(**fields) if name in row.get("curves", {})]
        if not rows:
            return np.empty(0), np.empty((0, 0))
        shortest = min(len(row[name]) for row in rows)
        values = np.array([row[name][:shortest] for row in rows], dtype=float)
        return np.asarray(rows[0]["step"][:shortest], dtype=float), values
