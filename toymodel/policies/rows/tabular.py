"""The tabular policy on rows: a row is one logit, or half the difference of two."""

from collections.abc import Mapping, Sequence

import jax

from toymodel.policies.rows.base import Entry, GapRows, Rows, TableRows, Triple, at
from toymodel.policies.rows.contrasts import Contrasts


class TabularTables(TableRows):
    """A row is one logit."""

    def split(self, params: jax.Array) -> Rows:
        return {at("z", *entry): logit for entry, logit in _entries(params)}

    def logits(self, rows: Rows, entries: Sequence[Entry]) -> tuple[dict[Entry, jax.Array], None]:
        return {entry: rows[at("z", *entry)] for entry in entries}, None

    def vjp(self, rows: Rows, tape: None, cotangent: Mapping[Entry, jax.Array]) -> Rows:
        return {at("z", *entry): value for entry, value in cotangent.items()}


class TabularGaps(GapRows):
    """A row is one logit, or half the difference of two."""

    def __init__(self, pairs: Sequence[Triple]) -> None:
        self.couples = [((x, chosen), (x, rejected)) for x, chosen, rejected in pairs]
        self.held = Contrasts("z", self.couples)

    def split(self, params: jax.Array) -> Rows:
        return self.held.split(dict(_entries(params)))

    def logits(self, rows: Rows, entries: Sequence[Entry]) -> tuple[dict[Entry, jax.Array], None]:
        return {entry: self.held.one(rows, entry) for entry in entries}, None

    def gaps(self, rows: Rows) -> tuple[list[jax.Array], None]:
        return [self.held.gap(rows, couple) for couple in self.couples], None

    def gaps_vjp(self, rows: Rows, tape: None, slopes: Sequence[jax.Array]) -> Rows:
        found: Rows = {}
        for couple, slope in zip(self.couples, slopes, strict=True):
            self.held.push(found, couple, slope)
        return found


def _entries(params: jax.Array) -> list[tuple[Entry, jax.Array]]:
    prompts, responses = params.shape[:2]
    return [((x, y), params[x, y]) for x in range(prompts) for y in range(responses)]
