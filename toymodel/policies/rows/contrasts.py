"""Rows that only meet as differences: where it can, one moving row stands for two."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax

from toymodel.policies.rows.base import Rows, add

Unit = TypeVar("Unit", bound=Hashable)


class Contrasts(Generic[Unit]):
    r"""Rows that only meet as differences, each a couple: what one gains, the other loses.

    The rows a and b of a couple that neither shares with another always have opposite gradients.
    Optimisers that treat every number by itself are odd in the gradient, so a and b move
    oppositely, and one moving row does for both: :math:`D = (a - b)/2`, beside the middle
    :math:`(a + b)/2`, which stands still. It saves half of the optimiser's work.

    Args:
        name: of the rows.
        couples: one couple a pair: the row of its chosen and the row of its rejected response.
    """

    def __init__(self, name: str, couples: Sequence[tuple[Unit, Unit]]) -> None:
        self.name = name
        distinct = set(couples)
        met = [unit for couple in distinct for unit in couple]
        self._alone = {couple for couple in distinct if all(met.count(u) == 1 for u in couple)}
        self._place = {
            unit: (couple, sign)
            for couple in self._alone
            for unit, sign in zip(couple, (1, -1), strict=True)
        }

    def split(self, values: Mapping[Unit, jax.Array]) -> Rows:
        """All rows, by unit, in the form held."""
        rows = {self._at("row", unit): v for unit, v in values.items() if unit not in self._place}
        for couple in self._alone:
            a, b = (values[unit] for unit in couple)
            rows[self._at("half gap", couple)] = (a - b) / 2
            rows[self._at("middle", couple)] = (a + b) / 2
        return rows

    def one(self, rows: Rows, unit: Unit) -> jax.Array:
        """A single row."""
        if unit not in self._place:
            return rows[self._at("row", unit)]
        couple, sign = self._place[unit]
        return rows[self._at("middle", couple)] + sign * rows[self._at("half gap", couple)]

    def gap(self, rows: Rows, couple: tuple[Unit, Unit]) -> jax.Array:
        """The first row of a couple minus the second."""
        if couple in self._alone:
            return 2 * rows[self._at("half gap", couple)]
        return rows[self._at("row", couple[0])] - rows[self._at("row", couple[1])]

    def push(self, found: Rows, couple: tuple[Unit, Unit], cotangent: jax.Array) -> None:
        """Add the cotangent of a couple's gap to the gradients of the rows that move."""
        if couple in self._alone:
            add(found, self._at("half gap", couple), cotangent)
        else:
            add(found, self._at("row", couple[0]), cotangent)
            add(found, self._at("row", couple[1]), -cotangent)

    def _at(self, what: str, of: Any) -> str:
        return f"{self.name} {what} {of}"
