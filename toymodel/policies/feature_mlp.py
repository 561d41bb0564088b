"""The perceptron whose input is a prompt's features: it carries over to prompts without pairs."""

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import refuse
from toymodel._struct import number, struct
from toymodel._typing import KernelArray, TableArray
from toymodel.policies.base import REGISTRY, Policy
from toymodel.policies.fitting import by_adam
from toymodel.policies.layers import Layer
from toymodel.policies.mlp import MLP, MLPParams


@REGISTRY.register("feature_mlp")
@struct(eq=False)
class FeatureMLP(Policy):
    r"""An `MLP` fed with features of the prompt instead of its index.

    The first layer's pre-activations are :math:`u_1 = F W_1 + b_1`. They are those of the one-hot
    network with first weights :math:`F W_1`, so everything above the first layer is that network.

    Example:
        >>> policy = FeatureMLP(jnp.ones((200, 8)), MLP(hidden=(64,)))
        >>> [layer.weight.shape for layer in policy.init(jax.random.key(0), (200, 40))]
        [(8, 64), (64, 40)]
    """

    features: jax.Array = number(doc="F, [prompt, feature]")
    network: MLP = number(default=MLP(), doc="hidden layers, activation, initialisation and fit")

    def __post_init__(self) -> None:
        if np.ndim(self.features) != 2:
            shape = f"shape {np.shape(self.features)}"
            raise refuse("FeatureMLP.features", shape, "an array [prompt, feature]")
        if not isinstance(self.network, MLP):
            raise refuse("FeatureMLP.network", self.network, "an MLP", "such as MLP(hidden=(64,))")
        object.__setattr__(self, "features", jnp.asarray(self.features, float))

    def __repr__(self) -> str:
        return "FeatureMLP({} prompts, {} features, {})".format(*self.features.shape, self.network)

    def init(self, key: jax.Array, shape: tuple[int, int]) -> MLPParams:
        if len(self.features) != shape[0]:
            expected = f"[prompt, feature] with {shape[0]} prompts"
            raise refuse("FeatureMLP.features", f"shape {self.features.shape}", expected)
        return self.network.init(key, (self.features.shape[1], shape[1]))

    def _one_hot(self, params: MLPParams) -> MLPParams:
        """The layers of the one-hot network that computes the same."""
        return Layer(self.features @ params[0].weight, params[0].bias), *params[1:]

    def logits(self, params: MLPParams) -> TableArray:
        return self.network.logits(self._one_hot(params))

    def vjp(self, params: MLPParams, cotangent: TableArray) -> MLPParams:
        r"""The one-hot network's, and :math:`\bar W_1 = F^T g_1`."""
        first, *rest = self.network.vjp(self._one_hot(params), cotangent)
        return Layer(self.features.T @ first.weight, first.bias), *rest

    def logit_kernel(self, params: MLPParams) -> KernelArray:
        """The one-hot network's, with the features' inner products."""
        products = self.features @ self.features.T
        return self.network.tangent_kernel(self._one_hot(params), products)

    def fit_params(self, key: jax.Array, log_table: TableArray) -> MLPParams:
        """As the network is fitted: full-batch Adam on the cross-entropy."""
        start = self.init(key, (log_table.shape[0], log_table.shape[1]))
        rate, steps = self.network.fit_learning_rate, self.network.fit_steps
        fitted: MLPParams = by_adam(self, start, log_table, rate, steps)
        return fitted
