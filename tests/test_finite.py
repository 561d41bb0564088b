"""No NaN, no infinity: logits up to 1e4 in size, hyper-parameters from 1e-6 to 1e3."""

import functools

import jax
import numpy as np
import pytest

from tests import strategies as draws
from tests.strategies import PAIRS, SHAPE, World
from toymodel import gradients
from toymodel.policies import MLP, LogLinear
from toymodel.scenarios import Pairs

CASES = 1000
POLICIES = {
    "mlp": MLP(hidden=(5,)),
    "loglinear": LogLinear(np.random.default_rng(0).normal(size=(*SHAPE, 6))),
}


def extremes(generator, *shape):
    """Numbers up to 1e4 in size, their magnitudes uniform in logarithm; one in ten at the limit."""
    sizes = 10.0 ** generator.uniform(-3, 4, (CASES, *shape))
    sizes[generator.random(sizes.shape) < 0.1] = 1e4
    return sizes * generator.choice([-1.0, 1.0], sizes.shape)


def random_worlds(generator):
    prompts, responses = SHAPE
    chosen = generator.integers(0, responses, (CASES, PAIRS))
    rejected = (chosen + generator.integers(1, responses, (CASES, PAIRS))) % responses
    weights = generator.exponential(size=(CASES, PAIRS)) * generator.integers(0, 2, (CASES, PAIRS))
    weights[:, 0] += 0.1
    pairs = Pairs(generator.integers(0, prompts, (CASES, PAIRS)), chosen, rejected, weights)
    return World(extremes(generator, *SHAPE), extremes(generator, *SHAPE), pairs)


@draws.compiled
@functools.partial(jax.vmap, in_axes=(None, 0, 0, 0))
def everything(policies, params, loss, world):
    """All that a loss and its gradients say of one case: plain numbers, and logarithms."""
    where = world.reference, world.pairs
    plain = {
        "log_probs": world.log_probs,
        "value": loss.value(world.batch),
        "objective": gradients.objective(loss, world.log_probs, *where),
        "slopes": loss.slopes(world.batch),
        "logits": gradients.logits(loss, world.log_probs, *where),
    }
    for name, policy in policies.items():
        plain[name] = gradients.parameters(loss, policy, params[name], *where)
    logs = [*loss.log_slopes(world.batch), *gradients.probabilities(loss, world.batch)]
    return plain, logs


@pytest.mark.parametrize("bits", [64, 32])
@draws.every_loss
def test_everything_is_finite(name, bits):
    generator = np.random.default_rng(sum(map(ord, name)))
    params = {
        key: jax.tree.map(lambda leaf: generator.normal(size=(CASES, *leaf.shape)), shapes)
        for key, shapes in ((key, draws.shapes(policy)) for key, policy in POLICIES.items())
    }
    with draws.precision(bits):
        case = POLICIES, params, draws.many_losses(name, generator, CASES), random_worlds(generator)
        plain, logs = everything(*draws.here(case))
    for key, values in plain.items():
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(values)), key
        assert all(leaf.dtype == f"float{bits}" for leaf in jax.tree.leaves(values)), key
    slopes = [*plain["slopes"]] * 2
    for slope, (sign, log_abs) in zip(slopes, logs, strict=True):
        assert np.all(np.isin(sign, [-1.0, 0.0, 1.0]))
        assert np.all(np.isfinite(log_abs) | ((log_abs == -np.inf) & (sign == 0)))
        assert np.any(np.isfinite(log_abs)) or not np.any(slope)
