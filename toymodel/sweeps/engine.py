"""Computing a block of cells: fits, then chunks of cells trained and measured in one compiled call.

Everything that decides a number (which cells share a chunk, how large it is) follows from the plan,
so a block computed again, anywhere, has the same bits.
"""

import functools
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from toymodel import properties, training
from toymodel.sweeps import records
from toymodel.sweeps.layout import Block
from toymodel.sweeps.places import Parts, place_all
from toymodel.sweeps.plan import Group, Plan
from toymodel.sweeps.records import Record
from toymodel.sweeps.steppers import Numbers, Structure, stepper, structure_of
from toymodel.trajectory import FIT_TOLERANCE

_FITS_AT_ONCE = 64
_FITS_KEPT = 64

_PROGRAMS_KEPT = 256

Results = dict[str, np.ndarray]

_compiling = threading.Lock()  # two threads that need one program compile it once
_compiled: OrderedDict[Any, Any] = OrderedDict()


class Engine:
    """Computes blocks of a plan; its methods may run in several threads at once.

    Args:
        plan: the sweep.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._x64 = jnp.result_type(float) == jnp.float64  # which threads do not inherit
        self._fits: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()
        steps = plan.sweep.steps
        stops = records.stops(plan.records, steps)
        self._spans = jnp.asarray(stops[:-1]), jnp.asarray(np.diff(stops))
        self._kept = {r.kind: np.isin(stops, records.kept(r, steps)) for r in plan.records}
        measured = self._kept.get("properties", np.zeros(len(stops), bool))
        self._measured = jnp.asarray(measured[1:])

    def compute(self, block: Block, wanted: np.ndarray | None = None) -> Results:
        """The results of a block's cells, each [*cells of the block, *dims of the variable].

        Args:
            block: which.
            wanted: the cells to compute, [*cells of the block]; default: all. Others hold fill.
        """
        layout = self.plan.layout
        shape = tuple(part.stop - part.start for part in layout.region(block).values())
        flat = np.ones(shape, bool).ravel() if wanted is None else wanted.ravel()
        results = {
            name: np.full((flat.size, *v.shape), np.nan if v.dtype.kind == "f" else 0, v.dtype)
            for name, v in layout.variables.items()
        }
        with jax.enable_x64(self._x64):
            for group in self.plan.groups(block):
                keep = flat[group.cells]
                if keep.any():
                    for name, values in self._group(group, keep).items():
                        results[name][group.cells[keep]] = values
        return {name: v.reshape((*shape, *v.shape[1:])) for name, v in results.items()}

    def _group(self, group: Group, keep: np.ndarray) -> Results:
        numbers = {name: values[keep] for name, values in group.numbers.items()}
        seeds = group.seeds[keep]
        structure = structure_of(group.parts, frozenset(numbers), group.batch_size)
        params, reference, error = self._fitted(group.parts, numbers, seeds)
        pieces = []
        for start in range(0, len(seeds), self.plan.chunk):
            # the last cells of a chunk that is not full are repeated: one shape, one compilation
            cells = np.minimum(np.arange(start, start + self.plan.chunk), len(seeds) - 1)
            by_cell = _spread(
                (
                    {name: jnp.asarray(values[cells]) for name, values in numbers.items()},
                    seeds[cells],
                    jax.tree.map(lambda leaf, at=cells: leaf[at], params),
                    reference[cells],
                )
            )
            raw = self._trained(structure, (group.parts, *by_cell, *self._spans, self._measured))
            piece = self._labelled(raw, error[cells])
            pieces.append({name: v[: len(seeds) - start] for name, v in piece.items()})
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def _trained(self, structure: Structure, arguments: tuple[Any, ...]) -> dict[str, jax.Array]:
        """`_train`, compiled once for all threads."""
        shapes = [jax.typeof(leaf) for leaf in jax.tree.leaves(arguments)]
        key = (structure, self.plan.records, jax.tree.structure(arguments), tuple(shapes))
        with _compiling:
            if key not in _compiled:
                lowered = _train.lower(structure, self.plan.records, *arguments)
                _compiled[key] = lowered.compile()
            _compiled.move_to_end(key)
            while len(_compiled) > _PROGRAMS_KEPT:
                _compiled.popitem(last=False)
            program = _compiled[key]
        found: dict[str, jax.Array] = program(*arguments)
        return found

    def _labelled(self, raw: Mapping[str, Any], error: np.ndarray) -> Results:
        """What a chunk gives, with the cells first, as the variables hold it."""
        values: dict[str, Any] = {"fit_error": error}
        for name, value in raw.items():
            array = np.moveaxis(np.asarray(value), -1, 0)
            kind = "log_probs" if name == "log_probs" else "likelihoods"
            values[name] = array[:, self._kept[kind]] if name in _CURVES else array
        finite = values.pop("finite")
        status = np.where(error > FIT_TOLERANCE, records.POOR_FIT, records.FINE)
        values["status"] = np.where(finite, status, records.NOT_FINITE)
        return records.as_stored(values, self.plan.layout.variables)

    def _fitted(
        self, parts: Parts, numbers: Mapping[str, np.ndarray], seeds: np.ndarray
    ) -> tuple[Any, np.ndarray, np.ndarray]:
        """Parameters, reference and error of each cell's fit; cells that start alike share one."""
        of_fit = sorted(name for name in numbers if name.split(".")[0] in ("scenario", "policy"))
        table = np.stack([seeds.astype(float), *(numbers[name] for name in of_fit)], axis=1)
        distinct, index = np.unique(table, axis=0, return_inverse=True)
        fits = []
        together = min(_FITS_AT_ONCE, 2 ** (len(distinct) - 1).bit_length())
        for start in range(0, len(distinct), together):
            at = np.minimum(np.arange(start, start + together), len(distinct) - 1)
            rows = distinct[at]
            fits.append(self._fit_of(parts, tuple(of_fit), rows))
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves)[index.ravel()], *fits)
        params, reference, error = joined
        return params, reference, error

    def _fit_of(self, parts: Parts, names: tuple[str, ...], rows: np.ndarray) -> Any:
        """The fits of one batch of distinct starts; blocks that start alike compute them once."""
        structure = jax.tree.structure((parts.scenario, parts.policy))
        leaves = [
            np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((parts.scenario, parts.policy))
        ]
        key = (structure, tuple(leaves), names, rows.tobytes())
        with self._lock:
            if key in self._fits:
                self._fits.move_to_end(key)
                return self._fits[key]
        seeds = jnp.asarray(rows[:, 0].astype(int))
        numbers = {name: jnp.asarray(rows[:, 1 + i]) for i, name in enumerate(names)}
        found = jax.tree.map(np.asarray, _fit(parts, numbers, seeds))
        with self._lock:
            self._fits[key] = found
            while len(self._fits) > _FITS_KEPT:
                self._fits.popitem(last=False)
        return found


def _spread(by_cell: Any) -> Any:
    """Arrays with the cells first, on the device; over all of them where there are several."""
    devices = jax.devices()
    if len(devices) == 1:
        return jax.tree.map(jnp.asarray, by_cell)
    mesh = jax.sharding.Mesh(np.asarray(devices), ("cells",))
    by_first_axis = jax.sharding.PartitionSpec("cells")  # type: ignore[no-untyped-call]
    return jax.device_put(by_cell, jax.sharding.NamedSharding(mesh, by_first_axis))


_CURVES = {*(properties.Likelihoods.__dataclass_fields__), "log_probs"}


@jax.jit
def _fit(parts: Parts, numbers: Numbers, seeds: jax.Array) -> Any:
    """Fit a batch of cells: parameters, reference and error, with the cells first."""

    def one(numbers: Numbers, seed: jax.Array) -> Any:
        cell = place_all(parts, numbers)
        params, reference, fit = training.start(cell.scenario, cell.policy, jax.random.key(seed))
        return params, reference, fit.error

    return jax.vmap(one)(numbers, seeds)


@functools.partial(jax.jit, static_argnames=("structure", "kept"))
def _train(
    structure: Structure,
    kept: tuple[Record, ...],
    parts: Parts,
    numbers: Numbers,
    seeds: jax.Array,
    params: Any,
    reference: jax.Array,
    starts: jax.Array,
    lengths: jax.Array,
    measured: jax.Array,
) -> dict[str, jax.Array]:
    """Train one chunk from its fits and record; every result has the cells last."""
    kinds = {record.kind for record in kept}
    keys = jax.vmap(jax.random.key)(seeds)
    cells = stepper(structure, parts, numbers, keys, reference)
    state = cells.start(params)
    first = cells.log_probs(state)
    roles = parts.scenario.roles

    def curves(table: jax.Array) -> dict[str, jax.Array]:
        found = {"log_probs": table} if "log_probs" in kinds else {}
        if "likelihoods" in kinds:
            points = jax.vmap(
                lambda one: properties.likelihood_point(one, roles), in_axes=-1, out_axes=-1
            )(table)
            found |= {name: getattr(points, name) for name in points.__dataclass_fields__}
        return found

    def segment(carry: Any, span: tuple[jax.Array, jax.Array, jax.Array]) -> Any:
        state, gauge, finite = carry
        start, length, is_measured = span
        state = jax.lax.fori_loop(start, start + length, cells.step, state)
        table = cells.log_probs(state)
        finite = finite & jnp.all(jnp.isfinite(table), axis=(0, 1))
        if "properties" in kinds:
            gauge = jax.lax.cond(
                is_measured,
                lambda gauge: jax.vmap(
                    lambda one, table: one.update(start + length, table, roles),
                    in_axes=-1,
                    out_axes=-1,
                )(gauge, table),
                lambda gauge: gauge,
                gauge,
            )
        return (state, gauge, finite), curves(table)

    gauge: Any = ()
    if "properties" in kinds:
        begin_one = functools.partial(properties.Gauge.start, roles=roles)
        gauge = jax.vmap(begin_one, in_axes=-1, out_axes=-1)(first)
    begin = (state, gauge, jnp.all(jnp.isfinite(first), axis=(0, 1)))
    (state, gauge, finite), later = jax.lax.scan(segment, begin, (starts, lengths, measured))
    results = {"finite": finite}
    if "properties" in kinds:
        finish: Any = jax.vmap(lambda one: one.finish(roles), in_axes=-1, out_axes=-1)
        found = finish(gauge)
        results |= {name: getattr(found, name) for name in found.__dataclass_fields__}
    if "final" in kinds:
        results["final_log_probs"] = cells.log_probs(state)
    for name, value in curves(first).items():
        results[name] = jnp.concatenate([value[None], later[name]])
    return results
