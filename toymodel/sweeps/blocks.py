"""What every place for results does with a block: check it, keep its old cells, sum it up."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping

import numpy as np

from toymodel._errors import refuse
from toymodel.sweeps.layout import Block, Layout, Variable


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Args:
        cells: of the sweep.
        cells_done: those in committed blocks.
        blocks: of the sweep.
        blocks_done: those that need nothing more.
        status: value of the variable ``status`` -> how many done cells have it; empty without one.
    """

    cells: int
    cells_done: int
    blocks: int
    blocks_done: int
    status: Mapping[int, int]


def digest(arrays: Mapping[str, np.ndarray]) -> int:
    """First 8 bytes of the SHA-256 over names, types, shapes and bytes; never 0."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        state.update(f"{name} {values.dtype.str} {values.shape}".encode())
        state.update(values.data if values.size else b"")
    return int.from_bytes(state.digest()[:8], "little") or 1


def shape(layout: Layout, block: Block) -> tuple[int, ...]:
    """How many cells a block has along each dimension."""
    counts = layout.block_counts
    if len(block) != len(counts) or not all(
        0 <= at < n for at, n in zip(block, counts, strict=True)
    ):
        raise refuse("block", block, f"a place among {counts} blocks")
    return tuple(part.stop - part.start for part in layout.region(block).values())


def fill(variable: Variable) -> float | int | bool:
    """What stands where nothing was computed: NaN, 0 or False."""
    return {"f": float("nan"), "b": False}.get(variable.dtype.kind, 0)


def corner(done: tuple[int, ...]) -> tuple[slice, ...]:
    """The cells of a block that were computed before: an extension only adds behind them."""
    return tuple(slice(0, count) for count in done)


def merge(
    layout: Layout,
    block: Block,
    arrays: Mapping[str, np.ndarray],
    computed: np.ndarray | None,
    done: tuple[int, ...],
    kept: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """A block's values, new ones where they were computed and old ones where they were before.

    Args:
        layout: of the sweep.
        block: its place.
        arrays: name -> ``[*cells, *own]``.
        computed: which cells of `arrays` hold results, ``[*cells]``; all, if not given.
        done: how many cells along each dimension were finished before.
        kept: name -> their values, ``[*done, *own]``.

    Raises:
        InputError: a variable that is missing, not known, or of another shape or type; or a cell
            that is neither new nor old.
    """
    cells = shape(layout, block)
    if set(arrays) != set(layout.variables):
        raise refuse(f"block {block}", sorted(arrays), f"variables {sorted(layout.variables)}")
    merged = {}
    for name, variable in layout.variables.items():
        values = np.asarray(arrays[name])
        given, expected = (values.dtype, values.shape), (variable.dtype, cells + variable.shape)
        if given != expected:
            wanted = f"type {expected[0]} and shape {expected[1]}"
            raise refuse(f"block {block}, variable {name!r}", given, wanted)
        merged[name] = values
    if computed is not None:
        covered = np.array(computed, dtype=bool)
        if covered.shape != cells:
            raise refuse(f"block {block}, computed", covered.shape, f"shape {cells}")
        covered[corner(done)] = True
        if not covered.all():
            missing = f"{np.count_nonzero(~covered)} cells that were never computed"
            raise refuse(f"block {block}", missing, "all its cells")
    for name, old in kept.items():
        merged[name] = merged[name].copy()
        merged[name][corner(done)] = old
    return merged


def summed(layout: Layout, done: np.ndarray, pending: int, status: np.ndarray) -> Progress:
    """How far a sweep is.

    Args:
        layout: of the sweep.
        done: which cells are, ``[*cells]``.
        pending: how many blocks are not.
        status: of the done cells; empty where there is no such variable.
    """
    found, counts = np.unique(status, return_counts=True)
    count = math.prod(layout.block_counts)
    return Progress(
        cells=layout.cells,
        cells_done=int(done.sum()),
        blocks=count,
        blocks_done=count - pending,
        status=dict(zip(found.tolist(), counts.tolist(), strict=True)),
    )
