"""The pieces of a perceptron: layers, activations with their derivatives, initialisations."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from toymodel._registry import Registry


class Layer(NamedTuple):
    """An affine layer: x -> x @ weight + bias."""

    weight: jax.Array
    bias: jax.Array


class Activation(NamedTuple):
    """A function and its derivative, both of the pre-activation."""

    function: Callable[[jax.Array], jax.Array]
    derivative: Callable[[jax.Array], jax.Array]


def _gelu_derivative(x: jax.Array) -> jax.Array:
    return norm.cdf(x) + x * norm.pdf(x)


def _silu_derivative(x: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(x) * (1 + x * jax.nn.sigmoid(-x))


#: Activations by name. ReLU's derivative at 0 is 0.
ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(jax.nn.relu, lambda x: (x > 0).astype(x.dtype)),
    "tanh": Activation(jnp.tanh, lambda x: 1 - jnp.tanh(x) ** 2),
    "sigmoid": Activation(jax.nn.sigmoid, lambda x: jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)),
    "gelu": Activation(lambda x: x * norm.cdf(x), _gelu_derivative),
    "silu": Activation(jax.nn.silu, _silu_derivative),
    "linear": Activation(lambda x: x, jnp.ones_like),
}

Initialiser: TypeAlias = Callable[[jax.Array, int, int], Layer]

#: Initialisations by name: (key, inputs, outputs) -> Layer.
INITIALISERS: Registry[Initialiser] = Registry("initialisation")


@INITIALISERS.register("pytorch")
def pytorch(key: jax.Array, inputs: int, outputs: int) -> Layer:
    """``torch.nn.Linear``'s default: weights and biases uniform within 1/sqrt(inputs)."""
    bound = inputs**-0.5
    weight_key, bias_key = jax.random.split(key)
    return Layer(
        jax.random.uniform(weight_key, (inputs, outputs), minval=-bound, maxval=bound),
        jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound),
    )


def _zero_bias(weights: jax.nn.initializers.Initializer) -> Initialiser:
    def initialise(key: jax.Array, inputs: int, outputs: int) -> Layer:
        return Layer(weights(key, (inputs, outputs)), jnp.zeros(outputs))

    return initialise


for _name, _weights in {
    "lecun_normal": jax.nn.initializers.lecun_normal(),
    "glorot_uniform": jax.nn.initializers.glorot_uniform(),
    "he_normal": jax.nn.initializers.he_normal(),
}.items():
    INITIALISERS.register(_name)(_zero_bias(_weights))
