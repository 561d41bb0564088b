"""Who takes part in the contest: each method as an objective, from a strength and the data."""

import dataclasses
from collections.abc import Callable, Mapping

from toymodel import objectives, rl
from toymodel._typing import Scalar, TableArray
from toymodel.losses import DPO, IPO, SFTDPO, FlexDPO, PreferenceLoss
from toymodel.objectives import FixedPairs, Objective
from toymodel.roads.contest_worlds import ROUNDS, Data

STEPS = 320  # updates of every method
#: What is tried for every method: a strength (beta; IPO's eta) and Adam's learning rate.
STRENGTHS = (0.1, 0.3, 1.0, 3.0)
RATES = (3e-3, 3e-2)

Build = Callable[[Scalar, Data, TableArray], Objective]


@dataclasses.dataclass(frozen=True)
class Method:
    """A way from labelled pairs to a policy.

    Args:
        build: strength, data and learned rewards -> what is lowered.
        needs_rewards: whether it optimises a learned reward.
        by_rounds: whether it trains on a quarter of the labels at a time.
    """

    build: Build
    needs_rewards: bool = False
    by_rounds: bool = False


def _on_pairs(loss: Callable[[Scalar], PreferenceLoss]) -> Method:
    return Method(lambda strength, data, learned: FixedPairs(loss(strength)))


def _iterative(strength: Scalar, data: Data, learned: TableArray) -> Objective:
    del learned
    every = STEPS // ROUNDS
    return objectives.Iterative(DPO(strength), annotator=data.annotator, every=every)


def _exact(strength: Scalar, data: Data, learned: TableArray) -> Objective:
    del data
    return rl.ExactGradient(beta=strength, rewards=learned)


def _ppo(strength: Scalar, data: Data, learned: TableArray) -> Objective:
    del data
    return rl.PPO(beta=strength, rewards=learned, samples=8, epochs=2, minibatches=2)


#: Flex-DPO's and the SFT term's strengths follow the rules of ``docs/why``: beta- = beta+ / 5 and
#: gamma = beta / 10. So every method has the same two numbers to choose.
METHODS: Mapping[str, Method] = {
    "DPO": _on_pairs(DPO),
    "Flex-DPO": _on_pairs(lambda strength: FlexDPO(strength, strength / 5)),
    "SFT-DPO": _on_pairs(lambda strength: SFTDPO(strength, strength / 10)),
    "IPO": _on_pairs(IPO),
    "iterative DPO": Method(_iterative, by_rounds=True),
    "reward model, exact RL": Method(_exact, needs_rewards=True),
    "reward model, PPO": Method(_ppo, needs_rewards=True),
}
#: Not a contestant: what the same policy reaches when the rewards are known.
ORACLE = "true reward, exact RL"
