"""A preference loss on pairs that are collected again as the policy learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from toymodel import sampling
from toymodel._errors import refuse
from toymodel._struct import number, static, struct
from toymodel._typing import Scalar, TableArray
from toymodel.losses import PreferenceLoss
from toymodel.objectives.base import REGISTRY, Objective
from toymodel.objectives.fixed import FixedPairs
from toymodel.sampling import Annotator, BradleyTerry, Comparison, FromPolicy
from toymodel.scenarios import Pairs, Scenario, true_rewards

_STREAM = 0x726F756E


@struct(eq=False)
class Round:
    """What iterative training remembers: the pairs of the present round and the reference."""

    pairs: Pairs = number(doc="the pairs collected last")
    reference: TableArray = number(doc="the reference's log-probabilities, [prompt, response]")


@REGISTRY.register("iterative")
@struct(eq=False)
class Iterative(Objective):
    r"""A preference loss on fresh pairs every so many steps: online and iterative DPO.

    The scenario's own pairs are round 0. Before update n = k, 2k, ... with k = `every`, as many
    pairs on the same prompts (and with the same weights) are drawn anew: the comparison may draw
    from the present policy, the annotator knows the true rewards. With ``every=1`` each step sees
    pairs that its own policy wrote; with `every` beyond the run's steps nothing is drawn.

    The reference is the fitted policy throughout, or moves: then each round measures from the
    policy that it began with, which no longer bounds how far the policy goes.

    Gradients do not flow through the draws: a round is data, as it is in practice.

    Example:
        >>> import toymodel as tm
        >>> world = tm.scenarios.random_rewards(jax.random.key(0), tm.scenarios.both_on_policy())
        >>> online = Iterative(tm.losses.DPO(beta=0.1), every=1)
        >>> run = tm.simulate(world, "tabular", online, "sgd", learning_rate=10.0, steps=50)
        >>> before, after = (jnp.sum(jnp.exp(run.log_probs[t]) * world.rewards) for t in (0, -1))
        >>> bool(after > before)
        True

    References:
        Guo et al., "Direct Language Model Alignment from Online AI Feedback" (2024); Xiong et al.,
        "Iterative Preference Learning from Human Feedback" (ICML 2024).
    """

    loss: PreferenceLoss = number(doc="the preference loss")
    comparison: Comparison = number(default=FromPolicy(), doc="which responses are compared")
    annotator: Annotator = number(default=BradleyTerry(), doc="who prefers")
    every: Scalar = number(
        default=1, at_least=1, doc="steps between rounds; 1 for fresh pairs at each"
    )
    move_reference: bool = static(
        default=False, doc="whether each round's reference is the policy that it began with"
    )
    batch_size: int | None = static(default=None, doc="pairs a step; None for all of the round")

    def check(self, scenario: Scenario) -> None:
        kinds = {"loss": PreferenceLoss, "comparison": Comparison, "annotator": Annotator}
        for field, kind in kinds.items():
            if not isinstance(getattr(self, field), kind):
                given = getattr(self, field)
                raise refuse(f"Iterative.{field}", given, f"an instance of {kind.__name__}")
        if not isinstance(self.every, jax.core.Tracer) and np.any(np.asarray(self.every) % 1 != 0):
            raise refuse("Iterative.every", self.every, "a whole number of steps >= 1")
        size, most = self.batch_size, len(scenario.pairs)
        if size is not None and not (type(size) is int and 1 <= size <= most):
            raise refuse("Iterative.batch_size", size, f"None, or a whole number from 1 to {most}")
        if not self.loss.takes_weights and len(np.unique(scenario.pairs.weight)) > 1:
            raise refuse(
                "scenario.pairs.weight",
                np.asarray(scenario.pairs.weight).tolist(),
                f"equal weights, since {type(self.loss).__name__} joins different pairs",
            )
        sampling.checked(self.comparison, self.annotator, scenario)

    def begin(self, scenario: Scenario, reference: TableArray, key: jax.Array) -> Round:
        del key
        return Round(scenario.pairs, reference)

    def refresh(
        self,
        memory: Round,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> Round:
        every = jnp.asarray(self.every)
        is_due = (number > 0) & (number % every == 0)
        own_key = jax.random.fold_in(key, _STREAM)  # apart from the draws of fit and mini-batches
        own_key = jax.random.fold_in(own_key, (number // every).astype(int))

        def again() -> Round:
            old = memory.pairs
            pairs = sampling.compare(
                own_key,
                self.comparison,
                self.annotator,
                old.prompt,
                log_probs,
                true_rewards(scenario),
                old.weight,
            )
            return Round(pairs, log_probs if self.move_reference else memory.reference)

        result: Round = jax.lax.cond(is_due, again, lambda: memory)
        return result

    def logit_gradient(
        self,
        memory: Round,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> TableArray:
        round_alone = dataclasses.replace(scenario, pairs=memory.pairs)
        on_round = FixedPairs(self.loss, self.batch_size)
        return on_round.logit_gradient(memory.reference, round_alone, log_probs, key, number)
