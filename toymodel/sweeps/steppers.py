"""Two ways to train many cells at once: the fast one by rows, and one that trains anything.

Both hold the cells of a batch in one state and give, when something is recorded, the table of
log-probabilities of every cell, [prompt, response, cell].
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from toymodel import gradients, training
from toymodel._typing import Params
from toymodel.losses import PairBatch
from toymodel.optimisers import Optimiser
from toymodel.policies import rows as row_policies
from toymodel.policies.rows import Entry, GapRows, Rows, TableRows, Triple
from toymodel.scenarios import Pairs
from toymodel.sweeps import fused
from toymodel.sweeps.places import Parts, place_all

Numbers: TypeAlias = Mapping[str, jax.Array]  # setting -> its value in every cell, [cell]

#: Optimisers that treat every parameter by itself and let one stand whose gradient is always zero.
#: optax's functions for these work on rows with the cells last as they are.
_BY_ELEMENT = frozenset(
    ("adabelief", "adagrad", "adam", "adamax", "amsgrad", "rmsprop", "rprop", "sgd", "sign_sgd")
)


@dataclasses.dataclass(frozen=True)
class Structure:
    """What a batch is compiled for, beside the structure of its parts.

    Args:
        pairs: (prompt, chosen, rejected) of each pair.
        batch_size: pairs a step; None for all.
        by_rows: whether to train by rows.
    """

    pairs: tuple[Triple, ...]
    batch_size: int | None
    by_rows: bool


def structure_of(parts: Parts, swept: frozenset[str], batch_size: int | None) -> Structure:
    """The structure of cells made of these parts, and the fastest way that can train them."""
    pairs = parts.scenario.pairs
    columns = (np.asarray(index).tolist() for index in (pairs.prompt, pairs.chosen, pairs.rejected))
    triples = tuple(zip(*columns, strict=True))
    by_rows = (
        batch_size is None
        and _row_policy(parts, triples) is not None
        and isinstance(parts.optimiser, Optimiser)
        and parts.optimiser.name in _BY_ELEMENT
        and not any(name.startswith("scenario.pairs") for name in swept)
    )
    return Structure(triples, batch_size, by_rows)


def _row_policy(parts: Parts, pairs: tuple[Triple, ...]) -> GapRows | TableRows | None:
    policy, shape = parts.policy, parts.scenario.shape
    if parts.loss.of_margin:
        return row_policies.gaps(policy, shape, pairs)
    return row_policies.tables(policy, shape)


class Stepper(abc.ABC):
    """Trains a batch of cells."""

    @abc.abstractmethod
    def start(self, params: Params) -> Any:
        """The state before the first update; `params` has the cells first."""

    @abc.abstractmethod
    def step(self, number: jax.Array, state: Any) -> Any:
        """The state after one more update of every cell."""

    @abc.abstractmethod
    def log_probs(self, state: Any) -> jax.Array:
        """Log-probabilities, [prompt, response, cell]."""


def stepper(
    structure: Structure, parts: Parts, numbers: Numbers, keys: jax.Array, reference: jax.Array
) -> Stepper:
    """The stepper of a structure; `reference` is [cell, prompt, response]."""
    if structure.by_rows:
        return _RowStepper(structure, parts, numbers, reference)
    return _AnyStepper(structure, parts, numbers, keys, reference)


class _AnyStepper(Stepper):
    """One cell's update, mapped over the cells: any policy, loss and optimiser."""

    def __init__(
        self,
        structure: Structure,
        parts: Parts,
        numbers: Numbers,
        keys: jax.Array,
        reference: jax.Array,
    ) -> None:
        self.parts, self.batch_size = parts, structure.batch_size
        self.numbers, self.keys, self.reference = numbers, keys, reference

    def start(self, params: Params) -> training.State:
        def one(numbers: Numbers, params: Params) -> training.State:
            return params, place_all(self.parts, numbers).optimiser.build().init(params)

        state: training.State = jax.vmap(one)(self.numbers, params)
        return state

    def step(self, number: jax.Array, state: training.State) -> training.State:
        def one(numbers: Numbers, reference: jax.Array, key: jax.Array, state: Any) -> Any:
            cell = place_all(self.parts, numbers)
            return training.update(
                *(cell.scenario, cell.policy, cell.loss, cell.optimiser),
                *(reference, key, number, state),
                batch_size=self.batch_size,
            )

        new: training.State = jax.vmap(one)(self.numbers, self.reference, self.keys, state)
        return new

    def log_probs(self, state: training.State) -> jax.Array:
        return jnp.moveaxis(jax.vmap(self.parts.policy.log_probs)(state[0]), 0, -1)


def _broadcasting(method: Callable[..., Any]) -> Callable[..., Any]:
    """One number a cell, [cell], meets rows [..., cell]: meant, in this class."""

    @functools.wraps(method)
    def allowing(*arguments: Any) -> Any:
        with jax.numpy_rank_promotion("allow"):
            return method(*arguments)

    return allowing


class _RowStepper(Stepper):
    """Closed-form gradients on rows with the cells last; rows that never move are left alone."""

    def __init__(
        self, structure: Structure, parts: Parts, numbers: Numbers, reference: jax.Array
    ) -> None:
        policy = _row_policy(parts, structure.pairs)
        assert policy is not None
        self.policy = policy
        self.parts, self.numbers, self.pairs = parts, numbers, structure.pairs
        self.shape = parts.scenario.shape
        self.reference = jnp.moveaxis(reference, 0, -1)
        # settings of scenario and policy only matter for the fit, which has happened
        self.later = {k: v for k, v in numbers.items() if k.split(".")[0] in ("loss", "optimiser")}
        self.later |= {k: v for k, v in numbers.items() if k == "learning_rate"}
        self.whole = [(x, y) for x in range(self.shape[0]) for y in range(self.shape[1])]
        cells = place_all(parts, self.later)  # leaves [cell] that broadcast against rows
        assert isinstance(cells.optimiser, Optimiser)
        self.loss, self.optimiser = cells.loss, fused.build(cells.optimiser)

    @_broadcasting
    def start(self, params: Params) -> tuple[Rows, Any]:
        rows = self.policy.split(jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), params))
        moving = jax.eval_shape(self._gradient, rows)
        return rows, self.optimiser.init({name: rows[name] for name in moving})

    @_broadcasting
    def step(self, number: jax.Array, state: tuple[Rows, Any]) -> tuple[Rows, Any]:
        rows, memory = state
        gradient = self._gradient(rows)
        moving = {name: rows[name] for name in gradient}
        updates, memory = self.optimiser.update(gradient, memory, moving)
        return {**rows, **optax.apply_updates(moving, updates)}, memory

    @_broadcasting
    def log_probs(self, state: tuple[Rows, Any]) -> jax.Array:
        return self._table(self.policy.logits(state[0], self.whole)[0])

    def _table(self, logits: Mapping[Entry, jax.Array]) -> jax.Array:
        prompts, responses = self.shape
        columns = [[logits[x, y] for y in range(responses)] for x in range(prompts)]
        return jax.nn.log_softmax(jnp.stack([jnp.stack(row) for row in columns]), axis=1)

    def _gradient(self, rows: Rows) -> Rows:
        if isinstance(self.policy, GapRows):
            return self._of_gaps(self.policy, rows)
        return self._of_table(self.policy, rows)

    def _of_gaps(self, policy: GapRows, rows: Rows) -> Rows:
        """The partition function cancels: the gaps between the pairs' logits are all there is."""
        gaps, tape = policy.gaps(rows)
        gap = jnp.stack(gaps)
        zero = jnp.zeros_like(gap)
        reference = jnp.stack(
            [self.reference[x, c] - self.reference[x, r] for x, c, r in self.pairs]
        )
        batch = PairBatch(
            gap, zero, reference, zero, chosen_length=zero + 1, rejected_length=zero + 1
        )
        slopes, _ = self.loss.slopes(batch)
        share = self.parts.scenario.pairs.share
        return policy.gaps_vjp(rows, tape, [share[i] * slope for i, slope in enumerate(slopes)])

    def _of_table(self, policy: TableRows, rows: Rows) -> Rows:
        """Any other loss sees the whole table."""
        logits, tape = policy.logits(rows, self.whole)
        pairs: Pairs = self.parts.scenario.pairs

        def one(numbers: Numbers, table: jax.Array, reference: jax.Array) -> jax.Array:
            loss = place_all(self.parts, numbers).loss
            return gradients.logits(loss, table, reference, pairs)

        found = jax.vmap(one, in_axes=(0, -1, -1), out_axes=-1)(
            self.later, self._table(logits), self.reference
        )
        return policy.vjp(rows, tape, {(x, y): found[x, y] for x, y in self.whole})
