"""What a world is: prompts, responses, initial table, preference pairs, each response's role."""

import enum

import jax
import jax.numpy as jnp

from toymodel._struct import label, number, optional, struct
from toymodel._typing import PairArray, Scalar, TableArray


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
    rewards: TableArray | None = optional(
        default=None, doc="true rewards, [prompt, response]; None if unknown"
    )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of prompts and of responses."""
        prompts, responses = self.log_table.shape
        return prompts, responses

    @property
    def table(self) -> TableArray:
        """The initial probabilities, [prompt, response]: to show, not to compute with."""
        return jnp.exp(self.log_table)


def role_masks(roles: TableArray) -> jax.Array:
    """Roles as a one-hot array, [prompt, response, role]."""
    return jax.nn.one_hot(roles, len(Role))
