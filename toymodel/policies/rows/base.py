"""What a row form is: parameters as rows, logits from them, derivatives of tables or of gaps."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from toymodel._typing import Params

Entry = tuple[int, int]  # a prompt and a response
Triple = tuple[int, int, int]  # a prompt, its chosen and its rejected response
Rows = dict[str, jax.Array]  # by name; each [..., cell]


class RowPolicy(abc.ABC):
    """A policy's parameters and logits on rows."""

    @abc.abstractmethod
    def split(self, params: Params) -> Rows:
        """Parameters with the cells as their last axis, as rows."""

    @abc.abstractmethod
    def logits(self, rows: Rows, entries: Sequence[Entry]) -> tuple[dict[Entry, jax.Array], Any]:
        """The logits of some entries, each [cell], and what a derivative needs of the way there."""


class TableRows(RowPolicy):
    """The form for any loss."""

    @abc.abstractmethod
    def vjp(self, rows: Rows, tape: Any, cotangent: Mapping[Entry, jax.Array]) -> Rows:
        """Pull cotangents of all logits, each [cell], back."""


class GapRows(RowPolicy):
    """The form for losses of the margin: they see, of each pair, one logit minus the other."""

    @abc.abstractmethod
    def gaps(self, rows: Rows) -> tuple[list[jax.Array], Any]:
        """Chosen minus rejected logit of each pair, [cell], and what `gaps_vjp` needs."""

    @abc.abstractmethod
    def gaps_vjp(self, rows: Rows, tape: Any, slopes: Sequence[jax.Array]) -> Rows:
        """Pull the gaps' cotangents, [cell], back; rows they do not reach are left out."""


def at(name: str, *place: int) -> str:
    """A row's name, sorted by its place."""
    return " ".join((name, *(f"{index:04d}" for index in place)))


def add(to: dict[Any, jax.Array], name: Any, value: jax.Array) -> None:
    """Add a value to what a name has, if anything."""
    to[name] = to[name] + value if name in to else value
