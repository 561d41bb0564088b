"""The policy whose logits are linear in given features: pairs share weights by their features."""

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import refuse
from toymodel._struct import number, struct
from toymodel._typing import KernelArray, TableArray
from toymodel.policies.base import REGISTRY, Policy
from toymodel.scenarios import Scenario

_NEWTON_STEPS = 60


@REGISTRY.register("loglinear")
@struct(eq=False)
class LogLinear(Policy):
    r"""Logits linear in features: z(y|x) = phi(x, y) . theta; the parameters are theta, [feature].

    Make one from given features, or draw them with `LogLinear.random`.
    """

    features: jax.Array = number(doc="phi, [prompt, response, feature]")

    def __post_init__(self) -> None:
        if np.ndim(self.features) != 3:
            shape = f"shape {np.shape(self.features)}"
            raise refuse("LogLinear.features", shape, "an array [prompt, response, feature]")
        object.__setattr__(self, "features", jnp.asarray(self.features))

    def __repr__(self) -> str:
        return "LogLinear({} prompts, {} responses, {} features)".format(*self.features.shape)

    @classmethod
    def random(
        cls, key: jax.Array, scenario: Scenario, size: int, similarity: float = 0.0
    ) -> "LogLinear":
        r"""Gaussian features, unit length on average, with a tunable likeness within each pair.

        The rejected response's features are
        :math:`s\,\phi(y_+) + \sqrt{1 - s^2}\,\epsilon`, so s is their expected cosine similarity:
        0 independent, 1 identical (then no margin can grow), -1 opposite.

        Args:
            key: for the draw.
            scenario: its pairs say who is similar to whom.
            size: number of features.
            similarity: s, from -1 to 1.

        Raises:
            InputError: `size` below one or `similarity` outside [-1, 1].

        Example:
            >>> from toymodel import scenarios
            >>> world = scenarios.both_on_policy()
            >>> LogLinear.random(jax.random.key(0), world, 64, similarity=0.9).features.shape
            (4, 10, 64)
        """
        if size < 1:
            raise refuse("size", size, "a number of features >= 1")
        if not -1 <= similarity <= 1:
            raise refuse("similarity", similarity, "a number from -1 to 1")
        features = jax.random.normal(key, (*scenario.shape, size)) / jnp.sqrt(size)
        x, chosen, rejected = (getattr(scenario.pairs, k) for k in ("prompt", "chosen", "rejected"))
        mixed = (
            similarity * features[x, chosen] + jnp.sqrt(1 - similarity**2) * features[x, rejected]
        )
        return cls(features.at[x, rejected].set(mixed))

    def init(self, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        """Standard normal weights."""
        if tuple(self.features.shape[:2]) != tuple(shape):
            raise refuse(
                "LogLinear.features",
                f"shape {self.features.shape}",
                f"[prompt, response, feature] with {shape[0]} prompts and {shape[1]} responses",
            )
        return jax.random.normal(key, self.features.shape[2:])

    def logits(self, params: jax.Array) -> TableArray:
        return self.features @ params

    def vjp(self, params: jax.Array, cotangent: TableArray) -> jax.Array:
        del params
        return jnp.einsum("xy,xyf->f", cotangent, self.features)

    def logit_kernel(self, params: jax.Array) -> KernelArray:
        """Inner products of features; the same at all parameters."""
        del params
        return jnp.einsum("xyf,abf->xyab", self.features, self.features)

    def fit_params(self, key: jax.Array, log_table: TableArray) -> jax.Array:
        """The cross-entropy minimiser, by damped Newton steps on the convex problem."""
        start = jnp.zeros_like(self.init(key, (log_table.shape[0], log_table.shape[1])))
        target = jnp.exp(log_table)
        resolution = float(np.finfo(start.dtype).eps)

        def gradient(theta: jax.Array) -> jax.Array:
            return self.vjp(theta, jnp.exp(self.log_probs(theta)) - target)

        def is_better(proposal: jax.Array, theta: jax.Array) -> jax.Array:
            """A lower value, or a smaller gradient: values stop telling at half the digits."""
            values = [-jnp.sum(target * self.log_probs(at)) for at in (proposal, theta)]
            norms = [jnp.linalg.norm(gradient(at)) for at in (proposal, theta)]
            better: jax.Array = (values[0] < values[1]) | (norms[0] <= norms[1])
            return better

        def step(_: int, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            theta, damping = state
            probs = jnp.exp(self.log_probs(theta))
            centred = self.features - jnp.einsum("xy,xyf->xf", probs, self.features)[:, None]
            hessian = jnp.einsum("xy,xyf,xyg->fg", probs, centred, centred)
            scale = damping * (jnp.trace(hessian) / theta.size + resolution)
            damped = hessian + scale * jnp.eye(theta.size)
            proposal = theta - jnp.linalg.solve(damped, gradient(theta))
            accepted = is_better(proposal, theta)
            damping = jnp.where(accepted, damping / 10, damping * 10)
            return jnp.where(accepted, proposal, theta), jnp.maximum(damping, resolution)

        first = jnp.asarray(1e-3, start.dtype)
        theta: jax.Array = jax.lax.fori_loop(0, _NEWTON_STEPS, step, (start, first))[0]
        return theta
