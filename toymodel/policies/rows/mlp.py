"""The perceptron on rows: the first layer by prompt, the last by response or whole."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from toymodel.policies.layers import ACTIVATIONS, Layer
from toymodel.policies.mlp import MLP
from toymodel.policies.rows.base import Entry, GapRows, Rows, TableRows, Triple, add, at
from toymodel.policies.rows.contrasts import Contrasts


class _Hidden:
    """The hidden layers of a perceptron: the first by prompt, the others whole."""

    def __init__(self, policy: MLP) -> None:
        self.function, self.derivative = ACTIVATIONS[policy.activation]
        self.inner = len(policy.hidden) - 1

    def split(self, layers: Sequence[Layer]) -> Rows:
        first, *inner = layers
        rows = {at("first", x): row for x, row in enumerate(first.weight)}
        rows["first bias"] = first.bias
        for depth, layer in enumerate(inner):
            rows[at("inner", depth)], rows[at("inner bias", depth)] = layer.weight, layer.bias
        return rows

    def activations(self, rows: Rows, x: int) -> list[tuple[jax.Array, jax.Array]]:
        """Pre-activation and activation of every hidden layer for a prompt, each [unit, cell]."""
        before = rows[at("first", x)] + rows["first bias"]
        layers = [(before, self.function(before))]
        for depth in range(self.inner):
            product = layers[-1][1][:, None] * rows[at("inner", depth)]
            before = _sum(product) + rows[at("inner bias", depth)]
            layers.append((before, self.function(before)))
        return layers

    def pull_back(
        self, found: Rows, rows: Rows, tape: Mapping[int, Any], upper: Mapping[int, jax.Array]
    ) -> None:
        """Add what cotangents of each prompt's last activation, [unit, cell], give the rows."""
        for x, arriving in upper.items():
            for depth in reversed(range(self.inner)):
                arriving = arriving * self.derivative(tape[x][depth + 1][0])
                add(found, at("inner", depth), tape[x][depth][1][:, None] * arriving[None])
                add(found, at("inner bias", depth), arriving)
                arriving = jnp.sum(rows[at("inner", depth)] * arriving[None], axis=1)
            arriving = arriving * self.derivative(tape[x][0][0])
            add(found, at("first", x), arriving)
            add(found, "first bias", arriving)


class MLPTables(TableRows):
    """The last layer is one row, [response, unit, cell]."""

    def __init__(self, policy: MLP) -> None:
        self.hidden = _Hidden(policy)

    def split(self, params: tuple[Layer, ...]) -> Rows:
        *layers, last = params
        columns = jnp.swapaxes(last.weight, 0, 1)
        return self.hidden.split(layers) | {"last": columns, "last bias": last.bias}

    def logits(self, rows: Rows, entries: Sequence[Entry]) -> tuple[dict[Entry, jax.Array], Any]:
        tape = {x: self.hidden.activations(rows, x) for x in sorted({x for x, _ in entries})}
        values: dict[Entry, jax.Array] = {}
        for x, layers in tape.items():
            product = layers[-1][1][None] * rows["last"]
            row = _sum(jnp.swapaxes(product, 0, 1)) + rows["last bias"]
            values |= {(x, y): logit for y, logit in enumerate(row)}
        return values, tape

    def vjp(self, rows: Rows, tape: Any, cotangent: Mapping[Entry, jax.Array]) -> Rows:
        found: Rows = {}
        upper: dict[int, jax.Array] = {}
        responses = rows["last"].shape[0]
        for x in tape:
            row = jnp.stack([cotangent[x, y] for y in range(responses)])
            add(found, "last", row[:, None] * tape[x][-1][1][None])
            add(found, "last bias", row)
            for y in range(responses):
                add(upper, x, cotangent[x, y] * rows["last"][y])
        self.hidden.pull_back(found, rows, tape, upper)
        return found


class MLPGaps(GapRows):
    """The last layer has a row for each response, or for half the difference of two."""

    def __init__(self, policy: MLP, pairs: Sequence[Triple]) -> None:
        self.hidden, self.pairs = _Hidden(policy), pairs
        couples = [(chosen, rejected) for _, chosen, rejected in pairs]
        self.columns, self.biases = Contrasts("last", couples), Contrasts("last bias", couples)

    def split(self, params: tuple[Layer, ...]) -> Rows:
        *layers, last = params
        columns = dict(enumerate(jnp.swapaxes(last.weight, 0, 1)))  # each [unit, cell]
        held = self.columns.split(columns) | self.biases.split(dict(enumerate(last.bias)))
        return self.hidden.split(layers) | held

    def logits(self, rows: Rows, entries: Sequence[Entry]) -> tuple[dict[Entry, jax.Array], Any]:
        tape = {x: self.hidden.activations(rows, x) for x in sorted({x for x, _ in entries})}
        values: dict[Entry, jax.Array] = {}
        for x, y in entries:
            product = tape[x][-1][1] * self.columns.one(rows, y)
            values[x, y] = _sum(product) + self.biases.one(rows, y)
        return values, tape

    def gaps(self, rows: Rows) -> tuple[list[jax.Array], Any]:
        tape = {x: self.hidden.activations(rows, x) for x in sorted({x for x, *_ in self.pairs})}
        values = []
        for x, *responses in self.pairs:
            couple = (responses[0], responses[1])
            product = tape[x][-1][1] * self.columns.gap(rows, couple)
            values.append(_sum(product) + self.biases.gap(rows, couple))
        return values, tape

    def gaps_vjp(self, rows: Rows, tape: Any, slopes: Sequence[jax.Array]) -> Rows:
        found: Rows = {}
        upper: dict[int, jax.Array] = {}
        for (x, chosen, rejected), slope in zip(self.pairs, slopes, strict=True):
            couple = (chosen, rejected)
            add(upper, x, slope * self.columns.gap(rows, couple))
            self.columns.push(found, couple, slope * tape[x][-1][1])
            self.biases.push(found, couple, slope)
        self.hidden.pull_back(found, rows, tape, upper)
        return found


def _sum(terms: jax.Array) -> jax.Array:
    """The sum over the first axis, halved again and again: contiguous loops instead of a reduction.

    Pairwise sums also round less than sequential ones.
    """
    while (size := terms.shape[0]) > 1:
        half = size // 2
        folded = terms[:half] + terms[half : 2 * half]
        terms = jnp.concatenate([folded, terms[2 * half :]]) if size % 2 else folded
    return terms[0]
