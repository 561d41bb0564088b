"""The policy with one free logit for each prompt and response: nothing is shared."""

import jax
import jax.numpy as jnp

from toymodel._struct import struct
from toymodel._typing import KernelArray, TableArray
from toymodel.policies.base import REGISTRY, Policy


@REGISTRY.register("tabular")
@struct
class Tabular(Policy):
    """A free logit for each prompt and response; the parameters are the logits, [prompt, response].

    Example:
        >>> policy = Tabular()
        >>> policy.init(jax.random.key(0), (4, 10)).shape
        (4, 10)
    """

    def init(self, key: jax.Array, shape: tuple[int, int]) -> TableArray:
        return jax.random.normal(key, shape)

    def logits(self, params: TableArray) -> TableArray:
        return params

    def vjp(self, params: TableArray, cotangent: TableArray) -> TableArray:
        del params
        return cotangent

    def logit_kernel(self, params: TableArray) -> KernelArray:
        """The identity: no logit shares anything with another."""
        return jnp.eye(params.size, dtype=params.dtype).reshape(*params.shape, *params.shape)

    def fit_params(self, key: jax.Array, log_table: TableArray) -> TableArray:
        del key
        return log_table
