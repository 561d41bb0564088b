"""Policies for many cells at once, written row by row with the cells last: the fast form of sweeps.

A cell is one training run. XLA's processor code is at its best on long contiguous loops without
gathers, so parameters are split into rows, each ``[..., cell]``. There are two forms: one computes
only the logits of the pairs (all that a loss of the margin needs), with a row for each prompt and
each response; one computes whole tables. Both equal `Policy.logits` and `Policy.vjp`, which are
the definition; a test holds them together.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from toymodel._typing import Params
from toymodel.policies.base import Policy
from toymodel.policies.layers import ACTIVATIONS, Layer
from toymodel.policies.mlp import MLP
from toymodel.policies.tabular import Tabular

Entry = tuple[int, int]  # a prompt and a response
Rows = dict[str, jax.Array]  # by name; each [..., cell]

_MOST_ENTRIES = 128  # the code is unrolled over them: beyond this, compiling takes too long


class RowPolicy(abc.ABC):
    """A policy's logits at some entries, and their transposed derivative, on rows."""

    @abc.abstractmethod
    def split(self, params: Params) -> Rows:
        """Parameters with the cells as their last axis, as rows."""

    @abc.abstractmethod
    def logits(self, rows: Rows, entries: Sequence[Entry]) -> tuple[dict[Entry, jax.Array], Any]:
        """The logits of some entries, each [cell], and what `vjp` needs of the way there."""

    @abc.abstractmethod
    def vjp(self, rows: Rows, tape: Any, cotangent: Mapping[Entry, jax.Array]) -> Rows:
        """Pull cotangents of logits, each [cell], back; rows they do not reach are left out."""


class _TabularRows(RowPolicy):
    """A row is one logit."""

    def split(self, params: jax.Array) -> Rows:
        prompts, responses = params.shape[:2]
        return {_at("z", x, y): params[x, y] for x in range(prompts) for y in range(responses)}

    def logits(self, rows: Rows, entries: Sequence[Entry]) -> tuple[dict[Entry, jax.Array], None]:
        return {entry: rows[_at("z", *entry)] for entry in entries}, None

    def vjp(self, rows: Rows, tape: None, cotangent: Mapping[Entry, jax.Array]) -> Rows:
        return {_at("z", *entry): value for entry, value in cotangent.items()}


class _MLPRows(RowPolicy):
    """First layer by prompt; last layer by response, or whole for tables; others whole."""

    def __init__(self, policy: MLP, *, tables: bool) -> None:
        self.function, self.derivative = ACTIVATIONS[policy.activation]
        self.inner, self.tables = len(policy.hidden) - 1, tables

    def split(self, params: tuple[Layer, ...]) -> Rows:
        first, *inner, last = params
        rows = {_at("first", x): row for x, row in enumerate(first.weight)}
        rows["first bias"] = first.bias
        for depth, layer in enumerate(inner):
            rows[_at("inner", depth)], rows[_at("inner bias", depth)] = layer.weight, layer.bias
        columns = jnp.swapaxes(last.weight, 0, 1)  # [response, unit, cell]
        if self.tables:
            return rows | {"last": columns, "last bias": last.bias}
        for y, column in enumerate(columns):
            rows[_at("last", y)], rows[_at("last bias", y)] = column, last.bias[y]
        return rows

    def logits(self, rows: Rows, entries: Sequence[Entry]) -> tuple[dict[Entry, jax.Array], Any]:
        prompts = sorted({x for x, _ in entries})
        tape = {x: self._hidden(rows, x) for x in prompts}
        values: dict[Entry, jax.Array] = {}
        if self.tables:
            for x in prompts:
                product = tape[x][-1][1][None] * rows["last"]
                row = _sum(jnp.swapaxes(product, 0, 1)) + rows["last bias"]
                values |= {(x, y): logit for y, logit in enumerate(row)}
            return values, tape
        for x, y in entries:
            product = tape[x][-1][1] * rows[_at("last", y)]
            values[x, y] = _sum(product) + rows[_at("last bias", y)]
        return values, tape

    def _hidden(self, rows: Rows, x: int) -> list[tuple[jax.Array, jax.Array]]:
        """Pre-activation and activation of every hidden layer for a prompt, each [unit, cell]."""
        before = rows[_at("first", x)] + rows["first bias"]
        layers = [(before, self.function(before))]
        for depth in range(self.inner):
            product = layers[-1][1][:, None] * rows[_at("inner", depth)]
            before = _sum(product) + rows[_at("inner bias", depth)]
            layers.append((before, self.function(before)))
        return layers

    def vjp(self, rows: Rows, tape: Any, cotangent: Mapping[Entry, jax.Array]) -> Rows:
        found: Rows = {}

        def add(to: dict[Any, jax.Array], name: Any, value: jax.Array) -> None:
            to[name] = to[name] + value if name in to else value

        upper: dict[int, jax.Array] = {}
        if self.tables:
            for x in tape:
                row = jnp.stack([cotangent[x, y] for y in range(rows["last"].shape[0])])
                add(found, "last", row[:, None] * tape[x][-1][1][None])
                add(found, "last bias", row)
        for (x, y), value in cotangent.items():
            column = rows["last"][y] if self.tables else rows[_at("last", y)]
            add(upper, x, value * column)
            if not self.tables:
                add(found, _at("last", y), value * tape[x][-1][1])
                add(found, _at("last bias", y), value)
        for x, arriving in upper.items():
            for depth in reversed(range(self.inner)):
                arriving = arriving * self.derivative(tape[x][depth + 1][0])
                add(found, _at("inner", depth), tape[x][depth][1][:, None] * arriving[None])
                add(found, _at("inner bias", depth), arriving)
                arriving = jnp.sum(rows[_at("inner", depth)] * arriving[None], axis=1)
            arriving = arriving * self.derivative(tape[x][0][0])
            add(found, _at("first", x), arriving)
            add(found, "first bias", arriving)
        return found


def by_rows(policy: Policy, shape: tuple[int, int], *, tables: bool) -> RowPolicy | None:
    """The row form of a policy, or None where it has none or the world is too large to unroll.

    Args:
        policy: the policy.
        shape: of the world: prompts and responses.
        tables: for whole tables of logits, rather than those of the pairs.
    """
    if shape[0] * shape[1] > _MOST_ENTRIES:
        return None
    if type(policy) is Tabular:
        return _TabularRows()
    return _MLPRows(policy, tables=tables) if type(policy) is MLP else None


def _at(name: str, *place: int) -> str:
    return " ".join((name, *(f"{index:04d}" for index in place)))


def _sum(terms: jax.Array) -> jax.Array:
    """The sum over the first axis, halved again and again: contiguous loops instead of a reduction.

    Pairwise sums also round less than sequential ones.
    """
    while (size := terms.shape[0]) > 1:
        half = size // 2
        folded = terms[:half] + terms[half : 2 * half]
        terms = jnp.concatenate([folded, terms[2 * half :]]) if size % 2 else folded
    return terms[0]
