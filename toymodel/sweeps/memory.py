"""Results of a sweep that is not stored: the interface of `Store`, held in arrays."""

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from toymodel._version import __version__
from toymodel.sweeps import blocks
from toymodel.sweeps.blocks import Progress
from toymodel.sweeps.layout import Block, Layout


class Memory:
    """A place for results that lasts as long as the process.

    Args:
        layout: of the sweep.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._digests: dict[Block, int] = {}
        self._arrays = {
            name: np.full(layout.shape + variable.shape, blocks.fill(variable), variable.dtype)
            for name, variable in layout.variables.items()
        }

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing to lock: nobody else sees it."""
        yield

    def pending(self) -> list[Block]:
        """Blocks not committed, in order."""
        return [block for block in self.layout.blocks() if block not in self._digests]

    def finished(self, block: Block) -> np.ndarray:
        """Which cells of a block were computed before: all or none."""
        return np.full(blocks.shape(self.layout, block), block in self._digests)

    def write(
        self, block: Block, arrays: Mapping[str, np.ndarray], computed: np.ndarray | None = None
    ) -> int:
        """Keep a block's values; see `Store.write`."""
        if block in self._digests:  # as in a store, what is committed stays
            return self._digests[block]
        done = (0,) * len(self.layout.dims)
        values = blocks.merge(self.layout, block, arrays, computed, done, {})
        for name, array in values.items():
            self._arrays[name][self._cells(block)] = array
        return blocks.digest(values)

    def commit(self, block: Block, digest: int) -> None:
        """Make a written block count as done."""
        self._digests[block] = digest

    def read(self, block: Block) -> dict[str, np.ndarray]:
        """A block's values; fill where nothing was computed."""
        return {name: array[self._cells(block)].copy() for name, array in self._arrays.items()}

    def progress(self) -> Progress:
        """How far the sweep is."""
        done = np.zeros(self.layout.shape, dtype=bool)
        for block in self._digests:
            done[self._cells(block)] = True
        values = self._arrays["status"][done] if "status" in self._arrays else np.array([], int)
        return blocks.summed(self.layout, done, len(self.pending()), values)

    def dataset(self) -> xr.Dataset:
        """The results, labelled; no copy."""
        layout = self.layout
        return xr.Dataset(
            {
                name: ((*layout.dims, *variable.dims), self._arrays[name], dict(variable.attrs))
                for name, variable in layout.variables.items()
            },
            {
                name: (coordinate.dim, coordinate.values, dict(coordinate.attrs))
                for name, coordinate in layout.coordinates.items()
            },
            {"toymodel_version": __version__, "settings": dict(layout.settings)},
        )

    def _cells(self, block: Block) -> tuple[slice, ...]:
        return tuple(self.layout.region(block).values())
