"""A step read as a diagonal times the gradient, for the optimisers whose step is one."""

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from toymodel._typing import Params, Scalar
from toymodel.preconditioners.adam import FACTORIES, denominator

_FORMS = {"adam_uncorrected": {"corrected": 0.0}, "adam_own_clock": {"own_clock": 1.0}}
_OF_FORM = ("b2", "eps", "corrected", "own_clock", "adaptive")


def diagonal(
    name: str, learning_rate: Scalar, options: Mapping[str, Any], memory: Any, params: Params
) -> Params | None:
    r"""The diagonal D of an optimiser's step, from its memory after the step.

    The step is :math:`-Dg` where the optimiser has no momentum. D is :math:`\eta` for gradient
    descent and :math:`\eta` over the denominator for RMSProp, Adam and all of Adam's forms here.

    Args:
        name: the optimiser's name.
        learning_rate: the size of a step.
        options: its further numbers and switches; defaults for those left out.
        memory: its state after the step.
        params: the parameters, for their shapes.

    Returns:
        D, shaped as `params`; None for optimisers whose step is not read as one.

    Example:
        >>> from toymodel.preconditioners import adam_layer
        >>> slope = jnp.array([3.0, 4.0])
        >>> method = adam_layer(1.0, b1=0.0)
        >>> step, memory = method.update(slope, method.init(slope))
        >>> sizes = diagonal("adam_layer", 1.0, {"b1": 0.0}, memory, slope)
        >>> bool(jnp.allclose(step, -sizes * slope))
        True
    """
    if name == "sgd":
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, learning_rate), params)
    if name in FACTORIES:
        signature = inspect.signature(FACTORIES[name]).parameters
        given = {key: of.default for key, of in signature.items() if key in _OF_FORM}
        given |= _FORMS.get(name, {}) | {k: v for k, v in options.items() if k in _OF_FORM}
        sizes = denominator(memory, **given)
        return jax.tree.map(lambda size: learning_rate / size, sizes)
    if name == "adam":
        decay, eps_root = options.get("b2", 0.999), options.get("eps_root", 0.0)
        is_corrected, mean = True, None
    elif name == "rmsprop":
        decay, eps_root = options.get("decay", 0.9), 0.0
        is_corrected = options.get("bias_correction", False)
        mean = optax.tree_utils.tree_get(memory, "mu") if options.get("centered") else None
        if options.get("eps_in_sqrt", True):
            eps_root, options = options.get("eps", 1e-8), {**options, "eps": 0.0}
    else:
        return None
    correction: Any = 1.0
    if is_corrected:
        count = optax.tree_utils.tree_get(memory, "count")
        correction = 1 - decay ** count.astype(jnp.result_type(float))
    squares = optax.tree_utils.tree_get(memory, "nu")
    if mean is not None:
        squares = jax.tree.map(lambda v, m: v - m**2 / correction, squares, mean)
    eps = options.get("eps", 1e-8)
    return jax.tree.map(
        lambda v: learning_rate / (jnp.sqrt(v / correction + eps_root) + eps), squares
    )
