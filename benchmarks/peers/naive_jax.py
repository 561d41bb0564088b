"""(d) JAX, written naively: vmap of a loop over jax.grad of the loss, with optax's Adam."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.toy import BETA1, BETA2, EPSILON, PAIRS, Toy

X, CHOSEN, REJECTED = np.array(PAIRS).T


def _table(params: tuple) -> jax.Array:
    (first, first_bias), (last, last_bias) = params
    return jax.nn.log_softmax(jax.nn.relu(first + first_bias[None]) @ last + last_bias[None])


@functools.partial(jax.jit, static_argnames="steps")
def _train(params: tuple, betas: jax.Array, rates: jax.Array, steps: int) -> jax.Array:
    reference = _table(params)

    def loss(params: tuple, beta: jax.Array) -> jax.Array:
        ratio = _table(params) - reference
        return -jax.nn.log_sigmoid(beta * (ratio[X, CHOSEN] - ratio[X, REJECTED])).mean()

    def one(beta: jax.Array, rate: jax.Array) -> jax.Array:
        optimiser = optax.adam(rate, BETA1, BETA2, EPSILON)

        def step(_: int, state: tuple) -> tuple:
            params, memory = state
            updates, memory = optimiser.update(jax.grad(loss)(params, beta), memory)
            return optax.apply_updates(params, updates), memory

        return _table(jax.lax.fori_loop(0, steps, step, (params, optimiser.init(params)))[0])

    return jax.vmap(one)(betas, rates)


def train(toy: Toy) -> np.ndarray:
    params = jax.tree.map(jnp.asarray, (toy.first, toy.last))
    return np.asarray(_train(params, jnp.asarray(toy.betas), jnp.asarray(toy.rates), toy.steps))
