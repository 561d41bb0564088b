"""What a larger world is: a scenario to train in, one to evaluate in, and the features of both."""

import dataclasses
import enum

import jax
import numpy as np

from toymodel._errors import whole
from toymodel._struct import number, struct
from toymodel._typing import TableArray
from toymodel.scenarios import Scenario, build


class Split(enum.IntEnum):
    """What a prompt is for."""

    TRAINING = 0
    HELD_OUT = 1
    SHIFTED = 2

    @property
    def title(self) -> str:
        """The split in words, for legends and tables."""
        return ("training", "held-out", "out of distribution")[self]


@struct(eq=False)
class World:
    """A world with features. Make one with `toymodel.worlds.generate`.

    `scenario` is what `toymodel.simulate` trains in. To measure the other prompts, take a run's
    properties with ``dataclasses.replace(run, scenario=world.evaluation).properties()``.
    """

    scenario: Scenario = number(doc="the initial table of all prompts; pairs of training prompts")
    evaluation: Scenario = number(doc="the same table with pairs of all other prompts")
    prompt_features: jax.Array = number(doc="[prompt, feature]")
    response_features: jax.Array = number(doc="[response, feature]")
    split: jax.Array = number(doc="the `Split` of each prompt, [prompt]")
    is_heldout: jax.Array = number(doc="whether a response is in no pair, by design, [response]")
    score: TableArray = number(doc="true score behind the preferences, [prompt, response]")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of prompts (of all splits) and of responses."""
        return self.scenario.shape

    def with_pairs(self, count: int) -> "World":
        """The same world with only the first training pairs.

        Pairs come in rounds over the prompts, so the first ones belong to different prompts.

        Args:
            count: how many to keep, from 1 to all.

        Raises:
            InputError: not a number of pairs that there are.

        Example:
            >>> from toymodel import worlds
            >>> world = worlds.generate(jax.random.key(0), prompts=9, responses=10)
            >>> len(world.scenario.pairs), len(world.with_pairs(4).scenario.pairs)
            (9, 4)
        """
        table, pairs = self.scenario.log_table, self.scenario.pairs
        count = whole("count", count, 1, len(pairs))
        columns = (pairs.prompt, pairs.chosen, pairs.rejected, pairs.weight)
        rows = np.stack([np.asarray(column) for column in columns], axis=1)[:count].tolist()
        rewards, name = self.scenario.rewards, self.scenario.name
        fewer = build(log_table=table, pairs=rows, rewards=rewards, name=name)
        return dataclasses.replace(self, scenario=fewer)
