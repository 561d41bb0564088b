"""What a run leaves: recorded log-probabilities, and their labelled forms."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import (
    decomposition,
    gradients,
    losses,
    objectives,
    optimisers,
    policies,
    properties,
    storage,
)
from toymodel._errors import refuse
from toymodel._registry import Registry
from toymodel._typing import CurveArray, Params, TableArray
from toymodel.losses import PreferenceLoss
from toymodel.objectives import Objective
from toymodel.policies import Fit, Policy
from toymodel.scenarios import Pairs, Role, Scenario

FIT_TOLERANCE = 0.05  # in probability: beyond this a run does not start from the scenario's table


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """A run: what was trained and its log-probabilities at the recorded steps.

    With several seeds every array has a leading axis ``seed``.

    Args:
        scenario: the world.
        policy: the policy's form.
        loss: the preference loss, or the objective.
        optimiser: the optimiser, as plain data.
        batch_size: pairs a step; None for all.
        seed: the seed, or the seeds.
        steps: recorded steps, [record].
        log_probs: log-probabilities (nats), [record, prompt, response].
        reference: the reference's log-probabilities, [prompt, response].
        fit: how the supervised stage went.
        params: the parameters after the last step.
    """

    scenario: Scenario
    policy: Policy
    loss: PreferenceLoss | Objective
    optimiser: dict[str, Any]
    batch_size: int | None
    seed: int | tuple[int, ...]
    steps: np.ndarray
    log_probs: CurveArray
    reference: TableArray
    fit: Fit
    params: Params

    def __repr__(self) -> str:
        seeds = f"seed {self.seed}" if isinstance(self.seed, int) else f"{len(self.seed)} seeds"
        optimiser = ", ".join(f"{key}={value}" for key, value in self.optimiser.items())
        return (
            f"Trajectory({self.scenario.name}, {self.policy}, {self.loss}, {optimiser}, {seeds}, "
            f"{int(self.steps[-1])} steps of which {len(self.steps)} recorded{self._troubles()})"
        )

    def _troubles(self) -> str:
        """What a reader of results must know: a fit that failed, numbers that are not finite."""
        errors = np.atleast_1d(np.asarray(self.fit.error))
        finite = np.isfinite(np.asarray(self.log_probs)).reshape(len(errors), -1).all(axis=1)
        poor, lost = int((errors > FIT_TOLERANCE).sum()), int((~finite).sum())
        of = f"of {len(errors)} seeds"
        told = f"; POOR FIT in {poor} {of} (error over {FIT_TOLERANCE})" if poor else ""
        return told + (f"; NOT FINITE in {lost} {of}" if lost else "")

    @property
    def has_seeds(self) -> bool:
        """Whether arrays have a leading axis of seeds."""
        return not isinstance(self.seed, int)

    def map_seeds(self, function: Callable[..., Any], *arrays: jax.Array) -> Any:
        """Apply a function of one run's arrays to this run, or to each seed's."""
        return (jax.vmap(function) if self.has_seeds else function)(*arrays)

    def _dataset(
        self,
        columns: Mapping[str, tuple[tuple[str, ...], Any, str]],
        steps: np.ndarray | None = None,
    ) -> xr.Dataset:
        """Name -> (dims without seed, values, what it is), as a Dataset with coordinates."""
        lead = ("seed",) if self.has_seeds else ()
        data = {
            name: ((*lead, *dims), np.asarray(values), {"long_name": meaning})
            for name, (dims, values, meaning) in columns.items()
        }
        coordinates: dict[str, Any] = {"seed": list(self.seed)} if self.has_seeds else {}  # type: ignore[arg-type]
        if any("step" in dims for dims, *_ in columns.values()):
            coordinates["step"] = self.steps if steps is None else steps
        return xr.Dataset(data, coordinates, {"scenario": self.scenario.name})

    def properties(self, thresholds: properties.Thresholds | None = None) -> xr.Dataset:
        """The three properties for each prompt: sizes, onsets, and where the mass went.

        Args:
            thresholds: what counts as an onset; default `toymodel.properties.Thresholds`.

        Returns:
            A Dataset with dims prompt (and role, seed); each variable says what it is. A step or
            response that does not exist (an onset that never came) is NaN. Write ``found["drop"]``:
            ``found.drop`` is a method of xarray.
        """
        steps, roles = jnp.asarray(self.steps), self.scenario.roles
        measured = self.map_seeds(
            lambda curve: properties.measure(steps, curve, roles, thresholds), self.log_probs
        )
        titles = np.array([role.title for role in Role] + ["none"])
        columns: dict[str, tuple[tuple[str, ...], Any, str]] = {}
        for field in dataclasses.fields(measured):
            values = np.asarray(getattr(measured, field.name))
            if field.name == "receiving_role":
                values = titles[values]
            elif values.dtype.kind == "i":
                values = np.where(values < 0, np.nan, values)
            dims = ("prompt", "role") if field.name == "gain_by_role" else ("prompt",)
            columns[field.name] = (dims, values, field.metadata["doc"])
        return self._dataset(columns).assign_coords(role=titles[:-1])

    def likelihoods(self, *, drop_underflow: bool = False) -> xr.Dataset:
        """The paper's five curves over training, as probabilities; dims step (and seed).

        Args:
            drop_underflow: reproduce the printed figure's artefact; see
                `toymodel.properties.likelihoods`.
        """
        roles = self.scenario.roles
        curves = self.map_seeds(
            lambda log_probs: properties.likelihoods(
                log_probs, roles, drop_underflow=drop_underflow
            ),
            self.log_probs,
        )
        return self._dataset(
            {
                field.name: (("step",), getattr(curves, field.name), field.metadata["doc"])
                for field in dataclasses.fields(curves)
            }
        )

    def pair_log_probs(self) -> xr.Dataset:
        """log pi(y+) and log pi(y-) of each pair (nats); dims step, pair (and seed)."""
        batch = self._at_records(lambda batch: batch)
        dims = ("step", "pair")
        return self._dataset(
            {
                "chosen": (dims, batch.chosen, "log pi(y+) (nats)"),
                "rejected": (dims, batch.rejected, "log pi(y-) (nats)"),
            }
        )

    def probability_gradients(self) -> xr.Dataset:
        """log10 of |dL/dpi(y+)| and |dL/dpi(y-)| of each pair; dims step, pair (and seed).

        Computed from logarithms, so values beyond any floating-point range are exact.
        """
        loss = self._preference_loss()
        chosen, rejected = self._at_records(lambda batch: gradients.probabilities(loss, batch))
        dims, to_log10 = ("step", "pair"), 1 / np.log(10)
        return self._dataset(
            {
                "chosen": (dims, np.asarray(chosen.log_abs) * to_log10, "log10 |dL/dpi(y+)|"),
                "rejected": (dims, np.asarray(rejected.log_abs) * to_log10, "log10 |dL/dpi(y-)|"),
            }
        )

    def training_curves(self) -> xr.Dataset:
        """What a training log shows: the loss, the margin and the accuracy; dims step (and seed).

        The loss is the weighted mean over all pairs; the margin (nats) is its mean; the accuracy is
        the share of pairs whose margin is positive. At the reference every margin is zero.
        """
        pairs, given = self.scenario.pairs, self._preference_loss()

        def curves(batch: losses.PairBatch) -> tuple[jax.Array, ...]:
            margin = batch.margin
            values = (given.value(batch), margin, (margin > 0).astype(margin.dtype))
            return tuple(jnp.asarray(pairs.mean(value)) for value in values)

        loss, margin, accuracy = self._at_records(curves)
        return self._dataset(
            {
                "loss": (("step",), loss, "mean loss"),
                "margin": (("step",), margin, "mean margin (nats)"),
                "accuracy": (("step",), accuracy, "share of pairs with a positive margin"),
            }
        )

    def decompose(self, at: int | Sequence[int] = 50) -> xr.Dataset:
        r"""Why each response moved: steps of this run split into pushes and the optimiser's doing.

        The run is trained again to the steps asked for. The parts of a step add up to its change
        exactly; see `toymodel.decomposition`.

        Args:
            at: how many steps to split, evenly spaced, or which (from 0; step t is the one that
                leads from record t to t + 1).

        Returns:
            A Dataset over step, prompt and response (and pair, seed): the pushes `chosen` and
            `rejected` of each pair's halves, `preconditioning`, `momentum`, `unsplit`, `residual`
            and their sum `change` (nats); `bound` limits the residual.

        Raises:
            InputError: an optimiser given as an optax object (it cannot be rebuilt), or what is
                no step of the run.

        Example:
            >>> import toymodel as tm
            >>> run = tm.simulate("both_on_policy", "tabular", "dpo", "sgd",
            ...                   learning_rate=1.0, steps=20)
            >>> parts = run.decompose(at=[0, 10])
            >>> bool((abs(parts["residual"]) <= parts["bound"]).all())
            True
        """
        chosen = decomposition.steps_to_split(at, int(self.steps[-1]))
        settings = dict(self.optimiser)
        name = settings.pop("name")
        if name not in optimisers.names():
            raise refuse("optimiser", name, "one by name", 'such as "adam" with a learning rate')
        loss = self._preference_loss()
        lengths = np.diff(chosen, prepend=0)
        seeds = jnp.asarray(self.seed if self.has_seeds else [self.seed])
        found = decomposition.replay(
            self.scenario,
            self.policy,
            loss,
            optimisers.get(name, settings.pop("learning_rate"), **settings),
            jax.vmap(jax.random.key)(seeds),
            jnp.asarray(chosen - lengths),
            jnp.asarray(lengths),
            self.batch_size,
        )
        columns: dict[str, tuple[tuple[str, ...], Any, str]] = {}
        for field in dataclasses.fields(found):
            values = np.asarray(getattr(found, field.name))
            values = values if self.has_seeds else values[0]
            dims = ("step", "prompt", "response", "pair")[: values.ndim - int(self.has_seeds)]
            columns[field.name] = (dims, values, field.metadata["doc"])
        dataset = self._dataset(columns, steps=chosen)
        return dataset.assign_coords(pair_prompt=("pair", np.asarray(self.scenario.pairs.prompt)))

    def _goals(self) -> Registry[Any]:
        """The registry of what was lowered."""
        return objectives.REGISTRY if isinstance(self.loss, Objective) else losses.REGISTRY

    def _preference_loss(self) -> PreferenceLoss:
        """The loss on the scenario's pairs; a run without one is refused."""
        if isinstance(self.loss, PreferenceLoss):
            return self.loss
        expected = "a run of a preference loss on the scenario's own pairs"
        raise refuse("loss", type(self.loss).__name__, expected)

    def _at_records(self, function: Callable[[losses.PairBatch], Any]) -> Any:
        """A function of the loss's view of all pairs, at every record; [(seed,) record, ...]."""

        def one(log_probs: TableArray, reference: TableArray) -> Any:
            return function(gradients.pair_batch(log_probs, reference, self.scenario.pairs))

        over_records = jax.vmap(one, in_axes=(0, None))
        return self.map_seeds(over_records, self.log_probs, self.reference)

    def to_xarray(self) -> xr.Dataset:
        """The run as a labelled Dataset: log-probabilities with roles, settings as attributes."""
        lead = ("seed",) if self.has_seeds else ()
        pairs = self.scenario.pairs
        dataset = xr.Dataset(
            {
                "log_prob": ((*lead, "step", "prompt", "response"), np.asarray(self.log_probs)),
                "reference": ((*lead, "prompt", "response"), np.asarray(self.reference)),
                "log_table": (("prompt", "response"), np.asarray(self.scenario.log_table)),
                "fit_divergence": ((*lead, "prompt"), np.asarray(self.fit.divergence)),
                "fit_error": (lead, np.asarray(self.fit.error)),
                **{
                    f"pair_{field.name}": ("pair", np.asarray(getattr(pairs, field.name)))
                    for field in dataclasses.fields(pairs)
                },
            },
            {
                "step": self.steps,
                "prompt": np.arange(self.scenario.shape[0]),
                "response": np.arange(self.scenario.shape[1]),
                "role": (("prompt", "response"), np.asarray(self.scenario.roles)),
                **({"seed": list(self.seed)} if self.has_seeds else {}),  # type: ignore[arg-type]
            },
            {
                "scenario": self.scenario.name,
                "policy": json.dumps(policies.REGISTRY.describe(self.policy)),
                "loss": json.dumps(self._goals().describe(self.loss)),
                "goal": self._goals().kind,
                "optimiser": json.dumps(self.optimiser),
                "batch_size": "all" if self.batch_size is None else self.batch_size,
                "seed": self.seed if isinstance(self.seed, int) else "several",
            },
        )
        if self.scenario.rewards is not None:
            dataset["rewards"] = (("prompt", "response"), np.asarray(self.scenario.rewards))
        for index, leaf in enumerate(jax.tree.leaves(self.params)):
            dims = tuple(f"params_{index}_axis_{axis}" for axis in range(np.ndim(leaf)))
            dataset[f"params_{index}"] = (dims, np.asarray(leaf))
        dataset["log_prob"].attrs = {"units": "nat", "long_name": "log pi(response | prompt)"}
        dataset["step"].attrs = {"units": "updates", "long_name": "training step"}
        dataset["role"].attrs = {
            "flag_values": [int(role) for role in Role],
            "flag_meanings": " ".join(role.name.lower() for role in Role),
        }
        return dataset

    @classmethod
    def from_xarray(cls, dataset: xr.Dataset) -> "Trajectory":
        """The run that `to_xarray` described."""

        def array(name: str) -> jax.Array:
            return jnp.asarray(dataset[name].values)

        if dataset["log_prob"].dtype != jnp.result_type(float):
            raise refuse(
                "path",
                f"a run in {dataset['log_prob'].dtype}",
                f"JAX's present precision, {jnp.result_type(float)}",
                "switch with jax.config.update('jax_enable_x64', ...) before loading",
            )
        settings = dataset.attrs
        scenario = Scenario(
            log_table=array("log_table"),
            pairs=Pairs(*(array(f"pair_{field.name}") for field in dataclasses.fields(Pairs))),
            roles=array("role"),
            name=settings["scenario"],
            rewards=array("rewards") if "rewards" in dataset else None,
        )
        policy = policies.REGISTRY.rebuild(json.loads(settings["policy"]))
        is_loss = settings.get("goal", losses.REGISTRY.kind) == losses.REGISTRY.kind
        goals = losses.REGISTRY if is_loss else objectives.REGISTRY
        structure: Any = jax.tree.structure(
            jax.eval_shape(lambda key: policy.init(key, scenario.shape), jax.random.key(0))
        )
        leaves = [array(f"params_{index}") for index in range(structure.num_leaves)]
        several = "seed" in dataset.dims
        batch_size = settings["batch_size"]
        return cls(
            scenario=scenario,
            policy=policy,
            loss=goals.rebuild(json.loads(settings["loss"])),
            optimiser=json.loads(settings["optimiser"]),
            batch_size=None if batch_size == "all" else int(batch_size),
            seed=tuple(dataset["seed"].values.tolist()) if several else int(settings["seed"]),
            steps=dataset["step"].values,
            log_probs=array("log_prob"),
            reference=array("reference"),
            fit=Fit(divergence=array("fit_divergence"), error=array("fit_error")),
            params=jax.tree.unflatten(structure, leaves),
        )

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the run as a Zarr store, whole or not at all; `toymodel.load` reads it.

        Args:
            path: the folder to make, such as ``runs/first.zarr``.
            overwrite: replace a saved run that is there.

        Raises:
            InputError: something is there already, the folder cannot be written, or the policy or
                loss has no registered name, by which `load` could rebuild it.
        """
        policies.REGISTRY.require(self.policy)
        self._goals().require(self.loss)
        return storage.write(self.to_xarray(), path, overwrite=overwrite)


def load(path: str | Path) -> Trajectory:
    """Read a run that `Trajectory.save` wrote.

    Args:
        path: the Zarr folder.

    Raises:
        InputError: nothing there, not a saved run, another format, or damaged data.
    """
    return Trajectory.from_xarray(storage.read(path))
