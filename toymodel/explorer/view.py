"""What the explorer's pictures show of a run, computed once: plain arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel._typing import Scalar
from toymodel.explorer.scales import ceiling
from toymodel.losses import PairBatch, PreferenceLoss
from toymodel.scenarios import Role, role_masks
from toymodel.trajectory import Trajectory

_POINTS = 32  # of the plane of log-ratios, along a side
_LEAST_MARGIN = 0.3  # nats that the plane shows around a path, at least
_COLUMNS = 16  # responses that a heat map shows at most


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
    """The slopes of one pair around the log-ratios that a run went through.

    Args:
        r: log-ratios of the rejected (nats), [point].
        c: log-ratios of the chosen (nats), [point].
        chosen: a+, [c, r].
        rejected: a-, [c, r].
        path_r: log-ratios of the rejected along the run, [record, pair].
        path_c: log-ratios of the chosen along the run, [record, pair].
    """

    r: np.ndarray
    c: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    path_r: np.ndarray
    path_c: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A run, ready to draw.

    Args:
        run: the run.
        likelihoods: `Trajectory.likelihoods`.
        pairs: `Trajectory.pair_log_probs`.
        properties: `Trajectory.properties`.
        table: probabilities of the shown responses, [record, prompt, shown].
        shown: which responses those are, [shown].
        roles: of the shown responses, [prompt, shown].
        mass: probability of each role, mean over prompts, [record, role].
        plane: the slopes and the path on them.
    """

    run: Trajectory
    likelihoods: xr.Dataset
    pairs: xr.Dataset
    properties: xr.Dataset
    table: np.ndarray
    shown: np.ndarray
    roles: np.ndarray
    mass: np.ndarray
    plane: Plane

    @classmethod
    def of(cls, run: Trajectory) -> "View":
        """Everything that is drawn of a run of one seed.

        Args:
            run: the run.

        Example:
            >>> import toymodel as tm
            >>> run = tm.simulate("both_on_policy", "tabular", "dpo", "sgd",
            ...                   learning_rate=1.0, steps=9)
            >>> View.of(run).mass.shape
            (10, 5)
        """
        probs = np.exp(np.asarray(run.log_probs, float))
        roles = np.asarray(run.scenario.roles)
        masks = np.asarray(role_masks(run.scenario.roles))
        shown = _likeliest(probs, roles)
        pairs = run.pair_log_probs()
        return cls(
            run=run,
            likelihoods=run.likelihoods(),
            pairs=pairs,
            properties=run.properties(),
            table=probs[..., shown],
            shown=shown,
            roles=roles[:, shown],
            mass=np.einsum("txy,xyr->tr", probs, masks) / len(roles),
            plane=_plane(run, pairs),
        )

    @property
    def lost_at(self) -> int | None:
        """The first recorded step that is not finite; None if all are."""
        finite = np.isfinite(np.asarray(self.run.log_probs)).all(axis=(1, 2))
        return None if finite.all() else int(self.run.steps[np.argmin(finite)])


def _likeliest(probs: np.ndarray, roles: np.ndarray) -> np.ndarray:
    """Which responses a heat map shows: all, or those of pairs and the likeliest others."""
    if roles.shape[1] <= _COLUMNS:
        return np.arange(roles.shape[1])
    is_paired = (roles != Role.UNSEEN).any(axis=0)
    highest = np.nan_to_num(probs).max(axis=(0, 1)) + is_paired
    return np.sort(np.argsort(-highest, kind="stable")[:_COLUMNS])


def _plane(run: Trajectory, pairs: xr.Dataset) -> Plane:
    """The slopes over a window around the path; the reference is the mean pair's."""
    assert isinstance(run.loss, PreferenceLoss)
    halves = {name: np.asarray(pairs[name].values, float) for name in ("chosen", "rejected")}
    starts = {name: values[0] for name, values in halves.items()}
    path = {name: values - starts[name] for name, values in halves.items()}
    r, c = _window(path["rejected"]), _window(path["chosen"])
    chosen, rejected = _slopes(
        run.loss, jnp.asarray(c), jnp.asarray(r), starts["chosen"].mean(), starts["rejected"].mean()
    )
    return Plane(r, c, np.asarray(chosen), np.asarray(rejected), path["rejected"], path["chosen"])


def _window(path: np.ndarray) -> np.ndarray:
    """Evenly spaced points around zero over all that a path went through, and a little more."""
    finite = path[np.isfinite(path)]
    low, high = (-finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    margin = max(_LEAST_MARGIN, 0.05 * (low + high))
    return np.linspace(-ceiling(low + margin), ceiling(high + margin), _POINTS)


@jax.jit
def _slopes(
    loss: PreferenceLoss, c: jax.Array, r: jax.Array, log_chosen: Scalar, log_rejected: Scalar
) -> tuple[jax.Array, jax.Array]:
    """Slopes of single pairs, each a batch of its own: a+ and a-, each [c, r]."""

    def one(c: jax.Array, r: jax.Array) -> tuple[jax.Array, jax.Array]:
        pair = [jnp.reshape(half, 1) for half in (log_chosen + c, log_rejected + r)]
        reference = [jnp.reshape(half, 1) for half in (log_chosen, log_rejected)]
        chosen, rejected = loss.slopes(PairBatch(*pair, *reference))
        return chosen[0], rejected[0]

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(c, r)
