"""Gradient flow: training with infinitely small steps, integrated to a tolerance.

It is the exact dynamics that closed forms describe and that small learning rates approach.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from toymodel import gradients, losses, policies, scenarios
from toymodel._errors import InputError, refuse
from toymodel._typing import ArrayLike, CurveArray
from toymodel.losses import PreferenceLoss
from toymodel.policies import Policy
from toymodel.scenarios import Scenario


def gradient_flow(
    scenario: Scenario | str,
    policy: Policy | str,
    loss: PreferenceLoss | str,
    times: ArrayLike,
    *,
    key: jax.Array | None = None,
    tolerance: float = 1e-10,
) -> CurveArray:
    r"""Log-probabilities along :math:`d\theta/dt = -\nabla L(\theta)`, from the fitted policy.

    Args:
        scenario: a `Scenario`, or the name of one.
        policy: a `Policy`, or the name of one; fitted to the scenario's table first, and then its
            own reference.
        loss: a `PreferenceLoss`, or the name of one.
        times: increasing times >= 0, [record]; one step of learning rate h spans time h.
        key: for the fit; default ``jax.random.key(0)``.
        tolerance: relative and absolute tolerance of the integrator (use float64 below 1e-6).

    Returns:
        Log-probabilities (nats), [record, prompt, response].

    Raises:
        InputError: times not increasing, negative or not finite, or an integration that fails.

    Example:
        >>> import toymodel as tm
        >>> curve = gradient_flow(tm.scenarios.both_on_policy(), tm.Tabular(), tm.losses.DPO(),
        ...                       [0.0, 1e3], tolerance=1e-6)
        >>> bool(curve[1, 0, 0] > curve[0, 0, 0])
        True
    """
    at = np.asarray(times, float)
    is_list = at.ndim == 1 and at.size > 0 and bool(np.all(np.isfinite(at)))
    if not is_list or at[0] < 0 or np.any(np.diff(at) <= 0):
        raise refuse("times", times, "increasing finite numbers >= 0")
    world, policy, loss = scenarios.get(scenario), policies.get(policy), losses.get(loss)
    params, _ = policy.fit(world.log_table, key)
    reference = policy.log_probs(params)
    start, unravel = ravel_pytree(params)

    @jax.jit
    def velocity(flat: jax.Array) -> jax.Array:
        slope = gradients.parameters(loss, policy, unravel(flat), reference, world.pairs)
        return -ravel_pytree(slope)[0]

    solution = solve_ivp(
        lambda _, flat: np.asarray(velocity(jnp.asarray(flat, start.dtype)), float),
        (0.0, float(at[-1]) or 1.0),
        np.asarray(start, float),
        method="DOP853",
        t_eval=at,
        rtol=max(tolerance, 100 * float(np.finfo(float).eps)),
        atol=tolerance,
    )
    if not solution.success:
        raise InputError(f"gradient_flow: the integration failed: {solution.message}")
    states = jnp.asarray(solution.y.T, start.dtype)
    return jax.vmap(lambda flat: policy.log_probs(unravel(flat)))(states)
