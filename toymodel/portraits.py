"""What a loss does, as fields and paths: its slopes over log-ratios, its flow over the triangle.

The triangle is the policy of one prompt with a tabular policy and three outcomes: chosen, rejected
and one response outside the pair. Its corners are certainty of one of them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import gradients, scenarios
from toymodel._typing import Scalar
from toymodel.losses import PreferenceLoss
from toymodel.losses.taxonomy import plane, traits
from toymodel.scenarios import Pairs, Role

_PATH_STEPS, _PATH_STEP = 1500, 0.02  # of a path, in length of the logits' movement (nats)
_REST = 1e-9  # a speed below which a path rests

#: The one pair of the triangle: response 0 chosen, 1 rejected, 2 outside.
_PAIR = Pairs(
    prompt=jnp.asarray([0]),
    chosen=jnp.asarray([0]),
    rejected=jnp.asarray([1]),
    weight=jnp.asarray([1.0]),
)


def starts() -> dict[str, np.ndarray]:
    """Where the paper's four scenarios start: probabilities of chosen, rejected and the rest."""
    result = {}
    for name in scenarios.PAPER:
        world = scenarios.get(name)
        row, roles = np.asarray(world.table[0]), np.asarray(world.roles[0])
        pair = [row[roles == role].sum() for role in (Role.OWN_CHOSEN, Role.OWN_REJECTED)]
        result[name] = np.array([*pair, 1 - sum(pair)])
    return result


def slope_field(loss: PreferenceLoss) -> xr.Dataset:
    """The slopes over the plane of log-ratios, [c, r]; and whether only the margin matters."""
    ratios, chosen, rejected = plane(loss)
    kind = traits(loss)
    return xr.Dataset(
        {"chosen": (("c", "r"), chosen), "rejected": (("c", "r"), rejected)},
        {"c": ratios, "r": ratios},
        {"of_margin": int(kind.of_margin and kind.balanced)},
    )


def _velocity(loss: PreferenceLoss, logits: jax.Array, reference: jax.Array) -> jax.Array:
    """Gradient flow's velocity of the three logits."""
    log_probs = jax.nn.log_softmax(logits)
    return -gradients.logits(loss, log_probs[None], reference[None], _PAIR)[0]


def phase_field(loss: PreferenceLoss, reference: np.ndarray, points: int = 13) -> xr.Dataset:
    """Gradient flow over the triangle, for one reference.

    Args:
        loss: the loss.
        reference: probabilities of chosen, rejected and the rest under the reference, [3].
        points: grid points along a side.

    Returns:
        At each grid point inside the triangle, [point]: pi+, pi- and their velocities.
    """
    ticks = (np.arange(points) + 0.5) / points
    inside = [(p, q) for p in ticks for q in ticks if p + q < 0.999]
    grid = jnp.asarray([(p, q, 1 - p - q) for p, q in inside])

    @jax.jit
    @jax.vmap
    def flow(probs: jax.Array) -> jax.Array:
        velocity = _velocity(loss, jnp.log(probs), jnp.log(jnp.asarray(reference)))
        return probs * (velocity - jnp.sum(probs * velocity))

    change = np.asarray(flow(grid))
    return xr.Dataset(
        {
            "chosen": ("point", np.asarray(grid[:, 0])),
            "rejected": ("point", np.asarray(grid[:, 1])),
            "chosen_velocity": ("point", change[:, 0]),
            "rejected_velocity": ("point", change[:, 1]),
        }
    )


@functools.partial(jax.jit, static_argnames="steps")
@functools.partial(jax.vmap, in_axes=(None, 0, None, None))
def _path(
    loss: PreferenceLoss, start: jax.Array, reference: jax.Array, steps: int
) -> tuple[jax.Array, jax.Array]:
    """Follow the flow at unit speed by Runge-Kutta steps; probabilities [step, 3], final speed."""

    def direction(logits: jax.Array) -> jax.Array:
        velocity = _velocity(loss, logits, reference)
        speed = jnp.sqrt(jnp.sum(velocity**2))
        return jnp.where(speed > _REST, velocity / jnp.where(speed > _REST, speed, 1.0), 0.0)

    def step(logits: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        half: Scalar = _PATH_STEP / 2
        first = direction(logits)
        second = direction(logits + half * first)
        third = direction(logits + half * second)
        fourth = direction(logits + _PATH_STEP * third)
        mean = (first + 2 * second + 2 * third + fourth) / 6
        return logits + _PATH_STEP * mean, jax.nn.softmax(logits)

    end, probs = jax.lax.scan(step, start, None, length=steps)
    return probs, jnp.sum(jnp.abs(direction(end))) > 0


def phase_paths(loss: PreferenceLoss, reference: np.ndarray) -> xr.Dataset:
    """Paths of gradient flow over the triangle from the paper's four starts, for one reference.

    Returns:
        pi+ and pi-, [start, step]; and whether the path still moves at its end, [start].
    """
    points = starts()
    logits = jnp.log(jnp.asarray(list(points.values())))
    probs, moves = _path(loss, logits, jnp.log(jnp.asarray(reference)), _PATH_STEPS)
    dims = ("start", "step")
    return xr.Dataset(
        {
            "chosen": (dims, np.asarray(probs[..., 0])),
            "rejected": (dims, np.asarray(probs[..., 1])),
            "moves": ("start", np.asarray(moves)),
        },
        {"start": list(points)},
    )
