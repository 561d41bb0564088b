"""A sweep spelled out before anything runs: what is checked, compiled, computed block by block."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from toymodel import losses, optimisers, policies, scenarios
from toymodel._errors import refuse, whole
from toymodel.losses import PreferenceLoss
from toymodel.policies import Policy
from toymodel.scenarios import Scenario
from toymodel.sweeps import axes, records
from toymodel.sweeps.axes import Axis, Over
from toymodel.sweeps.layout import Block, Coordinate, Layout
from toymodel.sweeps.places import PARTS, Parts, is_number, lacks, place
from toymodel.sweeps.records import Record

_CHUNK_BYTES = 4_000_000  # parameters and moments of a chunk; measured: see docs/sweeps.md
_CHUNK_LIMITS = (16, 4096)
_ACCELERATOR = 128  # how many times as much an accelerator takes at once
_CHUNKS_A_BLOCK = 8
_LEAST_BLOCKS = 16  # so that both cores have work, and progress shows
_PLACEHOLDER = 1e-3  # a learning rate that the design replaces


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What all cells of a sweep have in common; `toymodel.sweep` varies the rest.

    Args:
        scenario: a `Scenario`, or the name of one.
        policy: a `Policy`, or the name of one.
        loss: a `PreferenceLoss`, or the name of one.
        optimiser: an optimiser by name (or an optax object, whose numbers cannot be swept).
        learning_rate: with a name; not needed where the sweep varies it.
        steps: training steps.
        batch_size: pairs a step; all where left out.
        seed: of cells where the sweep does not vary it.
    """

    scenario: Scenario | str = "both_on_policy"
    policy: Policy | str = "mlp"
    loss: PreferenceLoss | str = "dpo"
    optimiser: Any = "adam"
    learning_rate: float | None = None
    steps: int = 2000
    batch_size: int | None = None
    seed: int = 0

    def parts(self, swept: frozenset[str]) -> Parts:
        """The parts, checked."""
        rate = self.learning_rate
        is_swept = swept & {"learning_rate", "optimiser.learning_rate"}
        if rate is None and isinstance(self.optimiser, str) and is_swept:
            rate = _PLACEHOLDER
        return Parts(
            scenarios.get(self.scenario),
            policies.get(self.policy),
            losses.get(self.loss),
            optimisers.get(self.optimiser, rate),
        )


@dataclasses.dataclass(frozen=True)
class Group:
    """Cells of one block that are compiled alike.

    Args:
        parts: with their structure in place.
        batch_size: pairs a step; None for all.
        cells: where they are in the block, flattened.
        numbers: setting -> its value in each cell, [cell].
        seeds: of each cell.
    """

    parts: Parts
    batch_size: int | None
    cells: np.ndarray
    numbers: dict[str, np.ndarray]
    seeds: np.ndarray


@dataclasses.dataclass(frozen=True)
class Plan:
    """A checked sweep.

    Args:
        sweep: what all cells share.
        parts: the same, as parts.
        axes: the design.
        numbers: the settings of the design that are numbers; the others are structure.
        records: what is kept.
        chunk: cells trained at once.
        layout: the shape of the results.
    """

    sweep: Sweep
    parts: Parts
    axes: tuple[Axis, ...]
    numbers: frozenset[str]
    records: tuple[Record, ...]
    chunk: int
    layout: Layout

    def groups(self, block: Block) -> Iterator[Group]:
        """The cells of a block, by what they are compiled for."""
        region = self.layout.region(block)
        places = [np.arange(part.start, part.stop) for part in region.values()]
        grid = np.meshgrid(*places, indexing="ij") if places else []
        index = {axis.dim: at.ravel() for axis, at in zip(self.axes, grid, strict=True)}
        cells = math.prod(len(place) for place in places)
        keys: dict[tuple[int, ...], list[int]] = {}
        structural = [a for a in self.axes if set(a.settings) - self.numbers - {"seed"}]
        if structural:
            for cell, key in enumerate(
                zip(*(index[a.dim].tolist() for a in structural), strict=True)
            ):
                keys.setdefault(key, []).append(cell)
        else:
            keys[()] = list(range(cells))
        for key, chosen in self._merged(structural, keys):
            settings = {
                name: axis.settings[name][at]
                for axis, at in zip(structural, key, strict=True)
                for name in axis.settings
                if name not in self.numbers and name != "seed"
            }
            where = np.asarray(chosen)
            values = {
                name: np.asarray(values, dtype=float)[index[axis.dim][where]]
                for axis in self.axes
                for name, values in axis.settings.items()
                if name in self.numbers
            }
            seeds = np.full(len(where), self.sweep.seed)
            for axis in self.axes:
                if "seed" in axis.settings:
                    seeds = np.asarray(axis.settings["seed"])[index[axis.dim][where]]
            batch_size = settings.pop("batch_size", self.sweep.batch_size)
            parts = _structured(self.parts, settings)
            values = {name: of for name, of in values.items() if not lacks(parts, name)}
            yield Group(parts, batch_size, where, values, seeds)

    def _merged(
        self, structural: list[Axis], keys: Mapping[tuple[int, ...], list[int]]
    ) -> list[tuple[tuple[int, ...], list[int]]]:
        """Places of structural axes that hold the same structure are one group."""
        merged: dict[str, tuple[tuple[int, ...], list[int]]] = {}
        for key, cells in keys.items():
            what = repr(
                [
                    (name, axis.settings[name][at])
                    for axis, at in zip(structural, key, strict=True)
                    for name in axis.settings
                    if name not in self.numbers and name != "seed"
                ]
            )
            merged.setdefault(what, (key, []))[1].extend(cells)
        return list(merged.values())


def make(
    sweep: Sweep,
    over: Over,
    record: str | Iterable[str] = ("properties",),
    *,
    chunk: int | None = None,
) -> Plan:
    """Check a sweep and lay out its results.

    Args:
        sweep: what all cells share.
        over: the design; see `toymodel.sweeps.axes`.
        record: what to keep; see `toymodel.sweeps.records`.
        chunk: cells trained at once; default: as many as fit the cache.

    Raises:
        InputError: a setting that does not exist, a value out of range, or settings that
            contradict each other.
    """
    design = axes.design(over)
    swept = frozenset(name for axis in design for name in axis.settings)
    base = sweep.parts(swept)
    steps = whole("steps", sweep.steps, 1)
    kept = records.parse(record, steps)
    wholes = frozenset(PARTS) & swept
    wholly = _combinations(base, design, wholes)
    numbers = frozenset(
        name
        for name in swept - wholes - {"seed", "batch_size"}
        if all(is_number(parts, name) for parts in _holders(wholly, name))
    )
    structures = _combinations(base, design, swept - numbers - {"seed", "batch_size"})
    _check_values(structures, design, numbers, sweep)
    shapes = {parts.scenario.shape for parts in structures}
    if len(shapes) > 1:
        raise refuse("over, 'scenario'", sorted(shapes), "scenarios of one shape")
    structural = {a.dim for a in design if set(a.settings) - numbers - {"seed"}}
    alone = {axis.dim for axis in design if axis.dim in structural and len(axis.settings) == 1}
    sizes = {axis.dim: len(axis) for axis in design}
    if chunk is None:
        alike = math.prod(size for dim, size in sizes.items() if dim not in alone)
        chunk = default_chunk(structures, alike)
    chunk = -(-whole("chunk", chunk, 1) // jax.device_count()) * jax.device_count()
    variables, own = records.variables(kept, shapes.pop(), steps)
    clash = sorted(set(sizes) & {*variables, *own})
    if clash:
        raise refuse("over", clash[0], "a dimension that is no result's name", "pass dim=...")
    coordinates = {
        name: Coordinate(axis.dim, _labels(values), {"long_name": _words(name)})
        for axis in design
        for name, values in axis.settings.items()
    }
    layout = Layout(
        sizes=sizes,
        steps=_block_steps(sizes, chunk, alone),
        coordinates={**coordinates, **own},
        variables=variables,
        settings={},
    )
    return Plan(sweep, base, design, numbers, kept, chunk, layout)


def default_chunk(structures: Iterable[Parts], cells: int) -> int:
    """Cells trained at once so that their parameters and two moments stay in the cache.

    Args:
        structures: what the cells may be made of.
        cells: how many of one structure there are; a chunk is at most half of them.
    """
    most = 1
    for parts in structures:
        shape = parts.scenario.shape
        params = jax.eval_shape(lambda key, p=parts, s=shape: p.policy.init(key, s), _key())
        most = max(most, sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)))
    more = 1 if jax.default_backend() == "cpu" else _ACCELERATOR
    size = more * _CHUNK_BYTES / (3 * most * jnp.result_type(float).itemsize)
    least, largest = _CHUNK_LIMITS
    fits_cache = 2 ** math.floor(math.log2(max(size, 1)))
    half = 2 ** math.ceil(math.log2(max(cells / 2, 1)))
    return int(np.clip(min(fits_cache, half), least, largest * more))


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _structured(parts: Parts, settings: Mapping[str, Any]) -> Parts:
    """Whole parts first (a loss), then what is inside of them (a width)."""
    for name, value in sorted(settings.items(), key=lambda item: item[0].count(".")):
        parts = place(parts, name, value)
    return parts


def _combinations(base: Parts, design: tuple[Axis, ...], names: frozenset[str]) -> list[Parts]:
    """The parts for every combination of values of some settings, which are structure."""
    choices: list[list[dict[str, Any]]] = []
    for axis in design:
        own = [name for name in axis.settings if name in names]
        rows = zip(*(axis.settings[name] for name in own), strict=True) if own else [()]
        choices.append(
            [dict(zip(own, row, strict=True)) for row in {repr(r): r for r in rows}.values()]
        )
    merged = [
        {k: v for part in one for k, v in part.items()} for one in itertools.product(*choices)
    ]
    return [_structured(base, settings) for settings in merged]


def _holders(structures: list[Parts], name: str) -> list[Parts]:
    """Those whose optimiser has the option; all of them, to name what is wrong, where none has."""
    return [parts for parts in structures if not lacks(parts, name)] or structures


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _check_values(
    structures: list[Parts],
    design: tuple[Axis, ...],
    numbers: frozenset[str],
    sweep: Sweep,
) -> None:
    """Refuse values out of range now: the ends of each axis tell, since ranges are intervals."""
    for axis in design:
        for name, values in axis.settings.items():
            if name == "seed":
                ends = np.asarray(values)
                if ends.dtype.kind not in "iu" or ends.min() < 0 or ends.max() >= 2**31:
                    raise refuse("over, 'seed'", values, "whole numbers from 0 to 2**31 - 1")
            elif name == "batch_size":
                for value in values:
                    _check_batch(value, structures)
            elif name in numbers:
                if not all(_is_real(value) and math.isfinite(value) for value in values):
                    bad = next(v for v in values if not (_is_real(v) and math.isfinite(v)))
                    raise refuse(f"over, {name!r}", bad, "finite numbers")
                for parts in _holders(structures, name):
                    for value in {min(values), max(values)}:
                        place(parts, name, value)
    if sweep.batch_size is not None:
        _check_batch(sweep.batch_size, structures)
    for parts in structures:
        weights = np.unique(parts.scenario.pairs.weight)
        if not parts.loss.takes_weights and len(weights) > 1:
            raise refuse(
                "scenario.pairs.weight",
                weights.tolist(),
                f"equal weights, since {type(parts.loss).__name__} joins responses of pairs",
            )


def _check_batch(value: Any, structures: list[Parts]) -> None:
    for parts in structures:
        if value is not None:
            whole("batch_size", value, 1, len(parts.scenario.pairs))


def _block_steps(sizes: Mapping[str, int], chunk: int, alone: set[str]) -> dict[str, int]:
    """Cells of a block along each dimension: whole trailing dimensions first."""
    cells = math.prod(sizes.values())
    chunks = min(_CHUNKS_A_BLOCK, max(1, cells // (_LEAST_BLOCKS * chunk)))
    left = chunk * chunks
    steps: dict[str, int] = {}
    for dim in reversed(list(sizes)):
        steps[dim] = 1 if dim in alone else max(1, min(sizes[dim], left))
        left //= steps[dim]
    return {dim: steps[dim] for dim in sizes}


def _labels(values: tuple[Any, ...]) -> np.ndarray:
    if all(_is_real(value) for value in values):
        return np.asarray(values)
    return np.array([_label(value) for value in values])


def _label(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value.name if isinstance(value, Scenario) else str(value)


def _words(setting: str) -> str:
    part, dot, rest = setting.partition(".")
    return f"{rest.replace('_', ' ')} ({part})" if dot else setting.replace("_", " ")
