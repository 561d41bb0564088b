"""A preference loss on the scenario's own pairs: the plain objective."""

import jax

from toymodel import gradients, sampling
from toymodel._struct import number, static, struct
from toymodel._typing import TableArray
from toymodel.losses import PreferenceLoss
from toymodel.objectives.base import Objective
from toymodel.scenarios import Scenario


@struct
class FixedPairs(Objective):
    """A preference loss on fixed pairs; what it remembers is the reference.

    `toymodel.simulate` makes one of a loss and a batch size.
    """

    loss: PreferenceLoss = number(doc="the preference loss")
    batch_size: int | None = static(default=None, doc="pairs a step; None for all")

    def begin(self, scenario: Scenario, reference: TableArray, key: jax.Array) -> TableArray:
        del scenario, key
        return reference

    def logit_gradient(
        self,
        memory: TableArray,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> TableArray:
        pairs = scenario.pairs
        if self.batch_size is not None:
            pairs = sampling.minibatch(pairs, self.batch_size, key, number)
        return gradients.logits(self.loss, log_probs, memory, pairs)
