"""The natural gradient: steepest descent measured in what the policy does."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from toymodel._errors import refuse
from toymodel._typing import Params, Scalar
from toymodel.policies.base import Policy


def natural(
    policy: Policy, learning_rate: Scalar, damping: Scalar = 1e-2
) -> optax.GradientTransformation:
    r"""Damped natural gradient: steepest descent measured in what the policy does, not in weights.

    .. math:: \Delta\theta = -\eta\,(F + \lambda)^{-1} g, \qquad
        F = \frac{1}{X}\sum_x J_x^T\left(\mathrm{diag}\,\pi_x - \pi_x\pi_x^T\right) J_x

    with the Jacobian J of the logits, whose rows are `Policy.vjp` of unit tables. With
    :math:`\mathrm{diag}\,\pi - \pi\pi^T = BB^T`, :math:`B = \mathrm{diag}\sqrt{\pi} -
    \pi\sqrt{\pi}^T` and :math:`M = B^T J/\sqrt{X}`, it is solved in the space of logits:
    :math:`(F + \lambda)^{-1} g = (g - M^T(\lambda + MM^T)^{-1} M g)/\lambda`.

    Args:
        policy: the form of the policy that is trained, which knows its Fisher information.
        learning_rate: the size of a step.
        damping: :math:`\lambda`. Below 1e-4 of F's largest eigenvalue, use float64.

    Returns:
        An optax object for `toymodel.simulate`.

    Raises:
        InputError: numbers that are not positive; in the first step, parameters that are not of
            this policy's form (one of equal shapes is not noticed).

    References:
        Amari, "Natural Gradient Works Efficiently in Learning", Neural Computation 10 (1998).

    Example:
        >>> import toymodel as tm
        >>> run = tm.simulate("both_on_policy", "tabular", "dpo", natural(tm.Tabular(), 0.1),
        ...                   steps=20)
        >>> bool(run.properties()["drop"].min() > 0)
        True
    """
    for name, value in (("learning_rate", learning_rate), ("damping", damping)):
        if not isinstance(value, jax.core.Tracer) and not value > 0:
            raise refuse(f"natural, {name}", value, "a number > 0")

    def update(gradient: Any, state: Any, params: Any = None) -> Any:
        if params is None:
            raise refuse("natural, params", None, "the parameters", "call update(g, state, params)")
        _check_form(policy, params)
        flat, unravel = ravel_pytree(gradient)
        log_probs = policy.log_probs(params)
        roots = jnp.exp(log_probs / 2)
        units = jnp.eye(log_probs.size, dtype=flat.dtype).reshape(-1, *log_probs.shape)

        def row(unit: jax.Array) -> Any:
            """A row of M: B applied to a unit table, pulled back to the parameters."""
            inner = jnp.sum(roots * unit, axis=-1, keepdims=True)
            table = roots * unit - jnp.exp(log_probs) * inner
            return ravel_pytree(policy.vjp(params, table))[0] / len(log_probs) ** 0.5

        rows = jax.vmap(row)(units)
        damped = rows @ rows.T + damping * jnp.eye(len(rows), dtype=flat.dtype)
        solved = jnp.linalg.solve(damped, rows @ flat)
        return unravel(-learning_rate * (flat - rows.T @ solved) / damping), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _check_form(policy: Policy, params: Params) -> None:
    """Refuse parameters that are not this policy's: its derivative must come back as they are."""
    try:
        pulled = jax.eval_shape(lambda p: policy.vjp(p, policy.log_probs(p)), params)
        fits = jax.tree.map(jnp.shape, pulled) == jax.tree.map(jnp.shape, params)
    except (AttributeError, IndexError, TypeError, ValueError):
        fits = False
    if not fits:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(params)]
        expected = f"those of {policy}"
        raise refuse("natural, parameters", shapes, expected, "give it the policy that is trained")
