"""The paper's policy: a multi-layer perceptron from a one-hot prompt to logits over responses."""

import jax
import jax.numpy as jnp

from toymodel._errors import refuse
from toymodel._struct import choice, number, static, struct
from toymodel._typing import KernelArray, Scalar, TableArray
from toymodel.policies.base import REGISTRY, Policy
from toymodel.policies.fitting import by_adam
from toymodel.policies.layers import ACTIVATIONS, INITIALISERS, Layer

MLPParams = tuple[Layer, ...]


@REGISTRY.register("mlp")
@struct
class MLP(Policy):
    """A perceptron of any depth, width and activation; the prompt enters one-hot.

    Because the input is one-hot, the first layer's pre-activation of prompt x is row x of its
    weight plus the bias; all prompts are computed at once. The fit is full-batch Adam on the
    cross-entropy to the table.

    Example:
        >>> policy = MLP(hidden=(64,))
        >>> [layer.weight.shape for layer in policy.init(jax.random.key(0), (4, 10))]
        [(4, 64), (64, 10)]
    """

    hidden: tuple[int, ...] = static(default=(64,), doc="units in each hidden layer")
    activation: str = choice(default="relu", among=ACTIVATIONS)
    initialisation: str = choice(default="pytorch", among=INITIALISERS)
    scale: Scalar = number(default=1.0, doc="factor on all initial weights and biases", above=0)
    fit_learning_rate: Scalar = number(default=1e-2, doc="Adam's learning rate in the fit", above=0)
    fit_steps: int = static(default=500, doc="steps of the fit")

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, tuple):
            widths = self.hidden if isinstance(self.hidden, list) else [self.hidden]
            raise refuse("MLP.hidden", self.hidden, "a tuple of widths", f"{(*widths,)}")
        if any(not isinstance(width, int) or width < 1 for width in self.hidden):
            raise refuse("MLP.hidden", self.hidden, "whole numbers >= 1")
        if not isinstance(self.fit_steps, int) or self.fit_steps < 1:
            raise refuse("MLP.fit_steps", self.fit_steps, "a whole number >= 1")

    def init(self, key: jax.Array, shape: tuple[int, int]) -> MLPParams:
        sizes = (shape[0], *self.hidden, shape[1])
        keys = jax.random.split(key, len(sizes) - 1)
        initialise = INITIALISERS[self.initialisation]
        layers = tuple(map(initialise, keys, sizes[:-1], sizes[1:]))
        scaled: MLPParams = jax.tree.map(lambda leaf: self.scale * leaf, layers)
        return scaled

    def _pre_activations(self, params: MLPParams) -> list[jax.Array]:
        """The affine output of every layer, each [prompt, unit]; the last are the logits."""
        function = ACTIVATIONS[self.activation].function
        outputs = [params[0].weight + params[0].bias[None, :]]
        for layer in params[1:]:
            outputs.append(function(outputs[-1]) @ layer.weight + layer.bias[None, :])
        return outputs

    def logits(self, params: MLPParams) -> TableArray:
        return self._pre_activations(params)[-1]

    def vjp(self, params: MLPParams, cotangent: TableArray) -> MLPParams:
        r"""Backpropagation written out.

        With pre-activations u_l, h_l = f(u_l) and the cotangent g_l of u_l:
        :math:`\bar W_l = h_{l-1}^T g_l`, :math:`\bar b_l = \sum_x g_l`,
        :math:`g_{l-1} = (g_l W_l^T) \odot f'(u_{l-1})`; for the first layer, whose input is the
        identity matrix, :math:`\bar W_1 = g_1`.
        """
        function, derivative = ACTIVATIONS[self.activation]
        pre_activations = self._pre_activations(params)
        gradients: list[Layer] = []
        for index in range(len(params) - 1, 0, -1):
            below = pre_activations[index - 1]
            gradients.append(Layer(function(below).T @ cotangent, cotangent.sum(axis=0)))
            cotangent = (cotangent @ params[index].weight.T) * derivative(below)
        gradients.append(Layer(cotangent, cotangent.sum(axis=0)))
        return tuple(reversed(gradients))

    def logit_kernel(self, params: MLPParams) -> KernelArray:
        """`tangent_kernel` for one-hot prompts: no two have anything in common."""
        return self.tangent_kernel(params, jnp.eye(len(params[0].weight)))

    def tangent_kernel(self, params: MLPParams, products: jax.Array) -> KernelArray:
        r"""The tangent kernel, layer by layer.

        With the derivative B_l of the logits in pre-activations u_l, layer l adds
        :math:`(h_{l-1}(x)\cdot h_{l-1}(x') + 1)\,B_l(x)B_l(x')^T`: its weights the first factor,
        its bias the 1.

        Args:
            params: the layers.
            products: inner products of the inputs, h_0(x) . h_0(x'), [prompt, prompt].
        """
        function, derivative = ACTIVATIONS[self.activation]
        pre_activations = self._pre_activations(params)
        prompts, responses = pre_activations[-1].shape
        backward = jnp.tile(jnp.eye(responses, dtype=params[-1].bias.dtype), (prompts, 1, 1))
        kernel = jnp.zeros((prompts, responses) * 2, backward.dtype)
        for index in range(len(params) - 1, -1, -1):
            below = pre_activations[index - 1] if index else None
            alike = products if below is None else function(below) @ function(below).T
            kernel += jnp.einsum("xa,xyu,abu->xyab", alike + 1, backward, backward)
            if below is not None:
                backward = (backward @ params[index].weight.T) * derivative(below)[:, None, :]
        return kernel

    def fit_params(self, key: jax.Array, log_table: TableArray) -> MLPParams:
        start = self.init(key, (log_table.shape[0], log_table.shape[1]))
        fitted: MLPParams = by_adam(self, start, log_table, self.fit_learning_rate, self.fit_steps)
        return fitted
