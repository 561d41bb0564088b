"""What a policy is: logits from parameters, their derivative transposed by hand, and a fit."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from toymodel._registry import Registry
from toymodel._struct import number, struct
from toymodel._typing import KernelArray, Params, Scalar, TableArray

#: All policies, by name.
REGISTRY: Registry[Any] = Registry("policy")


@struct(eq=False)
class Fit:
    """How close the supervised stage came to the table it was given."""

    divergence: jax.Array = number(doc="KL(table || policy) of each prompt (nats), [prompt]")
    error: Scalar = number(doc="largest absolute error of a probability")

    def __str__(self) -> str:
        return (
            f"fit within {float(jnp.max(self.error)):.1e} in probability, "
            f"{float(jnp.max(self.divergence)):.1e} nats"
        )


class Policy(abc.ABC):
    """A softmax policy over responses: pi(y|x) = softmax(logits(params))[x, y].

    Subclasses are frozen dataclasses; parameters live outside of them, in a pytree.
    """

    @abc.abstractmethod
    def init(self, key: jax.Array, shape: tuple[int, int]) -> Params:
        """Random parameters for a world of `shape` (prompts, responses)."""

    @abc.abstractmethod
    def logits(self, params: Params) -> TableArray:
        """Logits of every response to every prompt, [prompt, response]."""

    @abc.abstractmethod
    def vjp(self, params: Params, cotangent: TableArray) -> Params:
        """Pull a gradient in logits, [prompt, response], back to the parameters, in closed form."""

    @abc.abstractmethod
    def fit_params(self, key: jax.Array, log_table: TableArray) -> Params:
        """Parameters whose policy comes as near `log_table` as this policy's method gets."""

    def logit_kernel(self, params: Params) -> KernelArray:
        r"""How the parameters tie logits together: :math:`\nabla z(y|x)\cdot\nabla z(y'|x')`.

        Here by `vjp` of every logit; policies whose kernel has a closed form override it.

        Returns:
            [prompt, response, prompt, response], symmetric under exchange of its halves.
        """
        logits = self.logits(params)
        units = jnp.eye(logits.size, dtype=logits.dtype).reshape(-1, *logits.shape)
        rows = jax.vmap(lambda unit: ravel_pytree(self.vjp(params, unit))[0])(units)
        return (rows @ rows.T).reshape(*logits.shape, *logits.shape)

    def log_probs(self, params: Params) -> TableArray:
        """Log-probabilities (nats), [prompt, response]."""
        return jax.nn.log_softmax(self.logits(params), axis=-1)

    def fit(self, log_table: TableArray, key: jax.Array | None = None) -> tuple[Params, Fit]:
        """The supervised stage (SFT): make the policy produce a given table.

        Args:
            log_table: the target's log-probabilities, [prompt, response].
            key: for the random start of policies that have one; default ``jax.random.key(0)``.

        Returns:
            The parameters, and how close they came to the table.

        Example:
            >>> import toymodel as tm
            >>> params, fit = tm.Tabular().fit(tm.scenarios.both_on_policy().log_table)
            >>> print(fit)
            fit within 0.0e+00 in probability, 0.0e+00 nats
        """
        log_table = jnp.asarray(log_table)
        params = self.fit_params(jax.random.key(0) if key is None else key, log_table)
        log_probs = self.log_probs(params)
        target = jnp.exp(log_table)
        return params, Fit(
            divergence=jnp.sum(target * (log_table - log_probs), axis=-1),
            error=jnp.max(jnp.abs(jnp.exp(log_probs) - target)),
        )
