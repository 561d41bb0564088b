"""What a run leaves: recorded log-probabilities, their labelled forms, and a checked file."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import gradients, losses, policies, properties
from toymodel._errors import InputError, refuse
from toymodel._typing import CurveArray, Params, TableArray
from toymodel._version import __version__
from toymodel.losses import PreferenceLoss
from toymodel.policies import Fit, Policy
from toymodel.scenarios import Pairs, Role, Scenario

FORMAT = 1  # raised whenever a saved run's layout changes


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """A run: what was trained and its log-probabilities at the recorded steps.

    With several seeds every array has a leading axis ``seed``.

    Args:
        scenario: the world.
        policy: the policy's form.
        loss: the preference loss.
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
    loss: PreferenceLoss
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
            f"{int(self.steps[-1])} steps of which {len(self.steps)} recorded)"
        )

    @property
    def has_seeds(self) -> bool:
        """Whether arrays have a leading axis of seeds."""
        return not isinstance(self.seed, int)

    def map_seeds(self, function: Callable[..., Any], *arrays: jax.Array) -> Any:
        """Apply a function of one run's arrays to this run, or to each seed's."""
        return (jax.vmap(function) if self.has_seeds else function)(*arrays)

    def _labelled(self, fields: Any, dims: tuple[str, ...]) -> xr.Dataset:
        """A dataclass of arrays as a Dataset, with each field's documentation as its long name."""
        lead = ("seed",) if self.has_seeds else ()
        extra = {len(dims): dims, len(dims) + 1: (*dims, "role")}
        data = {}
        for field in dataclasses.fields(fields):
            values = np.asarray(getattr(fields, field.name))
            names = (*lead, *extra[values.ndim - len(lead)])
            data[field.name] = (names, values, {"long_name": field.metadata["doc"]})
        coordinates = {"seed": ("seed", list(self.seed))} if self.has_seeds else {}  # type: ignore[arg-type]
        return xr.Dataset(data, coordinates, {"scenario": self.scenario.name})

    def properties(self, thresholds: properties.Thresholds | None = None) -> xr.Dataset:
        """The three properties for each prompt: sizes, onsets, and where the mass went.

        Args:
            thresholds: what counts as an onset; default `toymodel.properties.Thresholds`.

        Returns:
            A Dataset with dims prompt (and role, seed); each variable says what it is.
        """
        steps, roles = jnp.asarray(self.steps), self.scenario.roles
        measured = self.map_seeds(
            lambda curve: properties.measure(steps, curve, roles, thresholds), self.log_probs
        )
        dataset = self._labelled(measured, ("prompt",))
        titles = np.array([role.title for role in Role] + ["none"])
        dataset["receiving_role"] = dataset["receiving_role"].copy(
            data=titles[dataset["receiving_role"].values]
        )
        return dataset.assign_coords(role=[role.title for role in Role])

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
        return self._labelled(curves, ("step",)).assign_coords(step=self.steps)

    def pair_log_probs(self) -> xr.Dataset:
        """log pi(y+) and log pi(y-) of each pair (nats); dims step, pair (and seed)."""
        batch = self._pair_batches()
        lead = ("seed",) if self.has_seeds else ()
        dims = (*lead, "step", "pair")
        return xr.Dataset(
            {"chosen": (dims, batch.chosen), "rejected": (dims, batch.rejected)},
            {"step": self.steps},
        )

    def probability_gradients(self) -> xr.Dataset:
        """log10 of |dL/dpi(y+)| and |dL/dpi(y-)| of each pair; dims step, pair (and seed).

        Computed from logarithms, so values beyond any floating-point range are exact.
        """
        chosen, rejected = gradients.probabilities(self.loss, self._pair_batches())
        lead = ("seed",) if self.has_seeds else ()
        dims = (*lead, "step", "pair")
        to_log10 = 1 / np.log(10)
        return xr.Dataset(
            {
                "chosen": (dims, np.asarray(chosen.log_abs) * to_log10),
                "rejected": (dims, np.asarray(rejected.log_abs) * to_log10),
            },
            {"step": self.steps},
        )

    def _pair_batches(self) -> losses.PairBatch:
        """The loss's view at every record; arrays [(seed,) record, pair]."""

        def one(log_probs: TableArray, reference: TableArray) -> losses.PairBatch:
            return gradients.pair_batch(log_probs, reference, self.scenario.pairs)

        over_records = jax.vmap(one, in_axes=(0, None))
        batch: losses.PairBatch = self.map_seeds(over_records, self.log_probs, self.reference)
        lengths = jnp.ones_like(batch.chosen)
        return dataclasses.replace(batch, chosen_length=lengths, rejected_length=lengths)

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
                "loss": json.dumps(losses.REGISTRY.describe(self.loss)),
                "optimiser": json.dumps(self.optimiser),
                "batch_size": "all" if self.batch_size is None else self.batch_size,
                "seed": self.seed if isinstance(self.seed, int) else "several",
                "toymodel_version": __version__,
                "toymodel_format": FORMAT,
            },
        )
        dataset["log_prob"].attrs = {"units": "nat", "long_name": "log pi(response | prompt)"}
        dataset["step"].attrs = {"units": "updates", "long_name": "training step"}
        dataset["role"].attrs = {
            "flag_values": [int(role) for role in Role],
            "flag_meanings": " ".join(role.name.lower() for role in Role),
        }
        return dataset

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the run as a Zarr store, in one piece or not at all.

        Args:
            path: the folder to make, such as ``runs/first.zarr``.
            overwrite: replace what is there.

        Raises:
            InputError: the folder exists, or cannot be written.
        """
        target = Path(path)
        if target.exists() and not overwrite:
            raise refuse("path", str(target), "a path where nothing is", "pass overwrite=True")
        dataset = self.to_xarray()
        for index, leaf in enumerate(jax.tree.leaves(self.params)):
            dims = tuple(f"params_{index}_axis_{axis}" for axis in range(np.ndim(leaf)))
            dataset[f"params_{index}"] = (dims, np.asarray(leaf))
        dataset.attrs["digest"] = _digest(dataset)
        partial = target.with_name(target.name + ".partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            dataset.to_zarr(partial, mode="w", consolidated=False)
            if target.exists():
                shutil.rmtree(target)
            partial.rename(target)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise InputError(
                f"path: cannot write {str(target)!r} ({error}), expected a folder that can be "
                "written. To mend it: choose another path, or its permissions."
            ) from error
        return target


def load(path: str | Path) -> Trajectory:
    """Read a run that `Trajectory.save` wrote.

    Args:
        path: the Zarr folder.

    Raises:
        InputError: nothing there, not a saved run, another format, or damaged data.
    """
    source = Path(path)
    if not source.exists():
        raise refuse("path", str(source), "a run written by Trajectory.save")
    try:
        with xr.open_zarr(source, consolidated=False) as lazy:
            dataset = lazy.load()
    except Exception as error:  # the Zarr layers raise many kinds for a broken store
        raise _damaged(source, f"it cannot be read: {error}") from error
    written = dataset.attrs.get("toymodel_format")
    if written is None:
        raise refuse("path", str(source), "a run written by Trajectory.save; this store is not one")
    if written != FORMAT:
        version = dataset.attrs.get("toymodel_version", "unknown")
        raise refuse(
            "path",
            f"{source}, saved in format {written} by toymodel {version}",
            f"format {FORMAT}, which toymodel {__version__} reads",
            f"install toymodel {version}, or run it again",
        )
    digest = dataset.attrs.pop("digest", None)
    if digest != _digest(dataset):
        raise _damaged(source, "its contents do not match their checksum")
    return _rebuild(dataset)


def _damaged(source: Path, why: str) -> InputError:
    return InputError(
        f"path: {str(source)!r} is damaged or truncated ({why}), expected a whole saved run. "
        "To mend it: copy it again, or run it again."
    )


def _digest(dataset: xr.Dataset) -> str:
    """SHA-256 over every array's name, type, shape and bytes: lost chunks read back as fill."""
    state = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        values = np.ascontiguousarray(dataset[name].values)
        state.update(f"{name} {values.dtype.str} {values.shape}".encode())
        state.update(values.tobytes())
    return state.hexdigest()


def _rebuild(dataset: xr.Dataset) -> Trajectory:
    policy = policies.REGISTRY.rebuild(json.loads(dataset.attrs["policy"]))
    prompts, responses = dataset["log_table"].shape
    structure: Any = jax.tree.structure(
        jax.eval_shape(lambda key: policy.init(key, (prompts, responses)), jax.random.key(0))
    )
    leaves = [jnp.asarray(dataset[f"params_{k}"].values) for k in range(structure.num_leaves)]
    params = jax.tree.unflatten(structure, leaves)

    def array(name: str) -> jax.Array:
        return jnp.asarray(dataset[name].values)

    batch_size = dataset.attrs["batch_size"]
    return Trajectory(
        scenario=Scenario(
            log_table=array("log_table"),
            pairs=Pairs(*(array(f"pair_{field.name}") for field in dataclasses.fields(Pairs))),
            roles=array("role"),
            name=dataset.attrs["scenario"],
        ),
        policy=policy,
        loss=losses.REGISTRY.rebuild(json.loads(dataset.attrs["loss"])),
        optimiser=json.loads(dataset.attrs["optimiser"]),
        batch_size=None if batch_size == "all" else int(batch_size),
        seed=tuple(dataset["seed"].values.tolist())
        if "seed" in dataset.dims
        else int(dataset.attrs["seed"]),
        steps=dataset["step"].values,
        log_probs=array("log_prob"),
        reference=array("reference"),
        fit=Fit(params=params, divergence=array("fit_divergence"), error=array("fit_error")),
        params=params,
    )
