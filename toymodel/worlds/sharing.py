"""Policies that share by a world's features. `Tabular` in the same world shares nothing."""

import jax.numpy as jnp

from toymodel.policies import MLP, FeatureMLP, LogLinear
from toymodel.worlds.world import World


def loglinear(world: World) -> LogLinear:
    """The log-linear policy whose features are all products of a prompt's and a response's.

    It represents the initial table and the true score exactly, and shares over both.

    Args:
        world: the world; memory is prompts x responses x features^2.

    Example:
        >>> import jax
        >>> from toymodel import worlds
        >>> world = worlds.generate(jax.random.key(0), prompts=20, responses=10, features=3)
        >>> loglinear(world)
        LogLinear(120 prompts, 10 responses, 9 features)
    """
    products = jnp.einsum("xf,yg->xyfg", world.prompt_features, world.response_features)
    return LogLinear(products.reshape(*world.shape, -1))


def mlp(world: World, network: MLP | None = None) -> FeatureMLP:
    """The perceptron fed with the prompt's features; each response has its own output weights.

    Args:
        world: the world.
        network: hidden layers and the rest; default ``MLP()``.

    Example:
        >>> import jax
        >>> from toymodel import worlds
        >>> world = worlds.generate(jax.random.key(0), prompts=20, responses=10, features=3)
        >>> mlp(world, MLP(hidden=(4,))).features.shape
        (120, 3)
    """
    return FeatureMLP(world.prompt_features, MLP() if network is None else network)
