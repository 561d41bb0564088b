"""The Bradley-Terry loss on a table of rewards, and its gradient, which is balanced."""

from jax.nn import log_sigmoid, sigmoid

from toymodel._typing import PairArray, Params, Scalar, TableArray
from toymodel.policies.base import Policy
from toymodel.scenarios import Pairs


def bradley_terry(chosen: PairArray | Scalar, rejected: PairArray | Scalar) -> PairArray:
    r"""The Bradley-Terry loss of each pair's rewards: :math:`-\log\sigma(r_+ - r_-)`, [pair].

    Args:
        chosen: reward of the chosen response, [pair].
        rejected: reward of the rejected response, [pair].

    Example:
        >>> round(float(bradley_terry(0.0, 0.0)), 3)
        0.693

    References:
        Bradley and Terry (1952); Christiano et al., "Deep Reinforcement Learning from Human
        Preferences" (2017), equation 1.
    """
    return -log_sigmoid(chosen - rejected)


def bradley_terry_slopes(chosen: PairArray, rejected: PairArray) -> tuple[PairArray, PairArray]:
    r"""dL/dr+ and dL/dr- in closed form: :math:`\mp\sigma(r_- - r_+)`, each [pair].

    They always cancel, and rewards are not normalised: what one response loses no other gains.
    """
    error = sigmoid(rejected - chosen)
    return -error, error


def objective(rewards: TableArray, pairs: Pairs) -> Scalar:
    """The weighted mean of `bradley_terry` over pairs, for rewards [prompt, response]."""
    return pairs.mean(bradley_terry(*pairs.read(rewards)))


def table_gradient(rewards: TableArray, pairs: Pairs) -> TableArray:
    """The gradient of `objective` in the rewards, [prompt, response]; each row sums to zero."""
    return pairs.spread(rewards, *bradley_terry_slopes(*pairs.read(rewards)))


def gradient(model: Policy, params: Params, pairs: Pairs) -> Params:
    """The gradient of `objective` in the parameters of a reward model, by its closed-form VJP.

    Args:
        model: the form of the reward: its logits are the rewards.
        params: its parameters.
        pairs: the preference pairs.
    """
    return model.vjp(params, table_gradient(model.logits(params), pairs))
