"""The token-by-token policy with free logits after each prefix: prefixes share nothing."""

import jax
import jax.numpy as jnp

from toymodel._struct import struct
from toymodel._typing import KernelArray, TableArray
from toymodel.policies.base import REGISTRY
from toymodel.policies.tokenwise import Tokenwise


@REGISTRY.register("prefix_tabular")
@struct
class PrefixTabular(Tokenwise):
    """Free next-token logits for each prompt and prefix; the parameters, [prompt, prefix, token].

    It represents every distribution over sequences. Responses have in common what they have of a
    prefix, and nothing else.

    Example:
        >>> policy = PrefixTabular(vocabulary=2, length=3)
        >>> policy.init(jax.random.key(0), (4, 8)).shape
        (4, 7, 2)
    """

    def init(self, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        """Standard normal logits."""
        self.check_shape(shape)
        return jax.random.normal(key, (shape[0], self.space.prefixes, self.vocabulary))

    def next_logits(self, params: jax.Array) -> jax.Array:
        return params

    def next_vjp(self, params: jax.Array, cotangent: jax.Array) -> jax.Array:
        del params
        return cotangent

    def logit_kernel(self, params: jax.Array) -> KernelArray:
        r"""Inner products of residuals, summed over the places where the prefix is the same.

        .. math:: \sum_{t:\,y_{<t} = y'_{<t}} (e_{y_t} - \pi)\cdot(e_{y'_t} - \pi)
        """
        prefix, residuals = self.space.prefix, self.residuals(params)
        is_same = jnp.asarray(prefix[:, None] == prefix[None], params.dtype)
        within = jnp.einsum("xytv,xztv,yzt->xyz", residuals, residuals, is_same)
        return jnp.einsum("xyz,xa->xyaz", within, jnp.eye(len(params), dtype=params.dtype))

    def fit_params(self, key: jax.Array, log_table: TableArray) -> jax.Array:
        """The table's own next-token log-probabilities: exact."""
        del key
        self.check_shape((log_table.shape[0], log_table.shape[1]))
        return self.space.next_log_probs(log_table)
