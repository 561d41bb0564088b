"""Training a reward model on preference pairs by its closed-form gradient."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from toymodel import optimisers, policies, sampling
from toymodel._errors import refuse, whole
from toymodel._struct import number, optional, struct
from toymodel._typing import CurveArray, Params, Scalar, TableArray
from toymodel.policies import Policy
from toymodel.rewards.agreement import accuracy, centred
from toymodel.rewards.bradley_terry import objective, table_gradient
from toymodel.scenarios import Pairs, Scenario

_DEFAULT_RECORDS = 200


@struct(eq=False)
class RewardFit:
    """What the training of a reward model leaves. Mapped over seeds or worlds, axes lead.

    The rewards of every prompt are centred: their mean under the scenario's initial policy is zero.
    """

    steps: jax.Array = number(doc="updates made before each record, [record]")
    rewards: CurveArray = number(doc="centred rewards, [record, prompt, response]")
    loss: jax.Array = number(doc="Bradley-Terry loss on all training pairs, [record]")
    accuracy: jax.Array = number(doc="accuracy on all training pairs, [record]")
    params: Params = number(doc="the model's parameters after the last update")
    validation_loss: jax.Array | None = optional(
        default=None, doc="Bradley-Terry loss on the validation pairs, [record]; None without any"
    )

    def best(self) -> TableArray:
        """The rewards at the record with the least validation loss: early stopping.

        Returns:
            [prompt, response].

        Raises:
            InputError: the model was fitted without validation pairs.
        """
        if self.validation_loss is None:
            mend = "give `fit` some pairs as `validation`, or take rewards[-1]"
            raise refuse("validation", None, "validation pairs", mend)
        least: TableArray = self.rewards[jnp.argmin(self.validation_loss)]
        return least


def fit(
    model: Policy | str,
    scenario: Scenario,
    key: jax.Array,
    *,
    optimiser: optimisers.Optimiser | optax.GradientTransformation | str = "adam",
    learning_rate: Scalar | None = None,
    steps: int = 500,
    batch_size: int | None = None,
    record: int | Sequence[int] | None = None,
    weight_decay: Scalar = 0.0,
    validation: Pairs | None = None,
    params: Params | None = None,
    baseline: TableArray | None = None,
) -> RewardFit:
    r"""Train a reward model on the scenario's pairs.

    With rewards :math:`r_\theta = z_\theta - b` it lowers

    .. math::
        \frac{\sum_i w_i\,[-\log\sigma(r_\theta(x_i, y_{i+}) - r_\theta(x_i, y_{i-}))]}
        {\sum_i w_i} + \frac{\lambda}{2}\,\|\theta\|^2

    Pairs that some theta orders without error (few pairs, or many parameters) have no minimiser at
    :math:`\lambda = 0`: rewards grow for ever, like log t. `weight_decay` makes one exist;
    `validation` with `RewardFit.best` stops early instead.

    DPO is the same thing. Started at the reference's parameters with the reference's logits as
    baseline, every update is that of DPO with beta = 1, since a softmax leaves differences of
    logits as they are.

    Everything maps: ``jax.vmap`` over keys, scenarios of one shape, and numbers.

    Args:
        model: the form of the reward, a `Policy` or the name of one: its logits z are the rewards.
        scenario: the world; its pairs are the data.
        key: for the random start and for mini-batches.
        optimiser: as for `toymodel.simulate`: an optax optimiser, or a name with `learning_rate`.
        learning_rate: with an optimiser's name only.
        steps: updates, at least one.
        batch_size: pairs an update. Default: all of them.
        record: an integer n for every n-th update, or the updates themselves, from 0 (before
            training) on; these must end with `steps`. Default: about 200, evenly spaced. 0 and the
            last are always added to an integer.
        weight_decay: lambda, at least 0, on all parameters alike. It enters the gradient; it is not
            decoupled as in AdamW.
        validation: pairs whose loss is recorded, for early stopping; not trained on.
        params: where to start. Default: ``model.init``, with random rewards.
        baseline: b, a table taken off the logits, [prompt, response]. Default: none.

    Returns:
        The `RewardFit`: rewards, loss and accuracy at the recorded updates.

    Raises:
        InputError: an argument that does not fit, named.

    Example:
        >>> from toymodel import scenarios
        >>> world = scenarios.both_on_policy()
        >>> found = fit("tabular", world, jax.random.key(0), optimiser="sgd", learning_rate=10.0,
        ...             steps=20)
        >>> found.rewards.shape, float(found.accuracy[-1])
        ((21, 4, 10), 1.0)

    References:
        Christiano et al., "Deep Reinforcement Learning from Human Preferences" (2017), equation 1;
        Ouyang et al., "Training language models to follow instructions with human feedback" (2022),
        equation 1.
    """
    model, method = policies.get(model), optimisers.get(optimiser, learning_rate)
    steps = whole("steps", steps, 1)
    if batch_size is not None:
        batch_size = whole("batch_size", batch_size, 1, len(scenario.pairs))
        batch_size = None if batch_size == len(scenario.pairs) else batch_size
    if not isinstance(weight_decay, jax.core.Tracer) and not (0 <= weight_decay < np.inf):
        raise refuse("weight_decay", weight_decay, "a finite number >= 0")
    if baseline is not None and np.shape(baseline) != scenario.shape:
        given = f"shape {np.shape(baseline)}"
        raise refuse("baseline", given, f"[prompt, response] of shape {scenario.shape}")
    if params is None:
        params = model.init(key, scenario.shape)
    found: RewardFit = trace(
        *(model, scenario, key, method, params, _recorded(record, steps)),
        batch_size=batch_size,
        weight_decay=weight_decay,
        validation=validation,
        baseline=baseline,
    )
    return found


@functools.partial(jax.jit, static_argnames="batch_size")
def trace(
    model: Policy,
    scenario: Scenario,
    key: jax.Array,
    method: optimisers.Optimiser | optimisers.Custom,
    params: Params,
    recorded: jax.Array,
    *,
    batch_size: int | None = None,
    weight_decay: Scalar = 0.0,
    validation: Pairs | None = None,
    baseline: TableArray | None = None,
) -> RewardFit:
    """What `fit` does once its arguments are checked: pure, for one world and one seed.

    Args:
        model: the form of the reward.
        scenario: the world.
        key: for mini-batches.
        method: how gradients become steps.
        params: where to start.
        recorded: updates at which to record, increasing, [record].
        batch_size: pairs an update; None for all.
        weight_decay: lambda.
        validation: pairs whose loss is recorded; None for none.
        baseline: taken off the logits, [prompt, response]; None for nothing.

    Returns:
        The `RewardFit`.
    """
    transformation, pairs = method.build(), scenario.pairs

    def rewards_at(params: Params) -> TableArray:
        logits = model.logits(params)
        return logits if baseline is None else logits - baseline

    def update(number: jax.Array, state: tuple[Params, Any]) -> tuple[Params, Any]:
        params, moments = state
        batch = pairs if batch_size is None else sampling.minibatch(pairs, batch_size, key, number)
        slope = model.vjp(params, table_gradient(rewards_at(params), batch))
        slope = jax.tree.map(lambda g, leaf: g + weight_decay * leaf, slope, params)
        updates, moments = transformation.update(slope, moments, params)
        return optax.apply_updates(params, updates), moments

    def segment(state: tuple[Params, Any], span: tuple[jax.Array, jax.Array]) -> tuple:
        state = jax.lax.fori_loop(*span, update, state)
        table = rewards_at(state[0])
        held = None if validation is None else objective(table, validation)
        seen = objective(table, pairs), accuracy(table, pairs)
        return state, (centred(table, scenario.log_table), *seen, held)

    recorded = jnp.asarray(recorded)
    spans = jnp.concatenate([jnp.zeros_like(recorded[:1]), recorded[:-1]]), recorded
    start = (params, transformation.init(params))
    state, records = jax.lax.scan(segment, start, spans)  # type: ignore[var-annotated]
    rewards, loss, right, held = records
    return RewardFit(recorded, rewards, loss, right, state[0], held)


def _recorded(record: int | Sequence[int] | None, steps: int) -> np.ndarray:
    """The updates to record at, [record]; the last one always, so that training is finished."""
    if record is None:
        record = max(1, steps // _DEFAULT_RECORDS)
    if isinstance(record, int | np.integer):
        every = whole("record", record, 1, steps)
        return np.unique(np.append(np.arange(0, steps + 1, every), steps))
    values = np.asarray(record)
    if values.ndim != 1 or values.size == 0 or not np.issubdtype(values.dtype, np.integer):
        raise refuse("record", record, "n for every n-th update, or a list of whole updates")
    if np.any(np.diff(values, prepend=-1) <= 0) or values[-1] != steps:
        raise refuse("record", record, f"increasing updates from 0 that end at steps = {steps}")
    return values
